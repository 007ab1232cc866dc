/**
 * The shapes of task rows that weir reads: verl-style training rows, weir's own tasks, and the evaluation inputs of
 * QwenLong-L1 (LongBench, DocMath, Frames). Each turns one row into a task without its id.
 */
import type { Json, Task } from "../contracts/task.js";
import { cellFault } from "./faults.js";
import { documentOf, messagesOf, recordOf } from "./prompt-parts.js";
import type { DataRecord } from "./records.js";
import { answerSentence, promptMessages } from "./synthetic/template.js";

export const TASK_FORMATS = ["verl", "task", "longbench", "docmath", "frames"] as const;
export type TaskFormat = (typeof TASK_FORMATS)[number];

/** A task before it is named; `id` is null where the row brings none, `index` is 0 where the row has none. */
export interface UnnamedTask extends Omit<Task, "id"> {
  readonly id: string | null;
  readonly index: number;
}

/** Where a row stands, for messages. */
export interface RowPlace {
  readonly file: string;
  /** From 0. */
  readonly row: number;
}

type Reader = (record: DataRecord, place: RowPlace) => UnnamedTask;

/** The format whose columns a row has; null where none fits. */
export function detectFormat(record: DataRecord): TaskFormat | null {
  const has = (...columns: string[]) => columns.every((column) => record[column] !== undefined);
  if (has("messages", "goldAnswer") || has("messages", "goldAnswers")) return "task";
  if (has("prompt") && (has("reward_model") || has("data_source"))) return "verl";
  if (has("context", "input", "answers")) return "longbench";
  if (has("paragraphs", "question", "ground_truth")) return "docmath";
  if (has("wiki_items", "Prompt", "Answer")) return "frames";
  return null;
}

export const READERS: Readonly<Record<TaskFormat, Reader>> = {
  verl: readVerl,
  task: readTask,
  longbench: readLongBench,
  docmath: readDocMath,
  frames: readFrames,
};

/** Text of a cell; numbers count as text where the data has bare answers. */
function text(record: DataRecord, column: string, place: RowPlace, numbers = false): string {
  const value = record[column];
  if (typeof value === "string" && value !== "") return value;
  if (numbers && typeof value === "number") return String(value);
  throw cellFault(place.file, place.row, column, numbers ? "text or a number" : "text", value);
}

function readVerl(record: DataRecord, place: RowPlace): UnnamedTask {
  const { data_source: _source, prompt, reward_model: rewardModel, extra_info: extraInfo, ability, ...others } = record;
  const source = text(record, "data_source", place);
  const messages = messagesOf(prompt);
  if (messages === null) {
    throw cellFault(place.file, place.row, "prompt", "text, or a list of messages with role and content", prompt);
  }
  const reward = recordOf(rewardModel);
  if (reward === null) {
    throw cellFault(place.file, place.row, "reward_model", "a struct with ground_truth", rewardModel);
  }
  const gold = reward.ground_truth;
  if (typeof gold !== "string" && typeof gold !== "number") {
    throw cellFault(place.file, place.row, "reward_model.ground_truth", "text", gold);
  }
  const extra = extraInfo === undefined || extraInfo === null ? {} : recordOf(extraInfo);
  if (extra === null) throw cellFault(place.file, place.row, "extra_info", "a struct, or nothing", extraInfo);
  const index = typeof extra.index === "number" ? extra.index : 0;
  return {
    id: null,
    index,
    messages,
    document: documentOf(messages),
    goldAnswers: [String(gold)],
    source,
    promptTokens: 0,
    meta: withoutNulls({ ...others, ...extra, ability: ability ?? null, index }),
  };
}

function readTask(record: DataRecord, place: RowPlace): UnnamedTask {
  const messages = messagesOf(record.messages);
  if (messages === null) {
    throw cellFault(place.file, place.row, "messages", "a list of messages with role and content", record.messages);
  }
  const id = record.id ?? null;
  if (id !== null && (typeof id !== "string" || id === "")) {
    throw cellFault(place.file, place.row, "id", "text, or nothing", id);
  }
  const meta = record.meta === undefined || record.meta === null ? {} : recordOf(record.meta);
  if (meta === null) throw cellFault(place.file, place.row, "meta", "an object, or nothing", record.meta);
  const document = record.document;
  return {
    id,
    index: typeof meta.index === "number" ? meta.index : 0,
    messages,
    document: typeof document === "string" ? document : documentOf(messages),
    goldAnswers: Array.isArray(record.goldAnswers)
      ? (record.goldAnswers as string[])
      : [text(record, "goldAnswer", place, true)],
    source: text(record, "source", place),
    promptTokens: 0,
    meta,
  };
}

function evaluationTask(
  source: string,
  document: string,
  question: string,
  answer: string,
  place: RowPlace,
  meta: Readonly<Record<string, Json>>,
): UnnamedTask {
  return {
    id: null,
    index: place.row,
    messages: promptMessages(document, question, "value"),
    document,
    goldAnswers: [answerSentence(answer, "value")],
    source,
    promptTokens: 0,
    meta: withoutNulls({ ...meta, index: place.row, question, answer }),
  };
}

/** LongBench: context, input and the first of answers; the subset stands in `dataset`. */
function readLongBench(record: DataRecord, place: RowPlace): UnnamedTask {
  const answers = record.answers;
  const answer: Json | undefined = Array.isArray(answers) ? answers[0] : undefined;
  if (typeof answer !== "string")
    throw cellFault(place.file, place.row, "answers", "a list that begins with text", answers);
  const source = typeof record.dataset === "string" ? record.dataset : "longbench";
  const { _id: id = null, language = null } = record;
  return evaluationTask(source, text(record, "context", place), text(record, "input", place), answer, place, {
    id,
    language,
  });
}

/** DocMath: paragraphs joined by newlines are the document. */
function readDocMath(record: DataRecord, place: RowPlace): UnnamedTask {
  const { paragraphs, domain = null, question_id: id = null } = record;
  if (!Array.isArray(paragraphs) || !paragraphs.every((paragraph) => typeof paragraph === "string")) {
    throw cellFault(place.file, place.row, "paragraphs", "a list of texts", paragraphs);
  }
  const answer = text(record, "ground_truth", place, true);
  return evaluationTask("docmath", paragraphs.join("\n"), text(record, "question", place), answer, place, {
    domain,
    id,
  });
}

/** Frames: title and text of each wiki item, joined by newlines, are the document. */
function readFrames(record: DataRecord, place: RowPlace): UnnamedTask {
  const items = typeof record.wiki_items === "string" ? parsed(record.wiki_items) : record.wiki_items;
  const pages = Array.isArray(items) ? (items as readonly Json[]).map((item) => recordOf(item)) : null;
  if (pages === null || !pages.every((page) => typeof page?.title === "string" && typeof page.text === "string")) {
    throw cellFault(place.file, place.row, "wiki_items", "a list of {title, text}", record.wiki_items);
  }
  const document = pages.map((page) => `${page?.title}\n${page?.text}`).join("\n");
  return evaluationTask(
    "frames",
    document,
    text(record, "Prompt", place),
    text(record, "Answer", place, true),
    place,
    {},
  );
}

function parsed(value: string): Json | undefined {
  try {
    return JSON.parse(value) as Json;
  } catch {
    return undefined;
  }
}

function withoutNulls(record: Readonly<Record<string, Json>>): Record<string, Json> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null && value !== undefined));
}
