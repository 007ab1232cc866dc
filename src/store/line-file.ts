/**
 * An append-only file of lines (ndjson). Invariants: what a reader finds is a prefix of what was appended, plus at most
 * one torn line at the end, which opening for writing moves aside; a write that fails is undone by cutting the file back
 * to its last whole line before anything else is written. Writes are synchronous, so that the order of the file is the
 * order of the calls.
 */
import { isUtf8 } from "node:buffer";
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { WeirError } from "../errors.js";
import { onDisk, onDiskAsync } from "../system/disk-error.js";
import { freeName, PRIVATE_FILE, syncPath, writeDurably } from "./durable.js";

const CHUNK_BYTES = 1 << 20;
const NEWLINE = 0x0a;
/** Replaces a line that is not UTF-8; no reader accepts it. */
const NO_TEXT = "\uFFFD";

/** A whole line and the byte offset just after its newline. */
export interface Line {
  readonly text: string;
  readonly end: number;
}

/** Reads whole lines from byte `start` up to `limit`; a last line without newline is left out. */
export function* readLines(path: string, start = 0, limit = Number.POSITIVE_INFINITY): Generator<Line> {
  const descriptor = openSync(path, "r");
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let carried: Buffer[] = [];
    let position = start;
    for (;;) {
      const wanted = Math.min(CHUNK_BYTES, limit - position);
      const count = wanted <= 0 ? 0 : readSync(descriptor, chunk, 0, wanted, position);
      if (count === 0) return;
      let from = 0;
      for (;;) {
        const at = chunk.subarray(0, count).indexOf(NEWLINE, from);
        if (at < 0) break;
        const bytes = Buffer.concat([...carried, chunk.subarray(from, at)]);
        // A byte that is not UTF-8 would become U+FFFD inside a value, unnoticed.
        const text = isUtf8(bytes) ? bytes.toString("utf8") : NO_TEXT;
        carried = [];
        from = at + 1;
        yield { text, end: position + from };
      }
      if (from < count) carried.push(Buffer.from(chunk.subarray(from, count)));
      position += count;
    }
  } finally {
    closeSync(descriptor);
  }
}

/** Lines that a reader had to leave out. */
export interface LineDamage {
  /** Base name of the file. */
  readonly file: string;
  /** Number of the first damaged line, from 1. */
  readonly line: number;
  /** Bytes of that line, end exclusive. */
  readonly from: number;
  readonly to: number;
  /** Damaged lines in all. */
  readonly count: number;
  readonly reason: string;
}

/** One sentence that describes it. */
export function describeDamage({ file, line, from, to, count, reason }: LineDamage): string {
  const more = count > 1 ? `, and ${count - 1} more ${count === 2 ? "line" : "lines"}` : "";
  return `${file}: line ${line} (bytes ${from} to ${to})${more}: ${reason}; left out`;
}

/**
 * Reads the intact lines of a file, without a lock: a line that `parse` gives null for is left out. `onDamage` is called
 * once, at the end, with all of them; an unfinished last line belongs to them where no process writes any more (`ended`).
 */
export function* readWhole<T>(
  path: string,
  parse: (text: string) => T | null,
  options: { readonly onDamage?: (damage: LineDamage) => void; readonly ended?: boolean } = {},
): Generator<T> {
  let index = 0;
  let end = 0;
  let first: Omit<LineDamage, "count"> | null = null;
  let count = 0;
  const note = (to: number, reason: string) => {
    first ??= { file: basename(path), line: index + 1, from: end, to, reason };
    count++;
  };
  for (const line of readLines(path)) {
    const parsed = parse(line.text);
    if (parsed === null) note(line.end, "it is damaged");
    else yield parsed;
    end = line.end;
    index++;
  }
  const size = statSync(path).size;
  if (options.ended && size > end) note(size, "it was not finished");
  if (first !== null) options.onDamage?.({ ...(first as Omit<LineDamage, "count">), count });
}

function readRange(path: string, start: number, end: number): Buffer {
  const descriptor = openSync(path, "r");
  try {
    const content = Buffer.alloc(Math.max(0, end - start));
    let filled = 0;
    while (filled < content.length) {
      const count = readSync(descriptor, content, filled, content.length - filled, start + filled);
      if (count === 0) break;
      filled += count;
    }
    return content.subarray(0, filled);
  } finally {
    closeSync(descriptor);
  }
}

/** `dir/journal.ndjson` ▸ `dir/journal.LABEL-N.ndjson`. */
async function asidePath(path: string, label: string): Promise<string> {
  const name = basename(path);
  const cut = name.indexOf(".");
  const stem = cut < 0 ? name : name.slice(0, cut);
  const tail = cut < 0 ? "" : name.slice(cut);
  return join(dirname(path), await freeName(dirname(path), (n) => `${stem}.${label}-${n}${tail}`));
}

/** What is wrong with a line; `legible` where it was written whole and contradicts the lines before it. */
export interface LineFault {
  readonly reason: string;
  readonly legible: boolean;
}

/** Where each line goes when a file is opened: returns null for a good line. */
export type LineVisitor = (line: Line, index: number) => LineFault | null;

export interface LineFileOptions {
  /** Collect the lines of one iteration of the event loop into one write. */
  readonly buffered: boolean;
  readonly say: (notice: string) => void;
  /**
   * Bytes at the beginning that must be whole: where the newest checkpoint stands. Damage after them is moved aside;
   * without it every line must be whole. Asked only when a damaged line is found.
   */
  readonly floor?: () => Promise<number>;
  /** Writes to the open file; tests give one that fails. */
  readonly write?: (descriptor: number, content: Uint8Array, offset: number) => number;
}

export class LineFile {
  private pending: string[] = [];
  private scheduled = false;
  private failure: unknown = null;
  /** Bytes of whole lines in the file; `bytes` counts those still pending, too. */
  private written: number;
  private bytes: number;
  /** A failed write may have left a part of a line behind `written`. */
  private dirty = false;
  private closed = false;

  private constructor(
    readonly path: string,
    private readonly descriptor: number,
    private readonly options: LineFileOptions,
  ) {
    this.written = fstatSync(descriptor).size;
    this.bytes = this.written;
  }

  /**
   * Opens for appending, making the file where there is none. Every whole line is shown to `visit`; a torn end (a line
   * without newline, or an illegible last line) is moved to `NAME.torn-N.ndjson` and reported, damage
   * after the floor with all that follows to `NAME.damaged-N.ndjson`.
   * Errors: WEIR_E_RUN_FOLDER where a line before the last one and before the floor is damaged; WEIR_E_DISK.
   */
  static async open(path: string, visit: LineVisitor, options: LineFileOptions): Promise<LineFile> {
    return onDiskAsync(path, async () => {
      const fresh = !existsSync(path);
      const descriptor = openSync(path, "a+", PRIVATE_FILE);
      try {
        if (fresh) await syncPath(dirname(path));
        const file = new LineFile(path, descriptor, options);
        await file.repair(visit);
        return file;
      } catch (error) {
        closeSync(descriptor);
        throw error;
      }
    });
  }

  private async repair(visit: LineVisitor): Promise<void> {
    const { path, options } = this;
    let good = 0;
    let index = 0;
    /** The damage is not an unfinished last line. */
    let inside = false;
    let reason = "";
    for (const line of readLines(path)) {
      const fault = visit(line, index);
      if (fault !== null) {
        reason = fault.reason;
        inside = fault.legible || line.end < this.bytes;
        break;
      }
      good = line.end;
      index++;
    }
    if (good === this.bytes) return;
    const lost = this.bytes - good;
    const name = basename(path);
    if (!inside) {
      const aside = await this.cut(good, "torn");
      options.say(
        `${name}: its last line was not finished (${lost} bytes, the writer was killed or the disk was full); moved to ${basename(aside)}`,
      );
      return;
    }
    const floor = (await options.floor?.()) ?? Number.POSITIVE_INFINITY;
    if (good < floor) {
      throw new WeirError(
        "WEIR_E_RUN_FOLDER",
        `${path}: line ${index + 1} is damaged (${reason}), and more lines follow it or a checkpoint depends on it; restore the file from a copy, or start another run`,
        { path, line: index + 1 },
      );
    }
    const aside = await this.cut(good, "damaged");
    options.say(
      `${name}: line ${index + 1}, written after the newest checkpoint, is damaged (${reason}); it and what follows (${lost} bytes) were moved to ${basename(aside)}`,
    );
  }

  /** Bytes of the file, with pending lines. */
  get size(): number {
    return this.bytes;
  }

  /** Appends one line (without newline). Errors: WEIR_E_DISK, also that of an earlier buffered write. */
  append(text: string): void {
    this.check();
    if (this.closed) {
      throw new WeirError("WEIR_E_STATE", `${this.path} is closed: the run has ended, nothing can be added to it`, {
        path: this.path,
      });
    }
    const line = `${text}\n`;
    const before = this.bytes;
    this.bytes += Buffer.byteLength(line);
    this.pending.push(line);
    if (this.options.buffered) {
      this.schedule();
      return;
    }
    try {
      this.flush();
    } catch (error) {
      // The caller learns that this line is not in the file, so it must not come with a later one.
      this.pending = [];
      this.bytes = before;
      throw error;
    }
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      if (this.closed) return;
      try {
        this.flush();
      } catch (error) {
        this.failure = error;
      }
    });
  }

  /**
   * Hands everything to the operating system: it survives the death of this process. Lines of a write that failed stay
   * pending, and the file ends with its last whole line. Errors: WEIR_E_DISK.
   */
  flush(): void {
    this.check();
    if (this.pending.length === 0) return;
    const content = Buffer.from(this.pending.join(""));
    onDisk(this.path, () => {
      this.undo();
      const write = this.options.write ?? writeSync;
      this.dirty = true;
      try {
        for (let done = 0; done < content.length; ) done += write(this.descriptor, content, done);
      } catch (error) {
        this.undo();
        throw error;
      }
    });
    this.dirty = false;
    this.pending = [];
    this.written += content.length;
  }

  /** Truncates the remains of a failed write; throws where that fails too, and is retried before the next write. */
  private undo(): void {
    if (!this.dirty) return;
    ftruncateSync(this.descriptor, this.written);
    this.dirty = false;
  }

  /** Forces everything to the disk: it survives a power cut. Errors: WEIR_E_DISK. */
  sync(): void {
    this.flush();
    onDisk(this.path, () => fsyncSync(this.descriptor));
  }

  /** Moves everything from byte `mark` on to `NAME.LABEL-N.ndjson`; resolves to that path. Errors: WEIR_E_DISK. */
  async cut(mark: number, label: string): Promise<string> {
    this.flush();
    const aside = await asidePath(this.path, label);
    await writeDurably(aside, readRange(this.path, mark, this.bytes));
    onDisk(this.path, () => {
      ftruncateSync(this.descriptor, mark);
      fsyncSync(this.descriptor);
    });
    this.bytes = mark;
    this.written = mark;
    return aside;
  }

  /** Whether a line ends exactly at byte `mark`. */
  isBoundary(mark: number): boolean {
    this.flush();
    return mark === 0 || (mark <= this.bytes && readRange(this.path, mark - 1, mark)[0] === NEWLINE);
  }

  /** Closes the file in any case. Errors: WEIR_E_DISK where pending lines cannot be written. */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    try {
      this.failure = null;
      this.sync();
    } finally {
      closeSync(this.descriptor);
    }
  }

  private check(): void {
    if (this.failure === null) return;
    const failure = this.failure;
    this.failure = null;
    throw failure;
  }
}
