/**
 * Rows of a data file: parquet, JSON lines, or one JSON array, the last two also under gzip. The content decides, not the
 * name.
 */
import type { Json } from "../contracts/task.js";
import { isParquet } from "./compression.js";
import { type Cell, Exact, jsonRecord, type Row } from "./exact.js";
import { fileFault, shown } from "./faults.js";
import { openFile, textLines, wholeText } from "./lines.js";
import { parquetRows } from "./parquet-rows.js";
import { parseJson } from "./parse-json.js";

export type DataRecord = Readonly<Record<string, Json>>;

/** Rows of one file, one after the other, with every digit. Errors: WEIR_E_FILE_MISSING; WEIR_E_DATA naming file and line. */
export async function* streamRows(path: string): AsyncGenerator<Row> {
  const { head, chunks, compressed, close } = await openFile(path);
  if (isParquet(head) && !compressed) {
    await close();
    yield* parquetRows(path);
  } else if (/^\uFEFF?\s*\[/.test(Buffer.from(head).toString("utf8"))) yield* arrayRows(path, chunks);
  else yield* lineRows(path, chunks);
}

/** The same rows as JSON. Errors as `streamRows`. */
export async function* streamRecords(path: string): AsyncGenerator<DataRecord> {
  for await (const row of streamRows(path)) yield jsonRecord(row);
}

/** All rows of one file as JSON. Errors as `streamRows`. */
export async function readRecords(path: string): Promise<DataRecord[]> {
  const records: DataRecord[] = [];
  for await (const record of streamRecords(path)) records.push(record);
  return records;
}

async function* lineRows(path: string, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Row> {
  for await (const { text, number } of textLines(path, chunks)) {
    if (text.trim() === "") continue;
    let value: Cell;
    try {
      value = parseJson(text);
    } catch (cause) {
      throw fileFault(
        path,
        `expected parquet or one JSON object per line, line ${number} is ${shown(text)} (${reasonOf(text, cause)})`,
        cause,
      );
    }
    yield asRow(path, `line ${number}`, value);
  }
}

/** Why a text is not JSON, with causes that the parser's message does not name. */
function reasonOf(text: string, cause: unknown): string {
  if (text.includes("\0")) return "it holds NUL bytes: the file is UTF-16, or was damaged; save it as UTF-8";
  const word = /^Unexpected token '[NI]'|^No number after minus sign/.test((cause as Error).message);
  if (word && /\b(?:NaN|Infinity)\b/.test(text)) return "NaN and Infinity are not JSON; write null or text";
  if (/^\s*\{\s*$/.test(text)) return "an object spans several lines; write each on one line, or all as one JSON array";
  return (cause as Error).message;
}

async function* arrayRows(path: string, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Row> {
  const text = await wholeText(path, chunks);
  let value: Cell;
  try {
    value = parseJson(text);
  } catch (cause) {
    throw fileFault(path, `expected a JSON array, it does not parse: ${reasonOf(text, cause)}`, cause);
  }
  if (!Array.isArray(value)) throw fileFault(path, `expected a JSON array, got ${shown(value)}`);
  for (const [index, item] of value.entries()) yield asRow(path, `item ${index}`, item as Cell);
}

function asRow(path: string, where: string, value: Cell): Row {
  const record = typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Exact);
  if (record) return value as Row;
  throw fileFault(path, `expected a JSON object in ${where}, got ${shown(value)}`);
}
