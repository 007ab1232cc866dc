/** From a file to tasks with stable, unique ids. */
import type { ChatMessage, Json, Task } from "../contracts/task.js";
import { contentHash } from "./canonical.js";
import type { Row } from "./exact.js";
import { fileFault } from "./faults.js";
import { formatFor, KNOWN_COLUMNS, type TaskFormat, type UnnamedTask } from "./formats/index.js";
import { streamRows } from "./records.js";

export interface ReadTasksOptions {
  /** One of FORMAT_CHOICES; `auto` when left out. */
  readonly format?: string;
}

const HASH_DIGITS = 8;

/**
 * The tasks of a file, one after the other: task i is row i. Prompts are not measured yet: `promptTokens` is 0.
 * Errors: WEIR_E_FILE_MISSING; WEIR_E_DATA naming file, row (from 0) and column.
 */
export async function* streamTasks(path: string, options: ReadTasksOptions = {}): AsyncGenerator<Task> {
  const taken = new Map<string, number>();
  let format: TaskFormat | null = null;
  let row = 0;
  for await (const record of streamRows(path)) {
    format ??= formatOf(path, record, options.format ?? "auto");
    yield taskOf(record, format, path, row, taken);
    row++;
  }
  if (row === 0) throw fileFault(path, "expected at least one row, it holds none");
}

/** All tasks of a file. Errors as `streamTasks`. */
export async function readTasks(path: string, options: ReadTasksOptions = {}): Promise<Task[]> {
  const tasks: Task[] = [];
  for await (const task of streamTasks(path, options)) tasks.push(task);
  return tasks;
}

function taskOf(record: Row, format: TaskFormat, file: string, row: number, taken: Map<string, number>): Task {
  try {
    return named(format.read(record, { file, row }), taken);
  } catch (cause) {
    if (cause instanceof RangeError) throw fileFault(file, `row ${row} is nested too deeply to be read`, cause);
    throw cause;
  }
}

function formatOf(path: string, first: Row, wanted: string): TaskFormat {
  const found = formatFor(first, wanted);
  if (found === null) {
    const demonstrations = first.response !== undefined && (first.prompt ?? first.messages) !== undefined;
    const advice = demonstrations ? ". It looks like demonstrations, which warmup.data reads" : "";
    throw fileFault(
      path,
      `its columns (${Object.keys(first).join(", ") || "none"}) fit no known format; expected one of ${KNOWN_COLUMNS}${advice}`,
    );
  }
  return found;
}

/**
 * `<source>:<index>:<hash>` with a hash of what is asked and expected: stable over files, orders and extra columns.
 * Rows that are equal in all three are distinguished by `#2`, `#3` …
 */
function named({ id, index, ...task }: UnnamedTask, taken: Map<string, number>): Task {
  const hash = () => contentHash([task.messages.map(messageKey), golds(task)]).slice(0, HASH_DIGITS);
  const name = id ?? `${task.source}:${index}:${hash()}`;
  const before = taken.get(name) ?? 0;
  taken.set(name, before + 1);
  return { id: before === 0 ? name : `${name}#${before + 1}`, ...task };
}

/** What a message adds to the hash: role and content, and further fields where it has any. */
function messageKey({ role, content, ...others }: ChatMessage): Json {
  return Object.keys(others).length === 0 ? [role, content] : [role, content, others];
}

/** One gold answer hashes as text, several as a list, so that ids do not depend on how a file spells a single answer. */
function golds({ goldAnswers }: Pick<Task, "goldAnswers">): Json {
  return goldAnswers.length === 1 ? (goldAnswers[0] as string) : goldAnswers;
}
