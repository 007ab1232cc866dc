/**
 * The ledger file: one line for each state that a rollout takes. The index in memory (LedgerBook) is always what
 * reading the file gives. Lines of one turn of the event loop are written together; marks flush.
 */
import type { LedgerEntry, LedgerState } from "../contracts/ledger.js";
import { WeirError } from "../errors.js";
import { LEDGER_STATES, LedgerBook } from "./ledger-book.js";
import { LineFile, readLines, readWhole } from "./line-file.js";

export const LEDGER_NAME = "ledger.ndjson";

const STATES: ReadonlySet<unknown> = new Set(LEDGER_STATES);

/** A line as a ledger entry, null where it is none. Checked by hand: a long run has millions of lines. */
export function parseLedgerEntry(text: string): LedgerEntry | null {
  let entry: Readonly<Record<keyof LedgerEntry, unknown>> | null;
  try {
    entry = JSON.parse(text);
  } catch {
    return null;
  }
  const whole =
    typeof entry === "object" &&
    entry?.schema_version === 1 &&
    typeof entry.rolloutId === "string" &&
    entry.rolloutId !== "" &&
    typeof entry.groupId === "string" &&
    typeof entry.taskId === "string" &&
    Number.isInteger(entry.phase) &&
    STATES.has(entry.state) &&
    (entry.reason === undefined || typeof entry.reason === "string") &&
    Number.isInteger(entry.step) &&
    Number.isInteger(entry.policyVersion);
  return whole ? (entry as LedgerEntry) : null;
}

/** A place in the ledger: its first `entries` lines, which are `bytes` long. */
export interface LedgerMark {
  readonly bytes: number;
  readonly entries: number;
}

export interface LedgerOptions {
  readonly say: (notice: string) => void;
  /** Bytes that must be whole; see LineFile. */
  readonly floor?: () => Promise<number>;
}

export class Ledger {
  private constructor(
    private readonly file: LineFile,
    private book: LedgerBook,
    private entries: number,
  ) {}

  /** Opens or makes a ledger. Errors: WEIR_E_RUN_FOLDER where a line before the last is damaged or breaks I2; WEIR_E_DISK. */
  static async open(path: string, options: LedgerOptions): Promise<Ledger> {
    const book = new LedgerBook();
    let entries = 0;
    const file = await LineFile.open(
      path,
      ({ text }) => {
        const entry = parseLedgerEntry(text);
        if (entry === null) return { reason: "it is not a ledger entry", legible: false };
        try {
          book.apply(entry);
        } catch (error) {
          return { reason: `it does not follow from the lines before it; ${(error as Error).message}`, legible: true };
        }
        entries++;
        return null;
      },
      { buffered: true, say: options.say, ...(options.floor ? { floor: options.floor } : {}) },
    );
    return new Ledger(file, book, entries);
  }

  /** Errors: WEIR_E_LEDGER for a state that does not follow from the rollout's present one; nothing is written then. */
  append(entry: Omit<LedgerEntry, "schema_version">): void {
    this.book.apply(entry);
    this.file.append(JSON.stringify({ schema_version: 1, ...entry } satisfies LedgerEntry));
    this.entries++;
  }

  stateOf(rolloutId: string): LedgerState | null {
    return this.book.stateOf(rolloutId);
  }

  counts(): Record<LedgerState, number> {
    return this.book.counts();
  }

  reasons(): Record<string, number> {
    return this.book.reasons();
  }

  /** Rollouts without an end state. */
  open(): string[] {
    return this.book.open();
  }

  *read(): Generator<LedgerEntry> {
    this.file.flush();
    yield* readLedger(this.file.path);
  }

  /** Forces the ledger to the disk and returns where it stands. */
  mark(): LedgerMark {
    this.file.sync();
    return { bytes: this.file.size, entries: this.entries };
  }

  /** Where the ledger stands. */
  place(): LedgerMark {
    this.file.flush();
    return { bytes: this.file.size, entries: this.entries };
  }

  /** The entries that made rollouts trained after a mark, of rollouts that still are. */
  trainedSince({ bytes }: Pick<LedgerMark, "bytes">): LedgerEntry[] {
    this.file.flush();
    const found: LedgerEntry[] = [];
    for (const { text } of readLines(this.file.path, bytes)) {
      const entry = parseLedgerEntry(text);
      if (entry?.state === "trained" && this.book.stateOf(entry.rolloutId) === "trained") found.push(entry);
    }
    return found;
  }

  /** Moves the entries after a mark to `ledger.rolledback-N.ndjson` and forgets them; resolves to its path, null when there were none. */
  async rollBack(mark: LedgerMark): Promise<string | null> {
    if (mark.entries > this.entries || !this.file.isBoundary(mark.bytes)) {
      throw new WeirError(
        "WEIR_E_RUN_FOLDER",
        `${this.file.path}: the checkpoint knows ${mark.entries} entries in ${mark.bytes} bytes, the ledger has ${this.entries} in ${this.file.size}; another program changed it`,
        { mark, entries: this.entries, bytes: this.file.size },
      );
    }
    if (mark.bytes === this.file.size) return null;
    const aside = await this.file.cut(mark.bytes, "rolledback");
    this.book = new LedgerBook();
    this.entries = 0;
    for (const { text } of readLines(this.file.path)) {
      const entry = parseLedgerEntry(text);
      if (entry !== null) applyStored(this.book, entry, this.file.path, this.entries);
      this.entries++;
    }
    return aside;
  }

  close(): void {
    this.file.close();
  }
}

function applyStored(book: LedgerBook, entry: LedgerEntry, path: string, index: number): void {
  try {
    book.apply(entry);
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_RUN_FOLDER",
      `${path}: line ${index + 1} does not follow from the lines before it; ${(cause as Error).message}`,
      { path, line: index + 1 },
      { cause },
    );
  }
}

/** Entries of a ledger file; lines that are damaged are left out. Needs no lock. */
export function readLedger(path: string, options: Parameters<typeof readWhole>[2] = {}): Generator<LedgerEntry> {
  return readWhole(path, parseLedgerEntry, options);
}
