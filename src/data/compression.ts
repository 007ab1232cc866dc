/**
 * Detects what a file is by its first bytes, not by its name; gzip is decompressed while reading.
 * Invariant: no file is read into memory here; chunks are passed on as they come.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip } from "node:zlib";
import { fileFault } from "./faults.js";

/** Formats that weir does not read, by their first bytes, with the remedy. */
const REFUSED: readonly (readonly [readonly number[], string])[] = [
  [[0x28, 0xb5, 0x2f, 0xfd], "it is compressed with zstd; decompress it (zstd -d), or compress it with gzip"],
  [[0x42, 0x5a, 0x68], "it is compressed with bzip2; decompress it (bunzip2), or compress it with gzip"],
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], "it is compressed with xz; decompress it (unxz), or compress it with gzip"],
  [[0x04, 0x22, 0x4d, 0x18], "it is compressed with lz4; decompress it (lz4 -d), or compress it with gzip"],
  [[0x50, 0x4b, 0x03, 0x04], "it is a zip archive; unpack it and name the data files in it"],
  [[0x50, 0x4b, 0x05, 0x06], "it is a zip archive without files"],
  [[0x37, 0x7a, 0xbc, 0xaf, 0x27, 0x1c], "it is a 7z archive; unpack it and name the data files in it"],
  [[...Buffer.from("PARE")], "it is an encrypted parquet file; write it without encryption"],
  [[...Buffer.from("ARROW1")], "it is an Arrow (Feather) file; write it as parquet or JSON lines"],
  [
    [...Buffer.from("version https://git-lfs")],
    "it is a Git LFS pointer, not the data; fetch the file itself (git lfs pull)",
  ],
  [[0xff, 0xfe], "it is written in UTF-16; save it as UTF-8"],
  [[0xfe, 0xff], "it is written in UTF-16; save it as UTF-8"],
];

const GZIP = [0x1f, 0x8b];
const PARQUET = [...Buffer.from("PAR1")];

/** Enough bytes for every mark above, and to look past blank lines for the first bracket of an array. */
const HEAD_BYTES = 4_096;

/** Bytes of a text file, with its format as found from the beginning. */
export interface ByteSource {
  readonly head: Uint8Array;
  readonly chunks: AsyncIterable<Uint8Array>;
  /** True where the bytes came out of gzip. */
  readonly compressed: boolean;
  /** Closes the file without reading `chunks`; reading them to the end, or breaking off, closes it too. */
  close(): Promise<void>;
}

const startsWith = (bytes: Uint8Array, mark: readonly number[]) => mark.every((byte, at) => bytes[at] === byte);

/** True for a parquet file. */
export const isParquet = (head: Uint8Array): boolean => startsWith(head, PARQUET);

/** Looks at the first bytes and decompresses gzip. Errors: WEIR_E_DATA naming what the file is where it is not read. */
export async function openBytes(name: string, chunks: AsyncIterable<Uint8Array>): Promise<ByteSource> {
  const plain = await peek(chunks);
  try {
    refuseUnread(name, plain.head, "");
    if (!startsWith(plain.head, GZIP)) return { ...plain, compressed: false };
    return { ...(await openGzip(name, plain.chunks)), compressed: true };
  } catch (error) {
    await plain.close();
    throw error;
  }
}

async function openGzip(name: string, chunks: AsyncIterable<Uint8Array>): Promise<Omit<ByteSource, "compressed">> {
  const inner = await peek(gunzip(name, chunks));
  const within = "inside its gzip compression ";
  try {
    if (startsWith(inner.head, GZIP)) throw fileFault(name, `${within}it is compressed twice; decompress it once`);
    if (isParquet(inner.head)) throw fileFault(name, `${within}it is a parquet file; decompress it (gunzip)`);
    refuseUnread(name, inner.head, within);
    return inner;
  } catch (error) {
    await inner.close();
    throw error;
  }
}

function refuseUnread(name: string, head: Uint8Array, within: string): void {
  const found = REFUSED.find(([mark]) => startsWith(head, mark));
  if (found) throw fileFault(name, `expected parquet, JSON lines or a JSON array; ${within}${found[1]}`);
}

/** The first bytes of a stream, and the whole stream again. */
async function peek(chunks: AsyncIterable<Uint8Array>): Promise<Omit<ByteSource, "compressed">> {
  const iterator = chunks[Symbol.asyncIterator]();
  const taken: Uint8Array[] = [];
  let size = 0;
  while (size < HEAD_BYTES) {
    const next = await iterator.next();
    if (next.done) break;
    taken.push(next.value);
    size += next.value.length;
  }
  const head = Buffer.concat(taken).subarray(0, HEAD_BYTES);
  const close = async () => {
    await iterator.return?.();
  };
  async function* again() {
    try {
      for (let chunk = taken.shift(); chunk !== undefined; chunk = taken.shift()) yield chunk;
      for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
    } finally {
      await close();
    }
  }
  return { head, chunks: again(), close };
}

async function* gunzip(name: string, chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let given = 0;
  async function* counted() {
    for await (const chunk of chunks) {
      given += chunk.length;
      yield chunk;
    }
  }
  const inflate = createGunzip();
  const feeding = pipeline(Readable.from(counted(), { objectMode: false }), inflate).catch(() => {
    // The reader of `inflate` gets the same error.
  });
  try {
    for await (const chunk of inflate) yield chunk as Uint8Array;
    await feeding;
  } catch (cause) {
    throw fileFault(
      name,
      `it is compressed with gzip and cannot be decompressed (${(cause as Error).message}); the file is cut off or damaged; fetch or write it again`,
      cause,
    );
  }
  if (inflate.bytesWritten < given) {
    throw fileFault(
      name,
      `${given - inflate.bytesWritten} bytes follow the end of its gzip data; it was appended to or damaged, write it again`,
    );
  }
}
