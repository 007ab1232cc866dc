/**
 * Writes a data file again with columns added, everything else as it was: in parquet the pages of the other columns are copied byte for byte,
 * in JSON lines the text of each row. A JSON array becomes JSON lines. The file is complete or absent.
 */
import { createReadStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { asyncBufferFromFile, type FileMetaData, parquetMetadataAsync, type SchemaElement } from "hyparquet";
import { ByteWriter, parquetWriteBuffer } from "hyparquet-writer";
import { writeMetadata } from "hyparquet-writer/src/metadata.js";
import { isParquet } from "./compression.js";
import { type Cell, Exact, type Row } from "./exact.js";
import { fileFault } from "./faults.js";
import { openFile, textLines } from "./lines.js";
import { streamRows } from "./records.js";

/** A column: its type, which parquet has to know, and its values, one for each row of the file. */
export interface AddedColumn {
  readonly type: "text" | "whole" | "real" | "flag";
  readonly values: readonly (string | number | boolean | null)[];
}

/** Added columns by name. */
export type AddedColumns = Readonly<Record<string, AddedColumn>>;

const TYPES = {
  text: { type: "BYTE_ARRAY", converted_type: "UTF8" },
  whole: { type: "INT32" },
  real: { type: "DOUBLE" },
  flag: { type: "BOOLEAN" },
} as const satisfies Record<AddedColumn["type"], Partial<SchemaElement>>;

/** Metadata that names the columns of the file, and would be wrong with more of them. */
const NAMES_COLUMNS: ReadonlySet<string> = new Set(["ARROW:schema", "huggingface", "pandas"]);
/** The magic number at both ends of a parquet file, and the length of its footer before the second. */
const MAGIC = Buffer.from("PAR1");
const FOOTER_BYTES = 8;

/** Errors: WEIR_E_DATA where a column of that name is there already, and those of reading. */
export async function addColumns(path: string, out: string, added: AddedColumns): Promise<void> {
  const { head, chunks, compressed, close } = await openFile(path);
  if (isParquet(head) && !compressed) {
    await close();
    await addToParquet(path, out, added);
  } else if (/^\uFEFF?\s*\[/.test(Buffer.from(head).toString("utf8"))) {
    await close();
    await publish(out, arrayLines(path, added));
  } else await publish(out, extendedLines(path, chunks, added));
}

/** Writes chunks into a draft that takes the name when it is complete. */
async function publish(out: string, chunks: AsyncIterable<string | Uint8Array>): Promise<void> {
  const draft = `${out}.${process.pid}.tmp`;
  const file = await open(draft, "w");
  try {
    for await (const chunk of chunks) await file.writeFile(chunk);
    await file.close();
    await rename(draft, out);
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(draft, { force: true });
    throw error;
  }
}

function taken(path: string, name: string): Error {
  return fileFault(
    path,
    `it has a column "${name}" already; write the columns into another copy of the file without it`,
  );
}

const valuesAt = (added: AddedColumns, row: number) =>
  Object.fromEntries(Object.entries(added).map(([name, { values }]) => [name, values[row] ?? null]));

async function* extendedLines(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  added: AddedColumns,
): AsyncGenerator<string> {
  let row = 0;
  for await (const { text } of textLines(path, chunks)) {
    if (text.trim() === "") continue;
    const end = text.lastIndexOf("}");
    const parsed = JSON.parse(text) as Row;
    for (const name of Object.keys(added)) if (Object.hasOwn(parsed, name)) throw taken(path, name);
    const comma = Object.keys(parsed).length === 0 ? "" : ",";
    yield `${text.slice(0, end).trim()}${comma}${JSON.stringify(valuesAt(added, row)).slice(1)}\n`;
    row++;
  }
}

async function* arrayLines(path: string, added: AddedColumns): AsyncGenerator<string> {
  let row = 0;
  for await (const record of streamRows(path)) {
    for (const name of Object.keys(added)) if (Object.hasOwn(record, name)) throw taken(path, name);
    yield `${cellText({ ...record, ...valuesAt(added, row) })}\n`;
    row++;
  }
}

/** JSON of a cell, numbers with every digit. */
function cellText(cell: Cell): string {
  if (cell instanceof Exact) return cell.kind === "number" ? cell.text : JSON.stringify(cell.text);
  if (Array.isArray(cell)) return `[${cell.map(cellText).join(",")}]`;
  if (typeof cell !== "object" || cell === null) return JSON.stringify(cell);
  return `{${Object.entries(cell as Row)
    .map(([name, value]) => `${JSON.stringify(name)}:${cellText(value)}`)
    .join(",")}}`;
}

/** A file of the added columns alone, in row groups of the given sizes. */
function columnsFile(added: AddedColumns, sizes: readonly number[]): Uint8Array {
  const columns = Object.entries(added);
  return new Uint8Array(
    parquetWriteBuffer({
      schema: [
        { name: "root", num_children: columns.length },
        ...columns.map(([name, { type }]) => ({ name, ...TYPES[type], repetition_type: "OPTIONAL" as const })),
      ],
      columnData: columns.map(([name, { values }]) => ({ name, data: [...values], offsetIndex: false })),
      rowGroupSize: [...sizes],
      statistics: false,
    }),
  );
}

async function addToParquet(path: string, out: string, added: AddedColumns): Promise<void> {
  const file = await asyncBufferFromFile(path);
  const before = await parquetMetadataAsync(file, { geoparquet: false });
  const names = new Set(before.schema.map(({ name }) => name));
  for (const name of Object.keys(added)) if (names.has(name)) throw taken(path, name);
  const tail = Buffer.from(await file.slice(file.byteLength - FOOTER_BYTES));
  const dataEnd = file.byteLength - FOOTER_BYTES - tail.readUInt32LE(0);
  const own = columnsFile(
    added,
    before.row_groups.map(({ num_rows }) => Number(num_rows)),
  );
  const ownBuffer = own.buffer.slice(own.byteOffset, own.byteOffset + own.byteLength) as ArrayBuffer;
  const after = await parquetMetadataAsync({
    byteLength: own.byteLength,
    slice: (from, to) => ownBuffer.slice(from, to),
  });
  const ownEnd = own.byteLength - FOOTER_BYTES - Buffer.from(own).readUInt32LE(own.byteLength - FOOTER_BYTES);
  const footer = new ByteWriter();
  writeMetadata(footer, joined(before, after, dataEnd - MAGIC.length));
  async function* parts() {
    for await (const chunk of createReadStream(path, { end: dataEnd - 1 })) yield chunk as Uint8Array;
    yield own.subarray(MAGIC.length, ownEnd);
    yield footer.getBytes();
    yield MAGIC;
  }
  await publish(out, parts());
}

/** The metadata of a file with the columns of both; those of `after` lie `shift` bytes further. */
function joined(before: FileMetaData, after: FileMetaData, shift: number): FileMetaData {
  const moved = (offset: bigint) => BigInt(shift) + offset;
  const [root, ...fields] = before.schema;
  if (root === undefined) throw new Error("it has no schema");
  return {
    ...before,
    schema: [
      { ...root, num_children: (root.num_children ?? 0) + (after.schema[0]?.num_children ?? 0) },
      ...fields,
      ...after.schema.slice(1),
    ],
    row_groups: before.row_groups.map((group, g) => ({
      ...group,
      columns: [
        // Bounds of values are optional, and are written exactly or not at all.
        ...group.columns.map(({ meta_data: data, ...chunk }) => {
          const { statistics: _, ...rest } = data ?? {};
          return { ...chunk, ...(data ? { meta_data: rest as typeof data } : {}) };
        }),
        ...(after.row_groups[g]?.columns ?? []).map(({ meta_data: data, ...chunk }) => ({
          ...chunk,
          file_offset: moved(chunk.file_offset),
          ...(data
            ? {
                meta_data: {
                  ...data,
                  data_page_offset: moved(data.data_page_offset),
                  ...(data.dictionary_page_offset === undefined
                    ? {}
                    : { dictionary_page_offset: moved(data.dictionary_page_offset) }),
                },
              }
            : {}),
        })),
      ],
      total_byte_size: group.total_byte_size + (after.row_groups[g]?.total_byte_size ?? 0n),
      ...(group.total_compressed_size === undefined
        ? {}
        : {
            total_compressed_size: group.total_compressed_size + (after.row_groups[g]?.total_compressed_size ?? 0n),
          }),
    })),
    ...(before.key_value_metadata === undefined
      ? {}
      : { key_value_metadata: before.key_value_metadata.filter(({ key }) => !NAMES_COLUMNS.has(key)) }),
  };
}
