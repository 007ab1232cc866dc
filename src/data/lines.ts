/**
 * The reader of all text lines: UTF-8 or an error that names the line, a byte order mark at the head of any line (files
 * that were joined), LF, CRLF or CR at its end. Holds one line at a time.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { WeirError } from "../errors.js";
import { type ByteSource, openBytes } from "./compression.js";
import { fileFault, shown } from "./faults.js";

/** A line without its end and its number, from 1. */
export interface TextLine {
  readonly text: string;
  readonly number: number;
}

/** Far above the longest documents; a longer line means a file without line ends. */
export const LONGEST_LINE_BYTES = 256 * 2 ** 20;
/** Slightly below V8's longest string: the limit of one JSON array. */
export const LONGEST_TEXT_BYTES = 512 * 2 ** 20 - 1_024;

const LF = 10;
const CR = 13;
const BYTE_ORDER_MARK = "\uFEFF";
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Opens a text or parquet file for reading, gzip included. Errors: WEIR_E_FILE_MISSING; WEIR_E_DATA for a folder and for
 * what weir does not read.
 */
export async function openFile(path: string): Promise<ByteSource> {
  let folder: boolean;
  try {
    folder = (await stat(path)).isDirectory();
  } catch (cause) {
    throw missing(path, cause);
  }
  if (folder) throw fileFault(path, "it is a folder, expected a file; name the data files in it");
  return openBytes(path, fileChunks(path));
}

async function* fileChunks(path: string): AsyncGenerator<Uint8Array> {
  try {
    for await (const chunk of createReadStream(path)) yield chunk as Uint8Array;
  } catch (cause) {
    throw missing(path, cause);
  }
}

function missing(path: string, cause: unknown): WeirError {
  const code = (cause as NodeJS.ErrnoException).code ?? "an error";
  return new WeirError(
    "WEIR_E_FILE_MISSING",
    `expected a file at "${path}", got ${code}; check the path`,
    { file: path },
    { cause },
  );
}

/** The lines of a text. `name` is the file's, for messages. Errors: WEIR_E_DATA naming the line. */
export async function* textLines(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
  longest = LONGEST_LINE_BYTES,
): AsyncGenerator<TextLine> {
  let parts: Uint8Array[] = [];
  let size = 0;
  let number = 1;
  let afterCr = false;
  const take = (part: Uint8Array) => {
    parts.push(part);
    size += part.length;
    if (size > longest) throw fileFault(name, `line ${number} has more than ${longest} bytes; write one row per line`);
  };
  const line = (): TextLine => {
    const bytes = parts.length === 1 ? (parts[0] as Uint8Array) : Buffer.concat(parts);
    parts = [];
    size = 0;
    return { text: decoded(name, bytes, number), number: number++ };
  };
  for await (const chunk of chunks) {
    let start = afterCr && chunk[0] === LF ? 1 : 0;
    if (chunk.length > 0) afterCr = false;
    for (const end of lineEnds(chunk)) {
      if (end < start) continue;
      take(chunk.subarray(start, end));
      yield line();
      const pair = chunk[end] === CR && chunk[end + 1] === LF;
      afterCr = chunk[end] === CR && end === chunk.length - 1;
      start = end + (pair ? 2 : 1);
    }
    if (start < chunk.length) take(chunk.subarray(start));
  }
  if (size > 0) yield line();
}

/** Positions of CR and LF, growing. */
function* lineEnds(chunk: Uint8Array): Generator<number> {
  let lf = chunk.indexOf(LF);
  let cr = chunk.indexOf(CR);
  while (lf >= 0 || cr >= 0) {
    const isLf = cr < 0 || (lf >= 0 && lf < cr);
    const at = isLf ? lf : cr;
    yield at;
    if (isLf) lf = chunk.indexOf(LF, at + 1);
    else cr = chunk.indexOf(CR, at + 1);
  }
}

/** A whole text in one piece. Errors: WEIR_E_DATA naming the line that is not UTF-8, or a text that is too long. */
export async function wholeText(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
  longest = LONGEST_TEXT_BYTES,
): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    parts.push(chunk);
    size += chunk.length;
    if (size > longest)
      throw fileFault(name, `it has more than ${longest} bytes in one piece; write one JSON object per line instead`);
  }
  return decoded(name, Buffer.concat(parts), 1);
}

/** Bytes as text without a leading byte order mark; `first` is the number of their first line. */
function decoded(name: string, bytes: Uint8Array, first: number): string {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch (cause) {
    const before = Buffer.from(bytes).toString("utf8").split("\uFFFD", 1)[0] ?? "";
    const number = first + before.split("\n").length - 1;
    throw fileFault(
      name,
      `line ${number} is not UTF-8: a byte after ${shown(before.slice(-40))} cannot be read; save the file as UTF-8`,
      cause,
    );
  }
  return text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
}
