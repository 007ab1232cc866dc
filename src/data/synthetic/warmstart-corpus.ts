/**
 * The rows that the demo's base model is trained on: a document about a fictional world, then several questions with
 * worked answers. With many questions per document, reading from the document is learnt early in training.
 * The base learns to read and to work out answers, but not the thinking tags: the response format is what SFT teaches.
 * Row i depends on (seed, i) and the options alone. Weights: 0 on prompts, 1 on answers, `documentWeight` on the
 * document. The first question is asked in the full prompt template, the others in a short form after it.
 */

import { DEMO_RELATIONS, demoNames } from "./demo-language.js";
import type { DemonstrationStyle } from "./demonstration.js";
import { Draws } from "./draws.js";
import { type ChainQuestion, drawChain, followChain } from "./multi-hop.js";
import { type Fact, factSentence, type RelationName } from "./relations.js";
import { answerSentence, promptMessages } from "./template.js";
import { fictionalWorld, worldFacts } from "./world.js";

export interface CorpusOptions {
  readonly seed: number;
  /** Facts per document, both ends included. */
  readonly facts: readonly [number, number];
  /** Questions per document. */
  readonly questions: number;
  /** Share of two-hop questions. */
  readonly twoHopShare: number;
  /** Share of direct answers among one-hop and among two-hop questions. */
  readonly directShare: readonly [number, number];
  /** Loss weight of document tokens. */
  readonly documentWeight: number;
}

/** A piece of a row's text and the loss weight of its tokens. */
export interface WeightedText {
  readonly text: string;
  readonly weight: number;
}

/** Makes rows; holds what all rows share. */
export class WarmstartCorpus {
  private readonly names = demoNames();

  /** The text of row `index` in pieces, in order. Concatenated, it is what the policy reads. */
  row(index: number, options: CorpusOptions): WeightedText[] {
    const draws = new Draws(options.seed, "warmstart-row", index);
    const { stated, questions } = this.documentWithQuestions(options, draws);
    const document = draws.shuffle(stated).map(factSentence).join(" ");
    const row: WeightedText[] = [];
    questions.forEach((question, at) => {
      const style: DemonstrationStyle =
        draws.fraction() < (options.directShare[question.evidence.length - 1] ?? 0) ? "direct" : "quoting";
      if (at === 0) {
        const content = promptMessages(document, question.question, "value")[0]?.content ?? "";
        const split = content.indexOf(document);
        row.push({ text: `<|im_start|>user\n${content.slice(0, split)}`, weight: 0 });
        row.push({ text: document, weight: options.documentWeight });
        row.push({
          text: `${content.slice(split + document.length)}<|im_end|>\n<|im_start|>assistant\n`,
          weight: 0,
        });
      } else {
        row.push({ text: `\n${question.question}\n`, weight: 0 });
      }
      const worked = style === "quoting" ? `${question.evidence.map(factSentence).join(" ")}\n\n` : "";
      row.push({ text: `${worked}${answerSentence(question.answer, "value")}<|im_end|>`, weight: 1 });
    });
    return row;
  }

  private documentWithQuestions(
    options: CorpusOptions,
    draws: Draws,
  ): { stated: readonly Fact[]; questions: readonly ChainQuestion[] } {
    const count = draws.integer(options.facts[0], options.facts[1]);
    const size = Math.max(3, Math.ceil(count / 3));
    const world = fictionalWorld(this.names, DEMO_RELATIONS, size, draws);
    const stated = new Map<string, Fact>();
    const state = (fact: Fact): void => {
      if (stated.size < count) stated.set(`${fact.relation} ${fact.subject}`, fact);
    };
    // Each document states some whole chains first, so that two-hop questions can be asked about short documents too.
    const chains = Math.max(1, Math.floor(count / 4));
    for (let at = 0; at < chains; at++) drawChain(world, 2, draws)?.evidence.forEach(state);
    draws.shuffle(worldFacts(world)).forEach(state);
    const facts = [...stated.values()];
    const isStated = (relation: RelationName, subject: string): boolean => stated.has(`${relation} ${subject}`);
    const twoHop = facts.flatMap((first) =>
      DEMO_RELATIONS.flatMap((second) => {
        if (!isStated(second, first.value)) return [];
        const found = followChain(world, first.subject, [first.relation, second]);
        return found ? [found] : [];
      }),
    );
    const oneHop = facts.flatMap((fact) => followChain(world, fact.subject, [fact.relation]) ?? []);
    // No question is asked twice, so an answer is not to be found among the earlier answers.
    const unasked = { one: draws.shuffle(oneHop), two: draws.shuffle(twoHop) };
    const questions: ChainQuestion[] = [];
    for (let at = 0; at < options.questions; at++) {
      const wanted = draws.fraction() < options.twoHopShare ? unasked.two.pop() : undefined;
      const question = wanted ?? unasked.one.pop() ?? unasked.two.pop();
      if (question) questions.push(question);
    }
    return { stated: facts, questions };
  }
}
