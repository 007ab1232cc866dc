/** LongBench v2: multiple choice over long contexts, scored by the letter of "The correct answer is (X)" as its own scorer does. */
import type { Benchmark } from "../contracts/benchmark.js";
import { promptMessages } from "../data/synthetic/template.js";
import { parseChoice } from "../rewards/multiple-choice.js";
import { answerOf, scoredAs } from "./answers.js";
import { rowFault, textCell } from "./cells.js";
import { idOf } from "./items.js";

const NAME = "longbench_v2";
const LETTERS = ["A", "B", "C", "D"] as const;

/** Rows of question, choice_A to choice_D, answer (a letter) and context; tables tell `domain` apart. */
export function createLongBenchV2(): Benchmark {
  return {
    kind: NAME,
    specificationVersion: 1,
    item(row, index) {
      const at = { benchmark: NAME, row, index };
      const question = textCell(at, "question");
      const choices = LETTERS.map((letter) => `(${letter}) ${textCell(at, `choice_${letter}`)}`);
      const answer = textCell(at, "answer");
      if (!(LETTERS as readonly string[]).includes(answer))
        throw rowFault(NAME, index, "answer", `one of ${LETTERS.join(", ")}`, answer);
      const { domain, difficulty = null, length = null } = row;
      return {
        id: idOf(row._id, index),
        source: typeof domain === "string" && domain !== "" ? domain : NAME,
        messages: promptMessages(textCell(at, "context"), [question, ...choices].join("\n"), "letter"),
        golds: [answer],
        meta: { question, difficulty, length },
      };
    },
    async score({ golds }, response, { requireThink }) {
      const part = answerOf(response, requireThink);
      const letter = part === null ? null : parseChoice(part);
      return scoredAs("accuracy", Number(letter === golds[0]), letter);
    },
  };
}
