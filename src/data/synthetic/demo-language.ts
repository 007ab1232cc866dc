/**
 * The small language of the demo: which relations its documents use, its tokenizer and its chat template.
 * The chat template opens `<think>` for the policy, as reasoning models of the R1 family do.
 */

import { buildTokenizer } from "./byte-pair-vocabulary.js";
import { demonstrationText } from "./demonstration.js";
import { Draws } from "./draws.js";
import { loadFactBook } from "./fact-book.js";
import { bookNames, inventName, spellingOf } from "./invented-names.js";
import { factSentence, RELATIONS, type RelationName } from "./relations.js";
import { answerSentence, promptMessages } from "./template.js";

/** Two relations that lead on to another country, two that end a chain: enough for chains of any length. */
export const DEMO_RELATIONS: readonly RelationName[] = ["capital", "language", "largestNeighbour", "smallestNeighbour"];

export const DEMO_CHAT_TEMPLATE = [
  "{% for message in messages %}",
  "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}",
  "{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
].join("");

/** Learned pieces: a name is then two to three tokens. */
const NAME_PIECES = 512;
/** A blank and two letters, or three letters. */
const LONGEST_PIECE = 3;
/** Invented names that the pieces are learned from, beside the real train names. */
const NAMES_SEEN = 3000;

/** tokenizer.json of the demo's policy. Held-out names take no part in it. */
export function demoTokenizer(): Record<string, unknown> {
  const book = loadFactBook("train", true);
  const real = bookNames(book);
  const pieces = spellingOf(book);
  const draws = new Draws(0, "tokenizer-names");
  const taken = new Set(real);
  for (let count = 0; count < NAMES_SEEN; count++) taken.add(inventName(pieces, draws, taken));
  return buildTokenizer({ texts: [fixedText()], names: [...taken], pieces: NAME_PIECES, longestPiece: LONGEST_PIECE });
}

/** Every fixed word of the demo's prompts and responses, once. */
function fixedText(): string {
  const facts = Object.values(RELATIONS).map(({ name }) => factSentence({ relation: name, subject: "", value: "" }));
  const prompts = (["value", "letter"] as const).map((form) => {
    const content = promptMessages(facts.join(" "), "What is the total of the?", form)[0]?.content ?? "";
    return `user\n${content}\nassistant\n${demonstrationText(facts, answerSentence("", form), "quoting")}\n`;
  });
  return `${prompts.join("")}system ${facts.join("\n")}`;
}
