/**
 * The small language of the demo: which relations its documents use, its tokenizer and its chat template.
 * The chat template opens `<think>` for the policy, as reasoning models of the R1 family do.
 */

import { bookNames } from "./book-names.js";
import { demonstrationText } from "./demonstration.js";
import { loadFactBook } from "./fact-book.js";
import { factSentence, RELATIONS, type RelationName } from "./relations.js";
import { answerSentence, promptMessages } from "./template.js";
import { buildTokenizer } from "./word-vocabulary.js";

/** Two relations that lead to another country and two that end a chain: enough for chains of any length. */
export const DEMO_RELATIONS: readonly RelationName[] = ["capital", "language", "largestNeighbour", "smallestNeighbour"];

export const DEMO_CHAT_TEMPLATE = [
  "{% for message in messages %}",
  "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}",
  "{% endfor %}",
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}",
].join("");

/** Every plain name of both parts of the facts: the words that a word-level policy must have tokens for. */
export function demoNames(): string[] {
  const names = (["train", "heldout"] as const).flatMap((split) => bookNames(loadFactBook(split, true)));
  return [...new Set(names)].sort();
}

/** tokenizer.json of the demo's policy: one token per fixed word and per name, bytes for all else. */
export function demoTokenizer(): Record<string, unknown> {
  return buildTokenizer({ texts: [fixedText(), ...demoNames().map((name) => ` ${name}`)] });
}

/** Every fixed word of the demo's prompts and responses, once. */
function fixedText(): string {
  const facts = Object.values(RELATIONS).map(({ name }) => factSentence({ relation: name, subject: "", value: "" }));
  const prompts = (["value", "letter"] as const).map((form) => {
    const content = promptMessages(`Facts: ${facts.join(" ")}`, "What is the total of the?", form)[0]?.content ?? "";
    return `user\n${content}\nassistant\n${demonstrationText(facts, answerSentence("", form), "quoting")}\n`;
  });
  return `${prompts.join("")}Text\nsystem ${facts.join("\n")}`;
}
