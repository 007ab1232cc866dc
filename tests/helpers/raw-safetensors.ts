/** Writes safetensors files of any element type for tests, straight from the format's description. */
import { writeFile } from "node:fs/promises";

export interface RawTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export async function writeRawSafetensors(path: string, tensors: Readonly<Record<string, RawTensor>>): Promise<void> {
  const header: Record<string, unknown> = {};
  let offset = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + bytes.length] };
    offset += bytes.length;
  }
  const json = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  await writeFile(path, Buffer.concat([length, json, ...Object.values(tensors).map(({ bytes }) => bytes)]));
}
