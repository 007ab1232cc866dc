/** From a file to tasks with stable, unique ids. */
import type { Json, Task } from "../contracts/task.js";
import { contentHash } from "./canonical.js";
import { fileFault } from "./faults.js";
import { detectFormat, READERS, type TaskFormat, type UnnamedTask } from "./formats.js";
import { type DataRecord, streamRecords } from "./records.js";

/** `auto` looks at the columns; `jsonl` is any text file of verl rows or weir tasks. */
export type FormatName = "auto" | "verl" | "jsonl" | "longbench" | "docmath" | "frames";

export interface ReadTasksOptions {
  readonly format?: FormatName;
}

const HASH_DIGITS = 8;
const KNOWN =
  "verl (data_source, prompt, reward_model), weir tasks (messages, goldAnswer, source), LongBench (context, input, answers), DocMath (paragraphs, question, ground_truth), Frames (wiki_items, Prompt, Answer)";

/**
 * Reads the tasks of a file in its order. Prompts are not measured yet: `promptTokens` is 0.
 * Errors: WEIR_E_FILE_MISSING; WEIR_E_DATA naming file, row (from 0) and column.
 */
export async function readTasks(path: string, options: ReadTasksOptions = {}): Promise<Task[]> {
  const tasks: Task[] = [];
  const taken = new Map<string, number>();
  let format: TaskFormat | null = null;
  let row = 0;
  for await (const record of streamRecords(path)) {
    format ??= formatOf(path, record, options.format ?? "auto");
    tasks.push(named(READERS[format](record, { file: path, row }), taken));
    row++;
  }
  if (tasks.length === 0) throw fileFault(path, "expected at least one row, it holds none");
  return tasks;
}

function formatOf(path: string, first: DataRecord, wanted: FormatName): TaskFormat {
  if (wanted !== "auto" && wanted !== "jsonl") return wanted;
  const found = detectFormat(first);
  const fits = found !== null && (wanted === "auto" || found === "task" || found === "verl");
  if (!fits) {
    throw fileFault(
      path,
      `its columns (${Object.keys(first).join(", ") || "none"}) fit no known format; expected one of ${KNOWN}`,
    );
  }
  return found;
}

/**
 * `<source>:<index>:<hash>` with a hash of what is asked and expected: stable over files, orders and extra columns.
 * Rows that are equal in all three are told apart by `#2`, `#3` …
 */
function named({ id, index, ...task }: UnnamedTask, taken: Map<string, number>): Task {
  const hash = () =>
    contentHash([task.messages.map(({ role, content }) => [role, content]), golds(task)]).slice(0, HASH_DIGITS);
  const name = id ?? `${task.source}:${index}:${hash()}`;
  const before = taken.get(name) ?? 0;
  taken.set(name, before + 1);
  return { id: before === 0 ? name : `${name}#${before + 1}`, ...task };
}

/** One gold answer hashes as text, several as a list, so that ids do not depend on how a file spells a single answer. */
function golds({ goldAnswers }: Pick<Task, "goldAnswers">): Json {
  return goldAnswers.length === 1 ? (goldAnswers[0] as string) : goldAnswers;
}
