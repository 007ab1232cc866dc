/**
 * Reads entries of a zip archive (a wheel) without dependencies: central directory, then each wanted entry as a stream,
 * checked against its size and CRC-32. Wheels stay below 4 GiB, so zip64 is refused with a clear error.
 */
import { createWriteStream } from "node:fs";
import { mkdir, open } from "node:fs/promises";
import { dirname } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createInflateRaw } from "node:zlib";

const END_SIGNATURE = 0x06054b50;
const CENTRAL_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
/** End record plus the longest comment that the format allows. */
const END_SEARCH_BYTES = 22 + 0xffff;
const ZIP64_MARK = 0xffffffff;

const CRC_TABLES = makeCrcTables();

/** Slicing-by-8 tables: a plain byte-wise CRC would take longer than inflating. */
function makeCrcTables() {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let n = 0; n < 256; n += 1) {
    let c = n;
    for (let k = 0; k < 8; k += 1) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
    tables[0][n] = c >>> 0;
  }
  for (let n = 0; n < 256; n += 1) {
    for (let t = 1; t < 8; t += 1) {
      const previous = tables[t - 1][n];
      tables[t][n] = (tables[0][previous & 0xff] ^ (previous >>> 8)) >>> 0;
    }
  }
  return tables;
}

/** CRC-32 of `bytes`, continued from `crc` (0 at the start). */
export function crc32(bytes, crc = 0) {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = CRC_TABLES;
  let c = ~crc >>> 0;
  let index = 0;
  for (; index + 8 <= bytes.length; index += 8) {
    const low =
      (c ^ (bytes[index] | (bytes[index + 1] << 8) | (bytes[index + 2] << 16) | (bytes[index + 3] << 24))) >>> 0;
    c =
      t7[low & 0xff] ^
      t6[(low >>> 8) & 0xff] ^
      t5[(low >>> 16) & 0xff] ^
      t4[low >>> 24] ^
      t3[bytes[index + 4]] ^
      t2[bytes[index + 5]] ^
      t1[bytes[index + 6]] ^
      t0[bytes[index + 7]];
  }
  for (; index < bytes.length; index += 1) c = t0[(c ^ bytes[index]) & 0xff] ^ (c >>> 8);
  return ~c >>> 0;
}

/**
 * @param {string} file
 * @returns {Promise<{ name: string, size: number, compressedSize: number, method: number, crc: number, offset: number }[]>}
 */
export async function listEntries(file) {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const tail = Buffer.alloc(Math.min(size, END_SEARCH_BYTES));
    await handle.read(tail, 0, tail.length, size - tail.length);
    let end = tail.length - 22;
    while (end >= 0 && tail.readUInt32LE(end) !== END_SIGNATURE) end -= 1;
    if (end < 0) throw new Error(`${file} is not a complete zip archive (no end record)`);
    const count = tail.readUInt16LE(end + 10);
    const directorySize = tail.readUInt32LE(end + 12);
    const directoryOffset = tail.readUInt32LE(end + 16);
    if (directoryOffset === ZIP64_MARK || count === 0xffff) throw new Error(`${file} is a zip64 archive`);
    const directory = Buffer.alloc(directorySize);
    await handle.read(directory, 0, directorySize, directoryOffset);
    const entries = [];
    let at = 0;
    for (let index = 0; index < count; index += 1) {
      if (directory.readUInt32LE(at) !== CENTRAL_SIGNATURE) throw new Error(`${file}: damaged central directory`);
      const nameLength = directory.readUInt16LE(at + 28);
      entries.push({
        name: directory.toString("utf8", at + 46, at + 46 + nameLength),
        method: directory.readUInt16LE(at + 10),
        crc: directory.readUInt32LE(at + 16),
        compressedSize: directory.readUInt32LE(at + 20),
        size: directory.readUInt32LE(at + 24),
        offset: directory.readUInt32LE(at + 42),
      });
      at += 46 + nameLength + directory.readUInt16LE(at + 30) + directory.readUInt16LE(at + 32);
    }
    return entries;
  } finally {
    await handle.close();
  }
}

/**
 * Writes one entry to `target`, creating folders; throws when size or checksum differ.
 * @param {string} file
 * @param {{ name: string, size: number, compressedSize: number, method: number, crc: number, offset: number }} entry
 * @param {string} target
 * @param {{ onBytes?: (bytes: number) => void, mode?: number }} options
 */
export async function extractEntry(file, entry, target, { onBytes = () => {}, mode = 0o644 } = {}) {
  await mkdir(dirname(target), { recursive: true });
  const handle = await open(file, "r");
  try {
    const head = Buffer.alloc(30);
    await handle.read(head, 0, 30, entry.offset);
    if (head.readUInt32LE(0) !== LOCAL_SIGNATURE) throw new Error(`${file}: damaged entry ${entry.name}`);
    const start = entry.offset + 30 + head.readUInt16LE(26) + head.readUInt16LE(28);
    let crc = 0;
    let bytes = 0;
    const check = new Transform({
      transform(chunk, _encoding, done) {
        crc = crc32(chunk, crc);
        bytes += chunk.length;
        onBytes(chunk.length);
        done(null, chunk);
      },
    });
    const sink = createWriteStream(target, { mode });
    if (entry.compressedSize === 0) {
      await pipeline(check, sink, { signal: endNow(check) });
    } else {
      const source = handle.createReadStream({
        start,
        end: start + entry.compressedSize - 1,
        autoClose: false,
        highWaterMark: 1 << 20,
      });
      if (entry.method === 0) await pipeline(source, check, sink);
      else if (entry.method === 8) await pipeline(source, createInflateRaw({ chunkSize: 1 << 18 }), check, sink);
      else throw new Error(`${file}: ${entry.name} uses compression method ${entry.method}; 0 and 8 are known`);
    }
    if (bytes !== entry.size || crc !== entry.crc) {
      throw new Error(`${file}: ${entry.name} is damaged (size ${bytes} of ${entry.size}, checksum differs)`);
    }
  } finally {
    await handle.close();
  }
}

/** An empty entry has no source: end the checker and give pipeline a signal that never fires. */
function endNow(stream) {
  stream.end();
  return new AbortController().signal;
}
