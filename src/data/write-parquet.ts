/** Writes rows as parquet (nested lists and structs as such) and as JSON lines; a file is complete or absent. */
import { rename, writeFile } from "node:fs/promises";
import { ByteWriter, parquetWrite } from "hyparquet-writer";
import type { Json } from "../contracts/task.js";
import { fileFault } from "./faults.js";
import { inferColumn } from "./infer-schema.js";
import type { VerlRow } from "./synthetic/verl-row.js";

/** Rows of a row group: long documents make rows of hundreds of kilobytes, and readers hold one group at a time. */
const ROW_GROUP_ROWS = 256;

async function publish(path: string, content: string | Uint8Array): Promise<void> {
  const draft = `${path}.${process.pid}.tmp`;
  await writeFile(draft, content);
  await rename(draft, path);
}

/** A parquet file of rows; its columns are those of any row, in the order in which they first occur. Needs one row at least. */
export function encodeParquet(rows: readonly Readonly<Record<string, Json>>[]): Uint8Array {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const columns = names.map((name) => ({
    name,
    column: inferColumn(
      name,
      rows.map((row) => row[name]),
    ),
  }));
  const writer = new ByteWriter();
  parquetWrite({
    writer,
    schema: [{ name: "root", num_children: columns.length }, ...columns.flatMap(({ column }) => column.elements)],
    columnData: columns.map(({ name, column }) => ({ name, data: rows.map((row) => column.encode(row[name])) })),
    rowGroupSize: ROW_GROUP_ROWS,
    createdBy: "weir",
  });
  return writer.getBytes();
}

/** Writes rows as parquet. Errors: WEIR_E_DATA where there are none: their columns could not be known. */
export async function writeParquet(path: string, rows: readonly Readonly<Record<string, Json>>[]): Promise<void> {
  if (rows.length === 0) throw fileFault(path, "expected at least one row to write, got none");
  await publish(path, encodeParquet(rows));
}

/**
 * Writes rows as verl reads them: data_source, prompt (list of {role, content}), ability, reward_model and extra_info structs.
 * Prompts whose messages have further fields stand as JSON text: columns would give every message all fields of all rows.
 */
export async function writeVerlParquet(path: string, rows: readonly VerlRow[]): Promise<void> {
  const plain = rows.every(({ prompt }) => prompt.every((message) => Object.keys(message).length === 2));
  const written = plain ? rows : rows.map((row) => ({ ...row, prompt: JSON.stringify(row.prompt) }));
  await writeParquet(path, written as unknown as readonly Readonly<Record<string, Json>>[]);
}

/** Writes one JSON object per line. */
export async function writeJsonl(path: string, rows: readonly object[]): Promise<void> {
  await publish(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
}
