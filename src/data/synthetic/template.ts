/**
 * The prompt of long-document question answering: one user message with an instruction line, the document between
 * `<text>` tags, the question, and a format line; and the gold sentence that the reward parsers expect.
 */
import type { ChatMessage } from "../../contracts/task.js";

const INSTRUCTION = "Read the text and answer the question.";
const FORMAT_START = "Format your response as follows:";

/** How an answer is to be phrased: a free value, or a letter. */
export type AnswerForm = "value" | "letter";

/** The single user message of a task. */
export function promptMessages(document: string, question: string, form: AnswerForm): ChatMessage[] {
  const wanted =
    form === "letter" ? "The correct answer is (A/B/C/D)" : "Therefore, the answer is (insert answer here)";
  const content = `${INSTRUCTION}\n\n<text>\n${document}\n</text>\n\n${question}\n\n${FORMAT_START} "${wanted}".`;
  return [{ role: "user", content }];
}

/** The sentence that ends a right response; also the gold sentence of the data row. */
export function answerSentence(answer: string, form: AnswerForm): string {
  return form === "letter" ? `The correct answer is (${answer}).` : `Therefore, the answer is ${answer}.`;
}
