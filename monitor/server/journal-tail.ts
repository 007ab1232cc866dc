import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import type { Fact } from "../../src/contracts/fact.js";
import { readFactLine } from "../../src/store/fact-schema.js";

/**
 * Reads a journal that another process writes, each byte once. A run that is restored from a checkpoint truncates its
 * journal: this shows in the bytes before the current position, and the journal is then read again.
 * Invariant: facts come in file order; a line that is not a fact is counted, not fatal; kinds of facts that only a
 * newer weir knows are passed over; a line without its end waits.
 */

const CHUNK_BYTES = 1 << 20;
/** Bytes before the position that are compared: no two facts agree in so many, since each has its number. */
const PROOF_BYTES = 256;
const NEWLINE = 0x0a;

export interface TailNews {
  readonly facts: readonly Fact[];
  /** True when the journal was cut since: `facts` are then all that it holds. */
  readonly restarted: boolean;
  /** Whole lines among the new ones that are not facts. */
  readonly damaged: number;
}

export class JournalTail {
  /** Byte offset after the last whole line read. */
  private offset = 0;
  private proof: Buffer = Buffer.alloc(0);

  constructor(private readonly path: string) {}

  /** What was written since the last call; nothing where there is no file. */
  read(): TailNews {
    let descriptor: number;
    try {
      descriptor = openSync(this.path, "r");
    } catch {
      return { facts: [], restarted: false, damaged: 0 };
    }
    try {
      const restarted = this.offset > 0 && !this.stillThere(descriptor);
      if (restarted) this.offset = 0;
      return { ...this.lines(descriptor), restarted };
    } finally {
      closeSync(descriptor);
    }
  }

  private stillThere(descriptor: number): boolean {
    if (fstatSync(descriptor).size < this.offset) return false;
    const now = Buffer.alloc(this.proof.length);
    readSync(descriptor, now, 0, now.length, this.offset - now.length);
    return now.equals(this.proof);
  }

  private lines(descriptor: number): Omit<TailNews, "restarted"> {
    const facts: Fact[] = [];
    let damaged = 0;
    let rest: Buffer = Buffer.alloc(0);
    for (let position = this.offset; ; ) {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      const count = readSync(descriptor, chunk, 0, CHUNK_BYTES, position);
      if (count === 0) break;
      position += count;
      const bytes = Buffer.concat([rest, chunk.subarray(0, count)]);
      const end = bytes.lastIndexOf(NEWLINE) + 1;
      rest = bytes.subarray(end);
      if (end === 0) continue;
      this.offset += end;
      this.proof = Buffer.from(bytes.subarray(Math.max(0, end - PROOF_BYTES), end));
      for (const text of bytes.toString("utf8", 0, end - 1).split("\n")) {
        const line = readFactLine(text);
        if (!line.whole) damaged++;
        else if (line.fact !== null) facts.push(line.fact);
      }
    }
    return { facts, damaged };
  }
}
