/**
 * The one place that writes to standard output and standard error.
 * Results go to stdout (text or JSON), progress and errors to stderr, so that a pipe carries data only.
 * On a terminal progress is one line rewritten in place; elsewhere plain lines at a limited rate.
 * Invariant: control characters of foreign text are escaped here (src/printable.ts), also in a pipe, which may end in a
 * terminal. Only `printExact` writes text as it is, and not to a terminal.
 */
import { type ErrorCode, WeirError } from "../errors.js";
import { printable, printableLine } from "../printable.js";
import { asDiskError } from "../system/disk-error.js";

/** Output streams; tests give their own. */
export interface OutputStreams {
  readonly out: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly err: { write(text: string): unknown; readonly isTTY?: boolean; readonly columns?: number };
  /** Milliseconds, monotonic or wall. */
  readonly now: () => number;
}

const processStreams: OutputStreams = {
  out: process.stdout,
  err: process.stderr,
  now: () => Date.now(),
};

/** Shortest interval of plain progress lines in a pipe, so that a log of an hour stays readable. */
const PIPE_INTERVAL_MS = 5_000;
/** Shortest interval of rewrites on a terminal: faster cannot be read. */
const TERMINAL_INTERVAL_MS = 100;
const FALLBACK_COLUMNS = 80;

export type ExitCode = 0 | 1 | 2 | 3 | 4 | 5;

/** Exit codes: 2 wrong input (usage, configuration, missing files), 3 something stored is damaged, 4 the engine or a server failed, 5 a run trained nothing, 1 the rest. */
const EXIT_CODES: Partial<Record<ErrorCode, ExitCode>> = {
  WEIR_E_USAGE: 2,
  WEIR_E_CONFIG: 2,
  WEIR_E_FILE_MISSING: 2,
  WEIR_E_ACTOR_UNKNOWN: 2,
  WEIR_E_ACTOR_DUPLICATE: 2,
  WEIR_E_ACTOR_MISSING: 2,
  WEIR_E_ACTOR_LATE: 2,
  WEIR_E_MONITOR_ADDRESS: 2,
  WEIR_E_MONITOR_UNSAFE: 2,
  WEIR_E_PARTS_FILE: 2,
  WEIR_E_PREFLIGHT: 2,
  WEIR_E_DATA: 3,
  WEIR_E_GGUF: 3,
  WEIR_E_MODEL_FILES: 3,
  WEIR_E_MODEL_UNSUPPORTED: 3,
  WEIR_E_TOKENIZER: 3,
  WEIR_E_CHAT_TEMPLATE: 3,
  WEIR_E_CHECKPOINT_DAMAGED: 3,
  WEIR_E_RUN_FOLDER: 3,
  WEIR_E_ENGINE_ABORTED: 4,
  WEIR_E_ENGINE_CRASHED: 4,
  WEIR_E_ENGINE_REQUEST: 4,
  WEIR_E_ENGINE_TIMEOUT: 4,
  WEIR_E_NATIVE_ENGINE: 4,
  WEIR_E_UNREACHABLE: 4,
  WEIR_E_REMOTE: 4,
  WEIR_E_REMOTE_STATE: 4,
  WEIR_E_NOTHING_TRAINED: 5,
};

/** The exit code that belongs to an error (commander's own errors included). */
export function exitCodeOf(error: unknown): ExitCode {
  if (WeirError.isInstance(error)) return EXIT_CODES[error.code] ?? 1;
  if (isCommanderError(error)) return error.exitCode === 0 ? 0 : 2;
  return 1;
}

/** Commander has already written its message when it throws one of these. */
function isCommanderError(error: unknown): error is { readonly code: string; readonly exitCode: number } {
  const code = (error as { code?: unknown } | null)?.code;
  return (
    typeof code === "string" &&
    code.startsWith("commander.") &&
    typeof (error as { exitCode?: unknown }).exitCode === "number"
  );
}

/** A progress line; `done` leaves the terminal on a fresh line. */
export interface Progress {
  update(text: string): void;
  /** Removes the line (terminal) and, when given, prints a last plain line to stderr. */
  done(text?: string): void;
}

/** Columns padded to equal width; numbers are aligned right. The first row is the head. */
export function formatTable(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => printableLine(String(cell))));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const numeric = head.map(
    (_, column) => rows.length > 0 && rows.every((row) => /^-?[\d.,]+\s*%?$|^[–-]?$/.test(String(row[column] ?? ""))),
  );
  const line = (row: readonly string[]) =>
    widths
      .map((width, column) => {
        const cell = row[column] ?? "";
        return numeric[column] ? cell.padStart(width) : cell.padEnd(width);
      })
      .join("  ")
      .trimEnd();
  const [first = [], ...body] = cells;
  return [line(first), widths.map((width) => "─".repeat(width)).join("  "), ...body.map(line)].join("\n");
}

/** Writers bound to a pair of streams. */
export function createOutput(streams: OutputStreams = processStreams) {
  let live: { readonly clear: () => void; readonly draw: () => void } | null = null;

  const aside = (write: () => void) => {
    live?.clear();
    write();
    live?.draw();
  };

  /** A line of result on stdout. */
  const print = (text = ""): void => aside(() => streams.out.write(`${printable(text)}\n`));
  /** A text that is itself the result, such as a model's answer: exact in a pipe or a file, escaped on a terminal. */
  const printExact = (text: string): void =>
    streams.out.isTTY ? print(text) : aside(() => streams.out.write(`${text}\n`));
  /** One JSON document on stdout, indented on a terminal, one line in a pipe. */
  const printJson = (value: unknown): void => print(JSON.stringify(value, null, streams.out.isTTY ? 2 : undefined));
  /** A message on stderr, apart from results. */
  const note = (text: string): void => aside(() => streams.err.write(`${printable(text)}\n`));
  const table = (head: readonly string[], rows: readonly (readonly (string | number)[])[]): void =>
    print(formatTable(head, rows));

  /** Starts the progress line; only one is live at a time, a new one replaces the old. */
  const progress = (): Progress => {
    const terminal = streams.err.isTTY === true;
    let last = Number.NEGATIVE_INFINITY;
    let shown = "";
    let latest: string | null = null;
    const clear = () => {
      if (terminal && shown !== "") streams.err.write("\r\u001b[K");
    };
    const draw = () => {
      if (terminal && shown !== "") streams.err.write(shown);
    };
    live?.clear();
    live = { clear, draw };
    const self = live;
    return {
      update(given) {
        const text = printableLine(given);
        latest = text;
        const now = streams.now();
        if (now - last < (terminal ? TERMINAL_INTERVAL_MS : PIPE_INTERVAL_MS)) return;
        last = now;
        latest = null;
        if (!terminal) {
          streams.err.write(`${text}\n`);
          return;
        }
        clear();
        shown = text.slice(0, Math.max(1, (streams.err.columns ?? FALLBACK_COLUMNS) - 1));
        draw();
      },
      done(text) {
        clear();
        shown = "";
        if (live === self) live = null;
        const final = text ?? (terminal ? null : latest);
        latest = null;
        if (final !== null) streams.err.write(`${printable(final)}\n`);
      },
    };
  };

  /** Reports an error on stderr and returns the exit code; prints the stack of unexpected errors only. */
  const fail = (thrown: unknown): ExitCode => {
    const error = asDiskError(thrown);
    const code = exitCodeOf(error);
    if (isCommanderError(error)) return code;
    if (WeirError.isInstance(error)) note(`weir: ${error.message}`);
    else note(`weir: unexpected error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return code;
  };

  return { print, printExact, printJson, note, table, progress, fail };
}

export type Output = ReturnType<typeof createOutput>;

const standard = createOutput();
export const { print, printExact, printJson, note, table, progress, fail } = standard;

/**
 * A reader that closes the output (`weir … | head`) ends the program quietly; where only progress cannot be shown any more
 * (`2>&1 | head`, a full disk), the work continues without it. Output that cannot be written is an error with exit code 1.
 */
export function tolerateClosedPipe(): void {
  process.stderr.on("error", () => undefined);
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(0);
    fail(asDiskError(error, "standard output"));
    process.exit(1);
  });
}
