/**
 * OpenAI's MRCR: a long conversation, of which one message is to be repeated after a random string. The score is 0 unless the answer begins
 * with that string; else the similarity of the rest to the message, as Python's difflib has it.
 */
import type { Benchmark } from "../contracts/benchmark.js";
import { messagesOf } from "../data/messages.js";
import { answerOf, scoredAs } from "./answers.js";
import { textCell } from "./cells.js";
import { idOf } from "./items.js";
import { sequenceRatio } from "./sequence-matcher.js";

const NAME = "mrcr";

/** Rows of prompt (messages, also as JSON text), answer and random_string_to_prepend; tables tell `n_needles` apart. */
export function createMrcr(): Benchmark {
  return {
    kind: NAME,
    specificationVersion: 1,
    item(row, index) {
      const at = { benchmark: NAME, row, index };
      const prefix = textCell(at, "random_string_to_prepend");
      const { n_needles: needles } = row;
      return {
        id: idOf(row.id, index),
        source: typeof needles === "number" ? `${needles} needles` : NAME,
        messages: messagesOf(row.prompt, { file: NAME, row: index, column: "prompt" }, false),
        golds: [textCell(at, "answer")],
        meta: { prefix },
      };
    },
    async score({ golds, meta }, response, { requireThink }) {
      const prefix = String(meta.prefix);
      const answer = answerOf(response, requireThink);
      if (answer === null || !answer.startsWith(prefix)) return scoredAs("ratio", 0, null);
      const gold = golds[0] as string;
      const prediction = answer.slice(prefix.length);
      const wanted = gold.startsWith(prefix) ? gold.slice(prefix.length) : gold;
      return scoredAs("ratio", sequenceRatio(prediction, wanted), prediction);
    },
  };
}
