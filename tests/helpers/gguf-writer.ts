/** Writes GGUF files for tests, straight from the format's description: head, padding, tensor bytes. */
import { writeFile } from "node:fs/promises";

export type GgufScalar =
  | { readonly u32: number }
  | { readonly i32: number }
  | { readonly u64: bigint }
  | { readonly f32: number }
  | { readonly bool: boolean }
  | { readonly text: string };

export type GgufEntry =
  | GgufScalar
  | { readonly texts: readonly string[] }
  | { readonly i32s: readonly number[] }
  | { readonly f32s: readonly number[] };

export interface GgufTensorSpec {
  /** Outermost dimension first. */
  readonly shape: readonly number[];
  /** Number of the ggml type. */
  readonly type: number;
  readonly bytes: Uint8Array;
}

const ALIGNMENT = 32;

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number | bigint): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, "utf8");
  return Buffer.concat([u64(bytes.length), bytes]);
}

function i32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32LE(value);
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}

/** Type number and bytes of a metadata value. */
function entry(value: GgufEntry): Buffer {
  if ("u32" in value) return Buffer.concat([u32(4), u32(value.u32)]);
  if ("i32" in value) return Buffer.concat([u32(5), i32(value.i32)]);
  if ("f32" in value) return Buffer.concat([u32(6), f32(value.f32)]);
  if ("bool" in value) return Buffer.concat([u32(7), Buffer.from([value.bool ? 1 : 0])]);
  if ("text" in value) return Buffer.concat([u32(8), text(value.text)]);
  if ("u64" in value) return Buffer.concat([u32(10), u64(value.u64)]);
  if ("texts" in value) return Buffer.concat([u32(9), u32(8), u64(value.texts.length), ...value.texts.map(text)]);
  if ("i32s" in value) return Buffer.concat([u32(9), u32(5), u64(value.i32s.length), ...value.i32s.map(i32)]);
  return Buffer.concat([u32(9), u32(6), u64(value.f32s.length), ...value.f32s.map(f32)]);
}

function pad(length: number): Buffer {
  return Buffer.alloc((ALIGNMENT - (length % ALIGNMENT)) % ALIGNMENT);
}

export async function writeGguf(
  path: string,
  metadata: Readonly<Record<string, GgufEntry>>,
  tensors: Readonly<Record<string, GgufTensorSpec>>,
  version = 3,
): Promise<void> {
  const head = [Buffer.from("GGUF"), u32(version), u64(Object.keys(tensors).length), u64(Object.keys(metadata).length)];
  for (const [key, value] of Object.entries(metadata)) head.push(text(key), entry(value));
  const data: Buffer[] = [];
  let offset = 0;
  for (const [name, tensor] of Object.entries(tensors)) {
    const dimensions = [...tensor.shape].reverse();
    head.push(text(name), u32(dimensions.length), ...dimensions.map(u64), u32(tensor.type), u64(offset));
    const bytes = Buffer.concat([tensor.bytes, pad(tensor.bytes.length)]);
    data.push(bytes);
    offset += bytes.length;
  }
  const start = Buffer.concat(head);
  await writeFile(path, Buffer.concat([start, pad(start.length), ...data]));
}

/** Bytes of float32 values. */
export function floatBytes(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
