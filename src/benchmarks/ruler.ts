/**
 * RULER: synthetic retrieval, tracking, counting and question answering. The score is the share of the expected texts that the response
 * contains, letter case aside; for question answering it is 1 where it contains one of them.
 */
import type { Benchmark, BenchmarkRow } from "../contracts/benchmark.js";
import { strip } from "../rewards/text.js";
import { answerOf } from "./answers.js";
import { textCell, textsCell } from "./cells.js";
import { idOf } from "./items.js";

const NAME = "ruler";
/** Part of RULER's prompt for question answering: its files do not name their task. */
const QA_PROMPT = "Answer the question based on the given documents.";

/** Rows of input and outputs, with `answer_prefix` at the end of the prompt where there is one; `task` names the task where there is one. */
export function createRuler(): Benchmark {
  return {
    kind: NAME,
    specificationVersion: 1,
    item(row, index) {
      const at = { benchmark: NAME, row, index };
      const input = textCell(at, "input");
      const { length = null, answer_prefix: prefix } = row;
      return {
        id: idOf(row.index, index),
        source: taskOf(row, input),
        messages: [{ role: "user", content: typeof prefix === "string" ? input + prefix : input }],
        golds: textsCell(at, "outputs"),
        meta: { length },
      };
    },
    async score({ golds, source }, response, { requireThink }) {
      const answer = answerOf(response, requireThink);
      const text = answer === null ? null : printable(answer);
      const lower = text?.toLowerCase() ?? "";
      const found = golds.filter((gold) => lower.includes(gold.toLowerCase())).length;
      const [all, part] = [found / golds.length, found > 0 ? 1 : 0];
      const value = isQuestion(source) ? part : all;
      return { kind: "scored", value, scores: { string_match_all: all, string_match_part: part }, prediction: text };
    },
  };
}

function taskOf({ task }: BenchmarkRow, input: string): string {
  if (typeof task === "string" && task !== "") return task;
  return input.includes(QA_PROMPT) ? "qa" : NAME;
}

const isQuestion = (task: string): boolean => task === "qa" || task.startsWith("qa_");

/** Control characters become line breaks, as in RULER. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what it is about
  return strip(strip(text).replace(/[\u0000-\u001f]/g, "\n"));
}
