import type { Fact, FactData, FactType } from "../contracts/fact.js";
import { WeirError } from "../errors.js";
import { readFactLine } from "./fact-schema.js";
import { LineFile, readLines, readWhole } from "./line-file.js";

export const JOURNAL_NAME = "journal.ndjson";

/** A place in the journal: everything before `bytes`, whose last fact has number `seq`. */
export interface JournalMark {
  readonly bytes: number;
  readonly seq: number;
}

export interface JournalOptions {
  /** Wall clock, ms. */
  readonly clock: () => number;
  readonly say: (notice: string) => void;
  /** `always` forces each fact to the disk; `mark` only when a mark is taken and at the end (a kill loses nothing either way, a power cut may). */
  readonly fsync?: "always" | "mark";
  /** Bytes that must be whole; see LineFile. */
  readonly floor?: () => Promise<number>;
}

export class Journal {
  private readonly observers = new Set<(fact: Fact) => void>();

  private constructor(
    private readonly file: LineFile,
    private readonly options: JournalOptions,
    private last: number,
  ) {}

  /** Opens or makes a journal. Errors: WEIR_E_RUN_FOLDER where it is damaged before its last line or a number is missing. */
  static async open(path: string, options: JournalOptions): Promise<Journal> {
    let last = 0;
    const file = await LineFile.open(
      path,
      ({ text }) => {
        const line = readFactLine(text);
        if (!line.whole) return line;
        if (line.seq !== last + 1) return { reason: `fact ${last + 1} is expected, it is ${line.seq}`, legible: true };
        last = line.seq;
        return null;
      },
      { buffered: false, say: options.say, ...(options.floor ? { floor: options.floor } : {}) },
    );
    return new Journal(file, options, last);
  }

  /** Number of the last fact, 0 in an empty journal. */
  get seq(): number {
    return this.last;
  }

  append<T extends FactType>(type: T, step: number, data: FactData[T]): Fact {
    const seq = this.last + 1;
    const fact = { schema_version: 1, seq, type, step, time: this.options.clock(), data } as Fact;
    this.file.append(JSON.stringify(fact));
    if (this.options.fsync === "always") this.file.sync();
    this.last = seq;
    for (const observer of this.observers) observer(fact);
    return fact;
  }

  /** Calls back for each fact appended from now on; returns the way to stop that. */
  observe(observer: (fact: Fact) => void): () => void {
    this.observers.add(observer);
    return () => this.observers.delete(observer);
  }

  /** The facts with seq ≥ `from`. */
  *read(from = 1): Generator<Fact> {
    this.file.flush();
    yield* readFacts(this.file.path, from);
  }

  /** The facts with seq ≥ `from`, then each new one until the signal; reads from the file, so memory stays bounded. */
  async *tail(from: number, signal: AbortSignal): AsyncGenerator<Fact> {
    let next = from;
    let wake: () => void = () => undefined;
    const stop = this.observe(() => wake());
    const abort = () => wake();
    signal.addEventListener("abort", abort);
    try {
      while (!signal.aborted) {
        for (const fact of this.read(next)) {
          next = fact.seq + 1;
          yield fact;
          if (signal.aborted) return;
        }
        if (next > this.last) {
          await new Promise<void>((resolve) => {
            wake = resolve;
            if (signal.aborted) resolve();
          });
        }
      }
    } finally {
      stop();
      signal.removeEventListener("abort", abort);
    }
  }

  /** Forces the journal to the disk and returns where it stands. */
  mark(): JournalMark {
    this.file.sync();
    return { bytes: this.file.size, seq: this.last };
  }

  /** The place after the first fact when that is of the given type, else the very beginning. */
  markAfterFirst(type: FactType): JournalMark {
    this.file.flush();
    for (const { text, end } of readLines(this.file.path)) {
      const line = readFactLine(text);
      return line.whole && line.fact?.type === type ? { bytes: end, seq: 1 } : { bytes: 0, seq: 0 };
    }
    return { bytes: 0, seq: 0 };
  }

  /** Moves the facts after a mark to `journal.rolledback-N.ndjson`; resolves to its path, null when there were none. */
  async rollBack(mark: JournalMark): Promise<string | null> {
    if (mark.seq > this.last || !this.file.isBoundary(mark.bytes)) {
      throw new WeirError(
        "WEIR_E_RUN_FOLDER",
        `${this.file.path}: the checkpoint knows ${mark.seq} facts in ${mark.bytes} bytes, the journal has ${this.last} in ${this.file.size}; another program changed it`,
        { mark, seq: this.last, bytes: this.file.size },
      );
    }
    if (mark.bytes === this.file.size) return null;
    const aside = await this.file.cut(mark.bytes, "rolledback");
    this.last = mark.seq;
    return aside;
  }

  close(): void {
    this.file.close();
    this.observers.clear();
  }
}

/**
 * Facts of a journal file with seq ≥ `from`; lines that are damaged are left out, and so are kinds of facts that only a newer
 * weir knows. Needs no lock.
 */
export function* readFacts(path: string, from = 1, options: Parameters<typeof readWhole>[2] = {}): Generator<Fact> {
  for (const { seq, fact } of readWhole(path, wholeLine, options)) if (fact !== null && seq >= from) yield fact;
}

function wholeLine(text: string) {
  const line = readFactLine(text);
  return line.whole ? line : null;
}
