/** What the formats of task rows share. */
import type { Json, Task } from "../../contracts/task.js";
import type { Cell, Row } from "../exact.js";
import { type CellPlace, cellFault, fileFault, type RowPlace } from "../faults.js";
import { bareAnswers, goldSentences } from "../golds.js";
import { isBrokenText, recordOf } from "../prompt-parts.js";
import { promptMessages } from "../synthetic/template.js";

/** A task before it is named; `id` is null where the row has none, `index` is 0 where the row has none. */
export interface UnnamedTask extends Omit<Task, "id"> {
  readonly id: string | null;
  readonly index: number;
}

/** A shape of task rows: how it is recognised, and how a row becomes a task. */
export interface TaskFormat {
  /** Its columns in a few words, for the message about a file that fits no format. */
  readonly columns: string;
  /** Formats of a lower rank are tried first. */
  readonly rank: number;
  /** True where a row has its columns. */
  fits(row: Row): boolean;
  read(row: Row, place: RowPlace): UnnamedTask;
}

export const hasColumns = (row: Row, ...columns: readonly string[]): boolean =>
  columns.every((column) => row[column] !== undefined);

export const cellAt = (place: RowPlace, column: string): CellPlace => ({ ...place, column });

export function text(row: Row, column: string, place: RowPlace): string {
  const value = row[column];
  if (typeof value === "string" && value !== "") return value;
  throw cellFault(cellAt(place, column), "text", value);
}

/** A struct, or that struct as JSON text; an absent one is empty. */
export function optionalRecord(row: Row, column: string, place: RowPlace, kind: string): Row {
  const value = row[column];
  const record = value === undefined || value === null ? {} : recordOf(value);
  if (record === null) throw cellFault(cellAt(place, column), `${kind}, or nothing`, value);
  return record;
}

export interface EvaluationRow {
  readonly source: string;
  readonly document: string;
  readonly question: string;
  readonly answers: Cell | undefined;
  readonly column: string;
  readonly meta: Readonly<Record<string, Json>>;
}

export function evaluationTask(row: EvaluationRow, place: RowPlace): UnnamedTask {
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

export function withoutNulls(record: Readonly<Record<string, Json>>): Record<string, Json> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== null && value !== undefined));
}
