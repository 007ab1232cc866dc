/**
 * Rows of a data file as plain JSON records: parquet (by row group, so that a large file is never held twice), JSON lines,
 * or one JSON array. Which of them it is is read off the content, not the name.
 */
import { createReadStream } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import type { Json } from "../contracts/task.js";
import { WeirError } from "../errors.js";
import { fileFault, shown } from "./faults.js";

export type DataRecord = Readonly<Record<string, Json>>;

const PARQUET_MAGIC = "PAR1";
const HEAD_BYTES = 4_096;
const BYTE_ORDER_MARK = "\uFEFF";

/** Rows of one file, one after the other. Errors: WEIR_E_FILE_MISSING; WEIR_E_DATA naming file and line. */
export async function* streamRecords(path: string): AsyncGenerator<DataRecord> {
  const head = await readHead(path);
  if (head.startsWith(PARQUET_MAGIC)) yield* parquetRecords(path);
  else if (head.replace(BYTE_ORDER_MARK, "").trimStart().startsWith("[")) yield* arrayRecords(path);
  else yield* lineRecords(path);
}

/** All rows of one file. Errors as `streamRecords`. */
export async function readRecords(path: string): Promise<DataRecord[]> {
  const records: DataRecord[] = [];
  for await (const record of streamRecords(path)) records.push(record);
  return records;
}

async function readHead(path: string): Promise<string> {
  try {
    const handle = await open(path, "r");
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
      return buffer.toString("utf8", 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? "an error";
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `expected a data file at "${path}", got ${code}; check the path`,
      { file: path },
      { cause },
    );
  }
}

async function* parquetRecords(path: string): AsyncGenerator<DataRecord> {
  try {
    const file = await asyncBufferFromFile(path);
    const metadata = await parquetMetadataAsync(file);
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      const rowEnd = rowStart + Number(group.num_rows);
      const rows = await parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors });
      for (const row of rows) yield toJson(row) as DataRecord;
      rowStart = rowEnd;
    }
  } catch (cause) {
    throw fileFault(path, `expected a whole parquet file, it cannot be read: ${(cause as Error).message}`, cause);
  }
}

async function* lineRecords(path: string): AsyncGenerator<DataRecord> {
  const lines = createInterface({ input: createReadStream(path, "utf8"), crlfDelay: Number.POSITIVE_INFINITY });
  let number = 0;
  for await (const raw of lines) {
    number++;
    const line = number === 1 ? raw.replace(BYTE_ORDER_MARK, "") : raw;
    if (line.trim() === "") continue;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw fileFault(
        path,
        `expected parquet or one JSON object per line, line ${number} is ${shown(line)} (${(cause as Error).message})`,
        cause,
      );
    }
    yield asRecord(path, `line ${number}`, value);
  }
}

async function* arrayRecords(path: string): AsyncGenerator<DataRecord> {
  let value: unknown;
  try {
    value = JSON.parse((await readFile(path, "utf8")).replace(BYTE_ORDER_MARK, ""));
  } catch (cause) {
    throw fileFault(path, `expected a JSON array, it does not parse: ${(cause as Error).message}`, cause);
  }
  if (!Array.isArray(value)) throw fileFault(path, `expected a JSON array, got ${shown(value)}`);
  for (const [index, item] of value.entries()) yield asRecord(path, `item ${index}`, item);
}

function asRecord(path: string, where: string, value: unknown): DataRecord {
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as DataRecord;
  throw fileFault(path, `expected a JSON object in ${where}, got ${shown(value)}`);
}

/** Parquet values as JSON: 64-bit integers as numbers where they are exact, else as text; times as ISO text. */
export function toJson(value: unknown): Json {
  if (value === null || value === undefined) return null;
  if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
  if (value instanceof Date) return value.toISOString();
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as ArrayLike<number | bigint>, toJson);
  if (Array.isArray(value)) return value.map(toJson);
  if (typeof value === "object")
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]));
  return value as Json;
}
