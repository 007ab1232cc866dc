/**
 * The shapes of task rows that weir reads: verl-style training rows, weir's own tasks, and the evaluation inputs of
 * QwenLong-L1 (LongBench, DocMath, Frames). Each turns one row into a task without its id.
 */
import type { Json, Task } from "../contracts/task.js";
import { type Cell, jsonRecord, type Row, toJson } from "./exact.js";
import { type CellPlace, cellFault, fileFault, type RowPlace } from "./faults.js";
import { bareAnswers, goldSentences } from "./golds.js";
import { messagesOf, refuseUnreadColumns } from "./messages.js";
import { documentOf, isBrokenText, parsedOrNull, recordOf } from "./prompt-parts.js";
import { promptMessages } from "./synthetic/template.js";

/** A task before it is named; `id` is null where the row has none, `index` is 0 where the row has none. */
export interface UnnamedTask extends Omit<Task, "id"> {
  readonly id: string | null;
  readonly index: number;
}

type Reader = (row: Row, place: RowPlace) => UnnamedTask;

/** The format whose columns a row has; null where none fits. */
export function detectFormat(row: Row): TaskFormat | null {
  const has = (...columns: string[]) => columns.every((column) => row[column] !== undefined);
  if (has("messages", "goldAnswer") || has("messages", "goldAnswers")) return "task";
  if (has("prompt") && (has("reward_model") || has("data_source"))) return "verl";
  if (has("context", "input", "answers")) return "longbench";
  if (has("paragraphs", "question", "ground_truth")) return "docmath";
  if (has("wiki_items", "Prompt", "Answer")) return "frames";
  return null;
}

export const READERS = {
  verl: readVerl,
  task: readTask,
  longbench: readLongBench,
  docmath: readDocMath,
  frames: readFrames,
} satisfies Readonly<Record<string, Reader>>;

/** Kinds of rows. */
export type TaskFormat = keyof typeof READERS;

const cellAt = (place: RowPlace, column: string): CellPlace => ({ ...place, column });

function text(row: Row, column: string, place: RowPlace): string {
  const value = row[column];
  if (typeof value === "string" && value !== "") return value;
  throw cellFault(cellAt(place, column), "text", value);
}

/** A struct, or that struct as JSON text; an absent one is empty. */
function optionalRecord(row: Row, column: string, place: RowPlace, kind: string): Row {
  const value = row[column];
  const record = value === undefined || value === null ? {} : recordOf(value);
  if (record === null) throw cellFault(cellAt(place, column), `${kind}, or nothing`, value);
  return record;
}

function readVerl(row: Row, place: RowPlace): UnnamedTask {
  const { data_source: _source, prompt, reward_model: rewardModel, extra_info: _extra, ability, ...others } = row;
  const source = text(row, "data_source", place);
  refuseUnreadColumns(row, place);
  const messages = messagesOf(prompt, cellAt(place, "prompt"), true);
  const reward = recordOf(rewardModel);
  if (reward === null) throw cellFault(cellAt(place, "reward_model"), "a struct with ground_truth", rewardModel);
  const goldAnswers = goldSentences(reward.ground_truth, cellAt(place, "reward_model.ground_truth"), "sentence");
  const extra = optionalRecord(row, "extra_info", place, "a struct");
  const index = typeof extra.index === "number" ? extra.index : 0;
  return {
    id: null,
    index,
    messages,
    document: documentOf(messages),
    goldAnswers,
    source,
    promptTokens: 0,
    meta: withoutNulls(jsonRecord({ ...others, ...extra, ability: ability ?? null, index })),
  };
}

function readTask(row: Row, place: RowPlace): UnnamedTask {
  refuseUnreadColumns(row, place);
  const messages = messagesOf(row.messages, cellAt(place, "messages"), false);
  const id = row.id ?? null;
  if (id !== null && (typeof id !== "string" || id === "")) {
    throw cellFault(cellAt(place, "id"), "text, or nothing", id);
  }
  const meta = jsonRecord(optionalRecord(row, "meta", place, "an object"));
  const document = row.document;
  const column = row.goldAnswers === undefined || row.goldAnswers === null ? "goldAnswer" : "goldAnswers";
  return {
    id,
    index: typeof meta.index === "number" ? meta.index : 0,
    messages,
    document: typeof document === "string" ? document : documentOf(messages),
    goldAnswers: goldSentences(row[column], cellAt(place, column), "sentence"),
    source: text(row, "source", place),
    promptTokens: 0,
    meta,
  };
}

interface EvaluationRow {
  readonly source: string;
  readonly document: string;
  readonly question: string;
  readonly answers: Cell | undefined;
  readonly column: string;
  readonly meta: Readonly<Record<string, Json>>;
}

function evaluationTask(row: EvaluationRow, place: RowPlace): UnnamedTask {
  const { source, document, question, answers, meta } = row;
  if (isBrokenText(document) || isBrokenText(question))
    throw fileFault(place.file, `row ${place.row} holds a lone surrogate, which is not a character; repair the text`);
  const [answer = "", ...others] = bareAnswers(answers, cellAt(place, row.column));
  return {
    id: null,
    index: place.row,
    messages: promptMessages(document, question, "value"),
    document,
    goldAnswers: goldSentences(answers, cellAt(place, row.column), "bare"),
    source,
    promptTokens: 0,
    meta: withoutNulls({
      ...meta,
      index: place.row,
      question,
      answer,
      ...(others.length === 0 ? {} : { answers: [answer, ...others] }),
    }),
  };
}

/**
 * LongBench: context, input and all accepted answers; the subset stands in `dataset`. Rows with `all_classes` are
 * classifications: without the name of a subset they are not treated as questions.
 */
function readLongBench(row: Row, place: RowPlace): UnnamedTask {
  const { answers, _id: id = null, language = null, all_classes: classes = null } = row;
  const listed = typeof answers === "string" ? parsedOrNull(answers) : answers;
  if (!Array.isArray(listed)) throw cellFault(cellAt(place, "answers"), "a list of accepted answers", answers);
  const unnamed = classes === null || (Array.isArray(classes) && classes.length === 0) ? "longbench" : "classification";
  return evaluationTask(
    {
      source: typeof row.dataset === "string" && row.dataset !== "" ? row.dataset : unnamed,
      document: text(row, "context", place),
      question: text(row, "input", place),
      answers,
      column: "answers",
      meta: { id: toJson(id), language: toJson(language) },
    },
    place,
  );
}

/** DocMath: paragraphs joined by newlines are the document. */
function readDocMath(row: Row, place: RowPlace): UnnamedTask {
  const { paragraphs, domain = null, question_id: id = null } = row;
  if (!Array.isArray(paragraphs) || !paragraphs.every((paragraph) => typeof paragraph === "string")) {
    throw cellFault(cellAt(place, "paragraphs"), "a list of texts", paragraphs);
  }
  return evaluationTask(
    {
      source: "docmath",
      document: paragraphs.join("\n"),
      question: text(row, "question", place),
      answers: row.ground_truth,
      column: "ground_truth",
      meta: { domain: toJson(domain), id: toJson(id) },
    },
    place,
  );
}

/** Frames: title and text of each wiki item, joined by newlines, are the document. */
function readFrames(row: Row, place: RowPlace): UnnamedTask {
  const items = typeof row.wiki_items === "string" ? parsedOrNull(row.wiki_items) : row.wiki_items;
  const pages = Array.isArray(items) ? items.map((item: Cell) => recordOf(item)) : null;
  if (pages === null || !pages.every((page) => typeof page?.title === "string" && typeof page.text === "string")) {
    throw cellFault(cellAt(place, "wiki_items"), "a list of {title, text}", row.wiki_items);
  }
  return evaluationTask(
    {
      source: "frames",
      document: pages.map((page) => `${page?.title}\n${page?.text}`).join("\n"),
      question: text(row, "Prompt", place),
      answers: row.Answer,
      column: "Answer",
      meta: {},
    },
    place,
  );
}

function withoutNulls(record: Readonly<Record<string, Json>>): Record<string, Json> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null && value !== undefined));
}
