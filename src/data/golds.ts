/**
 * Reads the accepted answers of a row. Numbers and dates keep every digit of their file; a row may accept several answers.
 * Invariant: the result is at least one gold *sentence*, without repetition.
 */
import { type Cell, Exact, plainDecimal, type Row } from "./exact.js";
import { type CellPlace, cellFault } from "./faults.js";
import { isBrokenText, parsedOrNull, recordOf } from "./prompt-parts.js";
import { answerSentence } from "./synthetic/template.js";

/** `sentence`: text is a gold sentence already (verl, weir's tasks); `bare`: text is an answer (LongBench, DocMath, Frames). */
export type GoldForm = "sentence" | "bare";

const EXPECTED = "text, a number, or a list of them";

/**
 * The gold sentences of a cell: a text, a number, a date, a list of these (also as JSON text), or {"target": …} of one.
 * Bare answers become "Therefore, the answer is X."; numbers and dates always do, since no sentence can be one.
 * Errors: WEIR_E_DATA naming file, row and column.
 */
export function goldSentences(cell: Cell | undefined, place: CellPlace, form: GoldForm): string[] {
  return answersOf(cell, place).map((answer) =>
    form === "bare" || answer.value ? answerSentence(answer.text, "value") : answer.text,
  );
}

/** The answers themselves, without a sentence around them. */
export function bareAnswers(cell: Cell | undefined, place: CellPlace): string[] {
  return answersOf(cell, place).map(({ text }) => text);
}

interface Answer {
  readonly text: string;
  /** A number or a date, not a text. */
  readonly value: boolean;
}

function answersOf(cell: Cell | undefined, place: CellPlace): Answer[] {
  const list = listOf(cell);
  if (list === null) {
    if (cell === "") throw cellFault(place, EXPECTED, cell);
    return [answer(cell, place)];
  }
  if (list.length === 0) throw cellFault(place, `${EXPECTED} with one answer at least`, cell);
  const answers = list.map((item) => answer(item, place));
  return answers.filter(({ text }, at) => answers.findIndex((other) => other.text === text) === at);
}

/** The items of a list, of a list in JSON text, or of {"target": list}; null where the cell is one answer. */
function listOf(cell: Cell | undefined): readonly Cell[] | null {
  if (Array.isArray(cell)) return cell;
  if (typeof cell === "string") {
    const value = /^\s*[[{]/.test(cell) ? parsedOrNull(cell) : null;
    const readable =
      Array.isArray(value) &&
      value.length > 0 &&
      value.every((item) => typeof item !== "object" || item instanceof Exact);
    return readable || isTarget(value) ? listOf(value) : null;
  }
  if (isTarget(cell)) return listOf(cell.target) ?? [cell.target as Cell];
  return null;
}

/** The form of search-agent data sets: {"target": answer or list of answers}. */
function isTarget(cell: Cell | undefined): cell is Row {
  const record = typeof cell === "string" ? null : recordOf(cell);
  return record !== null && Object.keys(record).every((key) => key === "target") && record.target !== undefined;
}

function answer(cell: Cell | undefined, place: CellPlace): Answer {
  if (typeof cell === "string") {
    if (isBrokenText(cell)) throw cellFault(place, "text that is whole Unicode", cell);
    return { text: cell, value: false };
  }
  const digits = typeof cell === "number" && Number.isFinite(cell) ? plainDecimal(String(cell)) : null;
  if (digits !== null) return { text: digits, value: true };
  if (cell instanceof Exact && cell.kind !== "other") return { text: cell.text, value: true };
  const advice = typeof cell === "boolean" ? " (write true and false as the text that a response shall have)" : "";
  throw cellFault(place, EXPECTED + advice, cell instanceof Exact ? cell.text : cell);
}
