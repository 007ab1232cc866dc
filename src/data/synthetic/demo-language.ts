/**
 * The small language of the demo: which relations its documents use, its tokenizer and its chat template.
 * The chat template opens `<think>` for the policy, as reasoning models of the R1 family do.
 */

import { buildTokenizer, type LearnedPieces, learnNamePieces } from "./byte-pair-vocabulary.js";
import { demonstrationText } from "./demonstration.js";
import { loadFactBook } from "./fact-book.js";
import { bookNames, type NamePieces, namePieces } from "./invented-names.js";
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

/** Learned pieces: enough that a name is two to three tokens. */
const NAME_PIECES = 640;
/** A blank and three letters, or four letters: only names of three letters are a single token. */
const LONGEST_PIECE = 4;

/** The pieces of all plain names of both parts: letters only, nothing of the facts. */
function demoPieces(): LearnedPieces {
  const names = (["train", "heldout"] as const).flatMap((split) => bookNames(loadFactBook(split, true)));
  return learnNamePieces({ names: names.sort(), pieces: NAME_PIECES, longestPiece: LONGEST_PIECE });
}

/** What the demo's invented names are put together from. */
export function demoNamePieces(): NamePieces {
  return namePieces(demoPieces().segmented);
}

/** tokenizer.json of the demo's policy: whole words for fixed text, pieces for names, bytes for all else. */
export function demoTokenizer(): Record<string, unknown> {
  return buildTokenizer({ texts: [fixedText()], merges: demoPieces().merges });
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
