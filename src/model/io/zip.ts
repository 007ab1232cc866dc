/**
 * Reads zip archives from disk: entry list from the central directory, entries stored or deflated, streamed to a file.
 * Enough for Python wheels; no zip64, no encryption. Every extracted entry is checked against its CRC-32 and length.
 */
import { createReadStream, createWriteStream } from "node:fs";
import { type FileHandle, open, rm } from "node:fs/promises";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { crc32, createInflateRaw } from "node:zlib";
import { WeirError } from "../../errors.js";

export interface ZipEntry {
  readonly name: string;
  /** Bytes when unpacked. */
  readonly size: number;
  readonly compressedSize: number;
  readonly method: number;
  readonly crc32: number;
  /** Byte position of the local header. */
  readonly headerStart: number;
}

const END_SIGNATURE = 0x06054b50;
const ENTRY_SIGNATURE = 0x02014b50;
const LOCAL_SIGNATURE = 0x04034b50;
const END_BYTES = 22;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
/** The end record may be followed by a comment of at most this length. */
const MAX_COMMENT_BYTES = 65_535;
const STORED = 0;
const DEFLATED = 8;
/** A field with this value says that the true one is in a zip64 record. */
const ZIP64_MARK = 0xffffffff;

function damaged(path: string, what: string): WeirError {
  return new WeirError("WEIR_E_MODEL_FILES", `${path}: ${what}. Fetch the archive again.`, { path });
}

async function readAt(file: FileHandle, path: string, start: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const { bytesRead } = await file.read(bytes, 0, length, start);
  if (bytesRead < length) throw damaged(path, `ends inside its table at byte ${start + bytesRead}`);
  return bytes;
}

/** Lists the entries of an archive. Throws WEIR_E_MODEL_FILES when it is no zip, damaged, or zip64. */
export async function readZipEntries(path: string): Promise<readonly ZipEntry[]> {
  const file = await open(path, "r");
  try {
    const { size } = await file.stat();
    const tailBytes = Math.min(size, END_BYTES + MAX_COMMENT_BYTES);
    const tail = await readAt(file, path, size - tailBytes, tailBytes);
    let end = tailBytes - END_BYTES;
    while (end >= 0 && tail.readUInt32LE(end) !== END_SIGNATURE) end -= 1;
    if (end < 0) throw damaged(path, "is not a zip archive, or is truncated");
    const count = tail.readUInt16LE(end + 10);
    const tableBytes = tail.readUInt32LE(end + 12);
    const tableStart = tail.readUInt32LE(end + 16);
    if (tableStart === ZIP64_MARK) throw damaged(path, "is a zip64 archive, which cannot be read");
    const table = await readAt(file, path, tableStart, tableBytes);
    const entries: ZipEntry[] = [];
    let at = 0;
    for (let i = 0; i < count; i += 1) {
      if (at + ENTRY_BYTES > table.length || table.readUInt32LE(at) !== ENTRY_SIGNATURE)
        throw damaged(path, `has a damaged table at entry ${i}`);
      const nameBytes = table.readUInt16LE(at + 28);
      entries.push({
        name: table.toString("utf8", at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes),
        method: table.readUInt16LE(at + 10),
        crc32: table.readUInt32LE(at + 16),
        compressedSize: table.readUInt32LE(at + 20),
        size: table.readUInt32LE(at + 24),
        headerStart: table.readUInt32LE(at + 42),
      });
      at += ENTRY_BYTES + nameBytes + table.readUInt16LE(at + 30) + table.readUInt16LE(at + 32);
    }
    return entries;
  } finally {
    await file.close();
  }
}

/** Passes bytes through and keeps their CRC-32 and number. */
class Checksum extends Transform {
  crc32 = 0;
  bytes = 0;

  override _transform(chunk: Buffer, _encoding: string, done: (error: null, chunk: Buffer) => void): void {
    this.crc32 = crc32(chunk, this.crc32);
    this.bytes += chunk.length;
    done(null, chunk);
  }
}

/** Unpacks one entry to `target`. Throws WEIR_E_MODEL_FILES when it is damaged or packed in another way. */
export async function extractZipEntry(path: string, entry: ZipEntry, target: string): Promise<void> {
  if (entry.method !== STORED && entry.method !== DEFLATED)
    throw damaged(path, `packs ${entry.name} by method ${entry.method}, expected stored or deflated`);
  const file = await open(path, "r");
  let start: number;
  try {
    const header = await readAt(file, path, entry.headerStart, LOCAL_BYTES);
    if (header.readUInt32LE(0) !== LOCAL_SIGNATURE) throw damaged(path, `has no entry where ${entry.name} should be`);
    start = entry.headerStart + LOCAL_BYTES + header.readUInt16LE(26) + header.readUInt16LE(28);
  } finally {
    await file.close();
  }
  const checksum = new Checksum();
  try {
    if (entry.compressedSize > 0) {
      const source = createReadStream(path, { start, end: start + entry.compressedSize - 1 });
      const sink = createWriteStream(target);
      if (entry.method === DEFLATED) await pipeline(source, createInflateRaw(), checksum, sink);
      else await pipeline(source, checksum, sink);
    }
    if (checksum.bytes !== entry.size || checksum.crc32 !== entry.crc32)
      throw damaged(
        path,
        `holds a damaged ${entry.name}: ${checksum.bytes} of ${entry.size} bytes, or a wrong checksum`,
      );
  } catch (error) {
    await rm(target, { force: true });
    if (WeirError.isInstance(error)) throw error;
    throw new WeirError(
      "WEIR_E_MODEL_FILES",
      `${path}: ${entry.name} cannot be unpacked. Fetch the archive again.`,
      { path },
      { cause: error },
    );
  }
}
