/**
 * Rows of a parquet file, each value as its column's type says it: float32 in its shortest digits (0.1, not
 * 0.10000000149011612), decimals with their scale, 64-bit integers whole, dates and times as ISO text.
 * Invariant: one row group is in memory at a time.
 */
import {
  asyncBufferFromFile,
  parquetMetadataAsync,
  parquetReadObjects,
  parquetSchema,
  type SchemaTree,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { WeirError } from "../errors.js";
import { observedFile } from "../system/observed-file.js";
import { type Cell, Exact, exactNumber, type Row } from "./exact.js";
import { fileFault } from "./faults.js";
import { dateText, shortestFloat16, shortestFloat32, timestampText, timeText } from "./parquet-values.js";
import { parseJson } from "./parse-json.js";

type SchemaElement = SchemaTree["element"];
type Converter = (value: unknown) => Cell;

/** Columns of chat messages: there a null is a field that the message lacks, since structs give every message all fields. */
const MESSAGE_COLUMNS: ReadonlySet<string> = new Set(["prompt", "messages"]);

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Text that is not UTF-8; an error only where it is used as text. */
class BadText {
  constructor(readonly bytes: Uint8Array) {}
}

/** Values are passed on as stored; `leaf` converts them by the column's type. */
const PARSERS = {
  timestampFromMilliseconds: (value: bigint) => value,
  timestampFromMicroseconds: (value: bigint) => value,
  timestampFromNanoseconds: (value: bigint) => value,
  dateFromDays: (days: number) => days,
  stringFromBytes: textOf,
  jsonFromBytes: textOf,
  uuidFromBytes: (bytes: Uint8Array) => bytes,
};

function textOf(bytes: Uint8Array | undefined): string | BadText | undefined {
  if (bytes === undefined || typeof bytes === "string") return bytes;
  try {
    return utf8.decode(bytes);
  } catch {
    return new BadText(bytes.slice());
  }
}

/** Errors: WEIR_E_DATA naming the file, and row (from 0) and column of a text that is not UTF-8. */
export async function* parquetRows(path: string): AsyncGenerator<Row> {
  let row = 0;
  try {
    const file = observedFile(await asyncBufferFromFile(path));
    const metadata = await parquetMetadataAsync(file, { parsers: PARSERS, geoparquet: false });
    const converters = new Map(
      parquetSchema(metadata).children.map((column) => [column.element.name, converter(column)] as const),
    );
    for (const { element } of leaves(parquetSchema(metadata))) readDecimalsAsStored(element);
    for (const group of metadata.row_groups) {
      const rowEnd = row + Number(group.num_rows);
      const options = { file, metadata, rowStart: row, rowEnd, compressors, parsers: PARSERS, geoparquet: false };
      for (const stored of await parquetReadObjects(options)) {
        yield rowOf(stored, converters, path, row);
        row++;
      }
    }
  } catch (cause) {
    if (WeirError.isInstance(cause)) throw cause;
    throw fileFault(path, `expected a whole parquet file, it cannot be read: ${(cause as Error).message}`, cause);
  }
}

function rowOf(
  stored: Readonly<Record<string, unknown>>,
  converters: ReadonlyMap<string, Converter>,
  file: string,
  row: number,
): Row {
  return Object.fromEntries(
    Object.entries(stored).map(([name, value]) => {
      try {
        const cell = (converters.get(name) ?? plain)(value);
        return [name, MESSAGE_COLUMNS.has(name) ? withoutGaps(cell, true) : cell];
      } catch (cause) {
        if (WeirError.isInstance(cause)) throw cause;
        throw fileFault(file, `row ${row}, column "${name}": ${(cause as Error).message}`, cause);
      }
    }),
  );
}

/** The columns that hold values. */
function leaves(tree: SchemaTree): SchemaTree[] {
  return tree.children.length === 0 ? [tree] : tree.children.flatMap(leaves);
}

const decimals = new WeakMap<SchemaElement, number>();

/** The library turns decimals into doubles; without their mark it hands out whole numbers and bytes. */
function readDecimalsAsStored(element: SchemaElement): void {
  const { converted_type: converted, logical_type: logical } = element;
  if (converted !== "DECIMAL" && logical?.type !== "DECIMAL") return;
  decimals.set(element, element.scale ?? (logical?.type === "DECIMAL" ? logical.scale : 0));
  delete element.converted_type;
  // The only type under which bytes of any length reach a parser unchanged.
  if (element.type === "BYTE_ARRAY") element.logical_type = { type: "UUID" };
  else delete element.logical_type;
}

function converter(tree: SchemaTree): Converter {
  const { element, children } = tree;
  const [only] = children;
  const list = element.converted_type === "LIST" || element.logical_type?.type === "LIST";
  const map = ["MAP", "MAP_KEY_VALUE"].includes(element.converted_type ?? "") || element.logical_type?.type === "MAP";
  if (list && only !== undefined)
    return many(converter(only.children.length === 1 ? (only.children[0] as SchemaTree) : only));
  if (map && only?.children[1] !== undefined) {
    const item = converter(only.children[1]);
    return present((value) => fromEntries(value, () => item));
  }
  if (element.logical_type?.type === "VARIANT") return plain;
  if (children.length === 0) return many((value) => leaf(value, element));
  const fields = new Map(children.map((child) => [child.element.name, converter(child)] as const));
  return many(present((value) => fromEntries(value, (name) => fields.get(name) ?? plain)));
}

const present =
  (convert: Converter): Converter =>
  (value) =>
    value === null || value === undefined ? null : convert(value);

/** Applies a converter to each item of a list, or to a single value. */
const many = (convert: Converter): Converter =>
  present((value) => (Array.isArray(value) ? value.map((item) => many(convert)(item)) : convert(value)));

function fromEntries(value: unknown, convert: (name: string) => Converter): Cell {
  return Object.fromEntries(Object.entries(value as object).map(([name, item]) => [name, convert(name)(item)]));
}

/** One stored value by its column's type. Throws where a text is not UTF-8. */
function leaf(value: unknown, element: SchemaElement): Cell {
  if (value === null || value === undefined) return null;
  const { converted_type: converted, logical_type: logical } = element;
  const scale = decimals.get(element);
  if (scale !== undefined) return decimal(value, scale);
  if (value instanceof BadText) {
    if (converted === "UTF8" || converted === "JSON" || logical?.type === "STRING")
      throw new Error("its text is not UTF-8; write it as UTF-8");
    return new Exact(Buffer.from(value.bytes).toString("base64"), "other");
  }
  if (logical?.type === "UUID") return uuidText(value as Uint8Array);
  if (converted === "JSON") return parseJson(value as string);
  if (converted === "DATE" || logical?.type === "DATE") return moment(dateText(Number(value)));
  if (logical?.type === "TIMESTAMP")
    return moment(timestampText(value as bigint, logical.unit, logical.isAdjustedToUTC));
  if (converted === "TIMESTAMP_MILLIS") return moment(timestampText(BigInt(value as bigint), "MILLIS", true));
  if (converted === "TIMESTAMP_MICROS") return moment(timestampText(BigInt(value as bigint), "MICROS", true));
  if (element.type === "INT96") return moment(timestampText(value as bigint, "NANOS", false));
  if (logical?.type === "TIME") return moment(timeText(BigInt(value as bigint), logical.unit));
  if (logical?.type === "FLOAT16") return finite(value as number, shortestFloat16);
  if (element.type === "FLOAT") return finite(value as number, shortestFloat32);
  return plain(value);
}

const moment = (text: string) => new Exact(text, "moment");

function finite(value: number, shortest: (value: number) => number): Cell {
  return Number.isFinite(value) ? shortest(value) : new Exact(String(value), "other");
}

function plain(value: unknown): Cell {
  if (typeof value === "bigint") return exactNumber(value.toString());
  if (typeof value === "number") return finite(value, (same) => same);
  if (value instanceof Date) return moment(value.toISOString());
  if (ArrayBuffer.isView(value))
    return new Exact(Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("base64"), "other");
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === "object" && value !== null) return fromEntries(value, () => plain);
  return value === undefined ? null : (value as Cell);
}

/** A decimal with all digits of its scale: 1250 at scale 2 is "12.50". */
function decimal(stored: unknown, scale: number): Exact {
  const unscaled = stored instanceof Uint8Array ? signedInteger(stored) : BigInt(stored as number | bigint);
  const digits = (unscaled < 0n ? -unscaled : unscaled).toString().padStart(scale + 1, "0");
  const point = digits.length - scale;
  const text = scale === 0 ? digits : `${digits.slice(0, point)}.${digits.slice(point)}`;
  return new Exact(unscaled < 0n ? `-${text}` : text, "number");
}

/** Two's complement, the most significant byte first. */
function signedInteger(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt.asIntN(8 * bytes.length, BigInt(`0x${Buffer.from(bytes).toString("hex")}`));
}

function uuidText(bytes: Uint8Array): string {
  return Buffer.from(bytes)
    .toString("hex")
    .replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

/** Messages without the fields that are null; the content of a message stays, since tool calls have none. */
function withoutGaps(cell: Cell, message: boolean): Cell {
  if (cell instanceof Exact) return cell;
  if (Array.isArray(cell)) return cell.map((item) => withoutGaps(item, message));
  if (typeof cell !== "object" || cell === null) return cell;
  return Object.fromEntries(
    Object.entries(cell as Row)
      .filter(([name, value]) => value !== null || (message && name === "content"))
      .map(([name, value]) => [name, withoutGaps(value, false)]),
  );
}
