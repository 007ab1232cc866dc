/**
 * An append-only file of lines (ndjson). Invariant: what a reader finds is a prefix of what was appended, plus at most
 * one torn line at the end, which opening for writing moves aside. Writes are synchronous, so that the order of the
 * file is the order of the calls.
 */
import { closeSync, existsSync, fstatSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { WeirError } from "../errors.js";
import { freeName, syncPath, writeDurably } from "./durable.js";

const CHUNK_BYTES = 1 << 20;
const NEWLINE = 0x0a;

/** A whole line and the byte offset just behind its newline. */
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
        const text = Buffer.concat([...carried, chunk.subarray(from, at)]).toString("utf8");
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

/** Where each line goes when a file is opened: returns false for a line that is damaged. */
export type LineVisitor = (line: Line, index: number) => boolean;

export class LineFile {
  private pending: string[] = [];
  private scheduled = false;
  private failure: unknown = null;
  private bytes: number;

  private constructor(
    readonly path: string,
    private readonly descriptor: number,
    private readonly buffered: boolean,
  ) {
    this.bytes = fstatSync(descriptor).size;
  }

  /**
   * Opens for appending, making the file where there is none. Every whole line is shown to `visit`; a torn end (a line
   * without newline, or a last line that `visit` calls damaged) is moved to `NAME.torn-N.ndjson` and reported.
   * `buffered` collects the lines of one turn of the event loop into one write.
   * Errors: WEIR_E_RUN_FOLDER where a line before the last one is damaged.
   */
  static async open(
    path: string,
    visit: LineVisitor,
    options: { readonly buffered: boolean; readonly say: (notice: string) => void },
  ): Promise<LineFile> {
    const fresh = !existsSync(path);
    const descriptor = openSync(path, "a+");
    if (fresh) await syncPath(dirname(path));
    const file = new LineFile(path, descriptor, options.buffered);
    let good = 0;
    let damaged: number | null = null;
    let index = 0;
    for (const line of readLines(path)) {
      if (damaged !== null) {
        closeSync(descriptor);
        throw new WeirError(
          "WEIR_E_RUN_FOLDER",
          `${path}: line ${damaged + 1} is damaged and more lines follow it; restore the file or start another run`,
          { path, line: damaged + 1 },
        );
      }
      if (visit(line, index)) good = line.end;
      else damaged = index;
      index++;
    }
    if (good < file.bytes) {
      const torn = file.bytes - good;
      const aside = await file.cut(good, "torn");
      options.say(
        `${basename(path)}: its last line was not finished (${torn} bytes, the writer was killed); moved to ${basename(aside)}`,
      );
    }
    return file;
  }

  /** Bytes of the file, with what is still on its way. */
  get size(): number {
    return this.bytes;
  }

  /** Appends one line (without newline). Errors of an earlier buffered write are thrown here. */
  append(text: string): void {
    this.check();
    const line = `${text}\n`;
    this.bytes += Buffer.byteLength(line);
    this.pending.push(line);
    if (!this.buffered) {
      this.flush();
    } else if (!this.scheduled) {
      this.scheduled = true;
      setImmediate(() => {
        this.scheduled = false;
        try {
          this.flush();
        } catch (error) {
          this.failure = error;
        }
      });
    }
  }

  /** Hands everything to the operating system: it survives the death of this process. */
  flush(): void {
    this.check();
    if (this.pending.length === 0) return;
    const content = Buffer.from(this.pending.join(""));
    this.pending = [];
    for (let written = 0; written < content.length; ) written += writeSync(this.descriptor, content, written);
  }

  /** Forces everything to the disk: it survives a power cut. */
  sync(): void {
    this.flush();
    fsyncSync(this.descriptor);
  }

  /** Moves everything from byte `mark` on to `NAME.LABEL-N.ndjson`; resolves to that path. */
  async cut(mark: number, label: string): Promise<string> {
    this.flush();
    const aside = await asidePath(this.path, label);
    await writeDurably(aside, readRange(this.path, mark, this.bytes));
    ftruncateSync(this.descriptor, mark);
    fsyncSync(this.descriptor);
    this.bytes = mark;
    return aside;
  }

  /** Whether a line ends exactly at byte `mark`. */
  isBoundary(mark: number): boolean {
    this.flush();
    return mark === 0 || (mark <= this.bytes && readRange(this.path, mark - 1, mark)[0] === NEWLINE);
  }

  close(): void {
    try {
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
