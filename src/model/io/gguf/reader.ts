/**
 * Reads the head of a GGUF file (versions 2 and 3, little-endian): metadata and tensor descriptions.
 * Not @huggingface/gguf, because that drops a byte-order mark at the start of a token's text and
 * silently cuts a string where its read window ends. Invariant: every tensor lies inside the file.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { WeirError } from "../../../errors.js";
import { isMissing } from "../json.js";
import { refuseUnfetched, UNFETCHED_HEAD_BYTES } from "../unfetched.js";
import { type GgmlType, ggmlType, storedBytes } from "./ggml-types.js";

export type GgufValue = number | bigint | boolean | string | readonly GgufValue[];

export interface GgufTensor {
  /** File that holds its values. */
  readonly path: string;
  readonly name: string;
  /** Outermost dimension first (the file stores them innermost first). */
  readonly shape: readonly number[];
  readonly type: GgmlType;
  /** Byte range in the file. */
  readonly start: number;
  readonly end: number;
}

export interface GgufHead {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
}

const MAGIC = "GGUF";
/** Bytes read from the file at a time: larger than any token table's element, small against the weights. */
const WINDOW_BYTES = 4 * 1024 * 1024;
/** Dimensions beyond four do not exist in ggml. */
const MAX_DIMENSIONS = 4;
const DEFAULT_ALIGNMENT = 32;
/** Element widths of the plain numeric value types, to check an array's length against the file. */
const SMALLEST_ELEMENT_BYTES = 1;

function damaged(path: string, what: string): WeirError {
  return new WeirError("WEIR_E_GGUF", `${path}: ${what}. Fetch the file again.`, { path });
}

/** Sequential little-endian reader over a file, through one window. */
class Cursor {
  #window: Buffer = Buffer.alloc(0);
  #windowStart = 0;
  #position = 0;

  constructor(
    private readonly path: string,
    private readonly file: number,
    readonly size: number,
  ) {}

  rewind(): void {
    this.#position = 0;
  }

  get position(): number {
    return this.#position;
  }

  /** The next `count` bytes; valid until the next call. */
  take(count: number): Buffer {
    const start = this.#position;
    if (count > this.size - start) throw damaged(this.path, `ends at byte ${this.size}, inside its head: truncated`);
    if (start < this.#windowStart || start + count > this.#windowStart + this.#window.length) {
      const length = Math.min(Math.max(count, WINDOW_BYTES), this.size - start);
      const window = Buffer.alloc(length);
      let done = 0;
      while (done < length) {
        const read = readSync(this.file, window, done, length - done, start + done);
        if (read === 0) throw damaged(this.path, `cannot be read beyond byte ${start + done}`);
        done += read;
      }
      this.#window = window;
      this.#windowStart = start;
    }
    this.#position += count;
    const offset = start - this.#windowStart;
    return this.#window.subarray(offset, offset + count);
  }

  u32(): number {
    return this.take(4).readUInt32LE(0);
  }

  /** A 64-bit count or offset. */
  size64(): number {
    const value = this.take(8).readBigUInt64LE(0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw damaged(this.path, `holds the impossible size ${value}`);
    return Number(value);
  }

  text(): string {
    return this.take(this.size64()).toString("utf8");
  }

  value(type: number, depth = 0): GgufValue {
    switch (type) {
      case 0:
        return this.take(1).readUInt8(0);
      case 1:
        return this.take(1).readInt8(0);
      case 2:
        return this.take(2).readUInt16LE(0);
      case 3:
        return this.take(2).readInt16LE(0);
      case 4:
        return this.u32();
      case 5:
        return this.take(4).readInt32LE(0);
      case 6:
        return this.take(4).readFloatLE(0);
      case 7:
        return this.take(1).readUInt8(0) !== 0;
      case 8:
        return this.text();
      case 9: {
        const inner = this.u32();
        const length = this.size64();
        if (depth > 3 || length * SMALLEST_ELEMENT_BYTES > this.size - this.#position)
          throw damaged(this.path, `announces an array of ${length} elements, more than the file holds`);
        const values: GgufValue[] = [];
        for (let i = 0; i < length; i += 1) values.push(this.value(inner, depth + 1));
        return values;
      }
      case 10:
        return this.take(8).readBigUInt64LE(0);
      case 11:
        return this.take(8).readBigInt64LE(0);
      case 12:
        return this.take(8).readDoubleLE(0);
      default:
        throw damaged(this.path, `uses the unknown metadata type ${type}`);
    }
  }
}

function readTensors(path: string, cursor: Cursor, count: number, alignment: () => number): Map<string, GgufTensor> {
  const described: { name: string; shape: number[]; type: GgmlType; offset: number }[] = [];
  for (let i = 0; i < count; i += 1) {
    const name = cursor.text();
    const dimensions = cursor.u32();
    if (dimensions > MAX_DIMENSIONS) throw damaged(path, `tensor ${name} has ${dimensions} dimensions`);
    const shape = Array.from({ length: dimensions }, () => cursor.size64()).reverse();
    const type = ggmlType(cursor.u32(), `${path}: tensor ${name}`);
    described.push({ name, shape, type, offset: cursor.size64() });
  }
  const dataStart = Math.ceil(cursor.position / alignment()) * alignment();
  const tensors = new Map<string, GgufTensor>();
  for (const { name, shape, type, offset } of described) {
    const start = dataStart + offset;
    const end = start + storedBytes(type, shape, `${path}: tensor ${name}`);
    if (end > cursor.size)
      throw damaged(path, `tensor ${name} ends at byte ${end} of ${cursor.size}: the file is truncated`);
    tensors.set(name, { path, name, shape, type, start, end });
  }
  return tensors;
}

/**
 * Opens a GGUF file. Throws WEIR_E_FILE_MISSING, and WEIR_E_GGUF when it is damaged, truncated, of another version or
 * byte order, or holds a tensor type that cannot be read (the message names tensor and type).
 */
export function readGgufHead(path: string): GgufHead {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if (isMissing(error))
      throw new WeirError("WEIR_E_FILE_MISSING", `${path} does not exist. Give the path of a .gguf file.`, { path });
    throw error;
  }
  try {
    const status = fstatSync(file);
    if (status.isDirectory())
      throw new WeirError(
        "WEIR_E_GGUF",
        `${path} is a folder, and a .gguf file is expected. A Hugging Face model folder needs no import; else name a file inside.`,
        { path },
      );
    const cursor = new Cursor(path, file, status.size);
    const head = cursor.take(Math.min(cursor.size, UNFETCHED_HEAD_BYTES)).toString("latin1");
    refuseUnfetched(path, head, "WEIR_E_GGUF");
    cursor.rewind();
    if (/\.(?:safetensors|bin|pth?)$/.test(path) && !head.startsWith(MAGIC))
      throw new WeirError(
        "WEIR_E_GGUF",
        `${path} is no GGUF file. Weights in safetensors need no import: give the folder as --model; PyTorch's files must be converted with transformers.`,
        { path },
      );
    if (cursor.size < 24 || cursor.take(4).toString("latin1") !== MAGIC)
      throw damaged(path, "does not start with the letters GGUF");
    const version = cursor.u32();
    if (version !== 2 && version !== 3)
      throw new WeirError(
        "WEIR_E_GGUF",
        `${path}: GGUF version ${version} is not supported; supported: 2 and 3, little-endian. Convert the file anew.`,
        { path, version },
      );
    const tensorCount = cursor.size64();
    const metadataCount = cursor.size64();
    const metadata = new Map<string, GgufValue>();
    for (let i = 0; i < metadataCount; i += 1) {
      const key = cursor.text();
      metadata.set(key, cursor.value(cursor.u32()));
    }
    const alignment = () => {
      const value = metadata.get("general.alignment") ?? DEFAULT_ALIGNMENT;
      if (typeof value !== "number" || value <= 0) throw damaged(path, `general.alignment is ${String(value)}`);
      return value;
    };
    return { path, metadata, tensors: readTensors(path, cursor, tensorCount, alignment) };
  } finally {
    closeSync(file);
  }
}
