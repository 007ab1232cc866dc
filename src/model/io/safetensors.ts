/**
 * Reads and writes safetensors files: 8 bytes header length, JSON header, row-major little-endian data.
 * Invariants: a file is accepted only when its header fits its data to the byte (sizes, no gaps, no overlap, nothing
 * left over); the writer streams tensor by tensor into a temporary file that is renamed when complete.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { WeirError } from "../../errors.js";
import { BYTES_PER_ELEMENT, narrow, type ReadableDtype, type StoredDtype, widen } from "./dtype.js";
import { isMissing, isRecord } from "./json.js";
import { elementCount, type TensorSource, unknownTensor } from "./tensor-source.js";
import { refuseUnfetched, UNFETCHED_HEAD_BYTES } from "./unfetched.js";

/** Limit of the format's reference implementation; a larger header means a damaged file. */
const MAX_HEADER_BYTES = 100_000_000;
/** Data starts on a multiple of this, as the reference implementation writes it. */
const HEADER_ALIGNMENT = 8;

/** Bytes per element of types that are not read as weights; a file may hold buffers of them. */
const OTHER_BYTES: Readonly<Record<string, number>> = {
  BOOL: 1,
  I8: 1,
  U8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I16: 2,
  U16: 2,
  I32: 4,
  U32: 4,
  I64: 8,
  U64: 8,
  C64: 8,
};

interface Entry {
  /** A `ReadableDtype`, or another type, whose tensor cannot be read. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Byte range in the file. */
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsFile extends TensorSource {
  readonly metadata: Readonly<Record<string, string>>;
  /** The stored type. `read` throws WEIR_E_MODEL_FILES where it is no float32, float16, bfloat16 or float64. */
  dtype(name: string): string;
  /** Throws WEIR_E_MODEL_FILES where the tensor's type is none that weights are read in. */
  assertReadable(name: string): void;
}

function damaged(path: string, what: string, tensor?: string, cause?: unknown): WeirError {
  const subject = tensor === undefined ? "" : `tensor ${tensor} `;
  return new WeirError(
    "WEIR_E_MODEL_FILES",
    `${path}: ${subject}${what}. Fetch the file again.`,
    tensor === undefined ? { path } : { path, tensor },
    { cause },
  );
}

const isReadable = (dtype: string): dtype is ReadableDtype => Object.hasOwn(BYTES_PER_ELEMENT, dtype);

/** Checks one header entry; `dataBytes` is the length of the data section. */
function parseEntry(path: string, name: string, value: unknown, dataStart: number, dataBytes: number): Entry {
  if (!isRecord(value)) throw damaged(path, "has no description in the header", name);
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== "string") throw damaged(path, "has no dtype", name);
  if (!Array.isArray(shape) || shape.some((size) => !Number.isInteger(size) || size < 0))
    throw damaged(path, `has the shape ${JSON.stringify(shape)}, expected a list of whole numbers`, name);
  if (!Array.isArray(offsets) || offsets.length !== 2 || offsets.some((offset) => !Number.isInteger(offset)))
    throw damaged(path, "has no data_offsets", name);
  const [start, end] = offsets as [number, number];
  const width = isReadable(dtype) ? BYTES_PER_ELEMENT[dtype] : OTHER_BYTES[dtype];
  const bytes = width === undefined ? end - start : elementCount(shape as number[]) * width;
  if (start < 0 || end < start || end - start !== bytes)
    throw damaged(path, `takes ${end - start} bytes, expected ${bytes} for shape [${shape.join(", ")}]`, name);
  if (end > dataBytes) throw damaged(path, `ends at byte ${end} of ${dataBytes}: the file is truncated`, name);
  return { dtype, shape: shape as number[], start: dataStart + start, end: dataStart + end };
}

async function openForReading(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (error) {
    if (isMissing(error))
      throw new WeirError(
        "WEIR_E_FILE_MISSING",
        `${path} does not exist. Fetch the whole model folder.`,
        { path },
        { cause: error },
      );
    throw error;
  }
}

async function readHeader(path: string): Promise<{ entries: Map<string, Entry>; metadata: Record<string, string> }> {
  const file = await openForReading(path);
  try {
    const { size } = await file.stat();
    const prefix = new Uint8Array(8);
    const head = Buffer.alloc(Math.min(size, UNFETCHED_HEAD_BYTES));
    await file.read(head, 0, head.length, 0);
    refuseUnfetched(path, head.toString("latin1"), "WEIR_E_MODEL_FILES");
    const { bytesRead } = await file.read(prefix, 0, 8, 0);
    if (bytesRead < 8) throw damaged(path, `is ${size} bytes long, too short for a header`);
    const headerBytes = Number(new DataView(prefix.buffer).getBigUint64(0, true));
    if (headerBytes > Math.min(MAX_HEADER_BYTES, size - 8))
      throw damaged(
        path,
        `announces a header of ${headerBytes} bytes in a file of ${size}: not safetensors, or truncated`,
      );
    const text = Buffer.alloc(headerBytes);
    await file.read(text, 0, headerBytes, 8);
    let header: unknown;
    try {
      header = JSON.parse(text.toString("utf8"));
    } catch (error) {
      throw damaged(path, "has a header that is not JSON", undefined, error);
    }
    if (!isRecord(header)) throw damaged(path, "has a header that is not an object");
    const entries = new Map<string, Entry>();
    const metadata: Record<string, string> = {};
    for (const [name, value] of Object.entries(header)) {
      if (name !== "__metadata__")
        entries.set(name, parseEntry(path, name, value, 8 + headerBytes, size - 8 - headerBytes));
      else if (isRecord(value)) for (const [key, text] of Object.entries(value)) metadata[key] = String(text);
    }
    let end = 8 + headerBytes;
    for (const [name, entry] of [...entries].sort(([, a], [, b]) => a.start - b.start || a.end - b.end)) {
      if (entry.start !== end) throw damaged(path, "does not follow its neighbour: a gap or an overlap", name);
      end = entry.end;
    }
    if (end !== size) throw damaged(path, `holds ${size - end} bytes that belong to no tensor`);
    return { entries, metadata };
  } finally {
    await file.close();
  }
}

/** Reads exactly [start, end) of a file. */
export function readRange(path: string, start: number, end: number): Uint8Array {
  const bytes = new Uint8Array(end - start);
  const file = openSync(path, "r");
  try {
    let done = 0;
    while (done < bytes.length) {
      const count = readSync(file, bytes, done, Math.min(bytes.length - done, 2 ** 30), start + done);
      if (count === 0) throw damaged(path, `ended at byte ${start + done} while bytes up to ${end} were read`);
      done += count;
    }
  } finally {
    closeSync(file);
  }
  return bytes;
}

/**
 * Opens a safetensors file: the header is read and checked now, tensors on demand.
 * Throws WEIR_E_FILE_MISSING and WEIR_E_MODEL_FILES (`details.tensor` names the tensor at fault).
 */
export async function readSafetensors(path: string): Promise<SafetensorsFile> {
  const { entries, metadata } = await readHeader(path);
  const entry = (name: string): Entry => {
    const found = entries.get(name);
    if (found === undefined) throw unknownTensor(name, path);
    return found;
  };
  const readableType = (name: string): ReadableDtype => {
    const { dtype } = entry(name);
    if (isReadable(dtype)) return dtype;
    throw new WeirError(
      "WEIR_E_MODEL_FILES",
      `${path}: tensor ${name} is stored as ${dtype}, and weights are read in F32, F16, BF16 and F64. ` +
        "Such a copy is usually quantised: use the model's plain weights.",
      { path, tensor: name, dtype },
    );
  };
  return {
    metadata,
    names: () => [...entries.keys()].sort(),
    shape: (name) => entry(name).shape,
    dtype: (name) => entry(name).dtype,
    assertReadable: (name) => {
      readableType(name);
    },
    read: (name) => {
      const { start, end } = entry(name);
      const dtype = readableType(name);
      return widen(readRange(path, start, end), dtype, name);
    },
  };
}

/**
 * Writes tensors as one safetensors file, in the order of the reference implementation (wider types first, then by
 * name), so that equal tensors give equal bytes. `dtype` is one for all, or chosen by name.
 * Throws WEIR_E_SHAPE when a tensor's values do not fit its shape, WEIR_E_NON_FINITE when a value does not fit float16.
 */
export async function writeSafetensors(
  path: string,
  tensors: TensorSource,
  metadata: Readonly<Record<string, string>>,
  dtype: StoredDtype | ((name: string) => StoredDtype) = "F32",
): Promise<void> {
  const plan = tensors.names().map((name) => {
    const stored = typeof dtype === "function" ? dtype(name) : dtype;
    const shape = tensors.shape(name);
    return { name, shape, dtype: stored, bytes: elementCount(shape) * BYTES_PER_ELEMENT[stored] };
  });
  plan.sort((a, b) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype] || (a.name < b.name ? -1 : 1));
  const header: Record<string, unknown> = {};
  if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
  let offset = 0;
  for (const { name, shape, dtype: stored, bytes } of plan) {
    header[name] = { dtype: stored, shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  const json = Buffer.from(JSON.stringify(header), "utf8");
  const padding = (HEADER_ALIGNMENT - (json.length % HEADER_ALIGNMENT)) % HEADER_ALIGNMENT;
  const prefix = Buffer.alloc(8 + json.length + padding, " ");
  prefix.writeBigUInt64LE(BigInt(json.length + padding), 0);
  json.copy(prefix, 8);

  const temporary = `${path}.partial-${process.pid}`;
  const file = await open(temporary, "w");
  try {
    await file.writeFile(prefix);
    for (const { name, shape, dtype: stored } of plan) {
      const values = tensors.read(name);
      if (values.length !== elementCount(shape))
        throw new WeirError(
          "WEIR_E_SHAPE",
          `Tensor ${name}: ${values.length} values for shape [${shape.join(", ")}]. Give as many values as the shape holds.`,
          { tensor: name, values: values.length, shape },
        );
      await file.writeFile(narrow(values, stored, name));
    }
    await file.sync();
    await file.close();
    await rename(temporary, path);
  } catch (error) {
    await file.close().catch(() => undefined);
    await rm(temporary, { force: true });
    throw error;
  }
}
