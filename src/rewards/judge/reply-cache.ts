/**
 * Replies of the judge, kept by question: in memory, and in a folder where one is named, so that a repeated evaluation asks nothing.
 *
 * The folder holds lines of JSON `{ key, value, reply }` in files that one process each appends to; every process reads all of them when
 * it starts. Invariants: a line that is torn or strange counts as none; folder and memory stay below about `maxBytes`, the oldest going
 * first; a folder that cannot be written ends the writing, not the run.
 */
import { randomUUID } from "node:crypto";
import { appendFile, mkdir, readdir, readFile, rm, stat } from "node:fs/promises";
import { join } from "node:path";

export interface CachedReply {
  /** Null for a reply that is no verdict. */
  readonly value: 0 | 1 | null;
  readonly reply: string;
}

export interface ReplyCacheOptions {
  /** Null keeps replies in memory only. */
  readonly directory: string | null;
  /** Most bytes, in memory and in the folder each. */
  readonly maxBytes: number;
  /** Hears once that the folder cannot be read or written. */
  readonly report?: (error: unknown) => void;
}

/** A file is closed at this share of `maxBytes`, so that the oldest replies can be removed by files. */
const FILES = 8;
/** A longer line is not kept: one reply should not drive out thousands. */
const LINE_LIMIT = 64 * 1024;
const FILE_NAME = /^judge-.*\.ndjson$/;

export class ReplyCache {
  private readonly entries = new Map<string, { readonly reply: CachedReply; readonly bytes: number }>();
  private bytes = 0;
  private directory: string | null;
  private loading: Promise<void> | null = null;
  private pending: string[] = [];
  private writing: Promise<void> | null = null;
  private file: { readonly path: string; bytes: number } | null = null;

  constructor(private readonly options: ReplyCacheOptions) {
    this.directory = options.directory;
  }

  /** Replies in memory. */
  get size(): number {
    return this.entries.size;
  }

  async get(key: string): Promise<CachedReply | null> {
    if (this.directory !== null) {
      this.loading ??= this.load(this.directory);
      await this.loading;
    }
    return this.entries.get(key)?.reply ?? null;
  }

  put(key: string, reply: CachedReply): void {
    const line = `${JSON.stringify({ key, ...reply })}\n`;
    if (!this.keep(key, reply, Buffer.byteLength(line)) || this.directory === null) return;
    this.pending.push(line);
    this.writing ??= this.write().finally(() => {
      this.writing = null;
    });
  }

  /** Waits until everything is on the disk. */
  async close(): Promise<void> {
    while (this.writing !== null) await this.writing;
  }

  private keep(key: string, reply: CachedReply, bytes: number): boolean {
    if (bytes > Math.min(LINE_LIMIT, this.options.maxBytes)) return false;
    this.forget(key);
    this.entries.set(key, { reply, bytes });
    this.bytes += bytes;
    for (const oldest of this.entries.keys()) {
      if (this.bytes <= this.options.maxBytes) break;
      this.forget(oldest);
    }
    return true;
  }

  private forget(key: string): void {
    this.bytes -= this.entries.get(key)?.bytes ?? 0;
    this.entries.delete(key);
  }

  private async load(directory: string): Promise<void> {
    try {
      await mkdir(directory, { recursive: true });
      for (const { path } of await filesOf(directory)) {
        for (const line of (await readFile(path, "utf8")).split("\n")) {
          const entry = entryOf(line);
          if (entry !== null) this.keep(entry.key, entry.reply, Buffer.byteLength(line) + 1);
        }
      }
    } catch (error) {
      this.giveUp(error);
    }
  }

  private async write(): Promise<void> {
    while (this.directory !== null && this.pending.length > 0) {
      const text = this.pending.splice(0).join("");
      try {
        this.file ??= { path: join(this.directory, `judge-${randomUUID()}.ndjson`), bytes: 0 };
        await mkdir(this.directory, { recursive: true });
        await appendFile(this.file.path, text);
        this.file.bytes += Buffer.byteLength(text);
        if (this.file.bytes >= this.options.maxBytes / FILES) await this.rotate(this.directory);
      } catch (error) {
        this.giveUp(error);
      }
    }
  }

  /** Begins another file, and removes the oldest ones beyond the bound. */
  private async rotate(directory: string): Promise<void> {
    this.file = null;
    const files = await filesOf(directory);
    let total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { path, bytes } of files) {
      if (total <= this.options.maxBytes * (1 - 1 / FILES)) return;
      await rm(path, { force: true });
      total -= bytes;
    }
  }

  private giveUp(error: unknown): void {
    this.directory = null;
    this.pending = [];
    this.options.report?.(error);
  }
}

/** The cache's files, the oldest first. One that another process has just removed is left out. */
async function filesOf(directory: string): Promise<{ readonly path: string; readonly bytes: number }[]> {
  const names = (await readdir(directory)).filter((name) => FILE_NAME.test(name));
  const found = await Promise.all(
    names.map(async (name) => {
      const path = join(directory, name);
      const info = await stat(path).catch(() => null);
      return info === null ? null : { path, bytes: info.size, at: info.mtimeMs };
    }),
  );
  return found.filter((file) => file !== null).sort((a, b) => a.at - b.at || (a.path < b.path ? -1 : 1));
}

function entryOf(line: string): { readonly key: string; readonly reply: CachedReply } | null {
  try {
    const { key, value, reply } = JSON.parse(line) as Readonly<Record<string, unknown>>;
    if (typeof key !== "string" || typeof reply !== "string") return null;
    return value === 0 || value === 1 || value === null ? { key, reply: { value, reply } } : null;
  } catch {
    return null;
  }
}
