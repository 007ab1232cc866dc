/**
 * The document of a task: the evidence among distractors, in random order, as plain sentences.
 * Invariant: exactly `count` facts (or all of the world's, if it holds fewer), the evidence among them, none twice.
 */
import { WeirError } from "../../errors.js";
import type { Draws } from "./draws.js";
import { type Fact, factSentence } from "./relations.js";
import { type World, worldFacts } from "./world.js";

export interface DocumentDials {
  /** Facts in the document. */
  readonly count: number;
  /** Share of the distractors that are about a relation or an entity of the evidence, where there are such. */
  readonly nearShare: number;
  /** Sentences per paragraph; 0 puts all of them into one. */
  readonly paragraph: number;
}

export interface StatedDocument {
  readonly text: string;
  readonly facts: readonly Fact[];
}

/** Renders evidence and distractors. Throws WEIR_E_DATA if the evidence alone is longer than the document. */
export function renderDocument(
  world: World,
  evidence: readonly Fact[],
  dials: DocumentDials,
  draws: Draws,
): StatedDocument {
  if (evidence.length > dials.count) {
    throw new WeirError(
      "WEIR_E_DATA",
      `expected a document of at least ${evidence.length} facts (the evidence), got ${dials.count}; raise the length`,
    );
  }
  const keyOf = (fact: Fact): string => `${fact.relation} ${fact.subject}`;
  const needed = new Set(evidence.map(keyOf));
  const entities = new Set(evidence.flatMap((fact) => [fact.subject, fact.value]));
  const relations = new Set(evidence.map((fact) => fact.relation));
  const others = draws.shuffle(worldFacts(world).filter((fact) => !needed.has(keyOf(fact))));
  const isNear = (fact: Fact): boolean =>
    relations.has(fact.relation) || entities.has(fact.subject) || entities.has(fact.value);
  const room = dials.count - evidence.length;
  const wantedNear = Math.round(room * dials.nearShare);
  const near = others.filter(isNear).slice(0, wantedNear);
  const chosen = new Set(near);
  const rest = others.filter((fact) => !chosen.has(fact)).slice(0, room - near.length);
  const facts = draws.shuffle([...evidence, ...near, ...rest]);
  return { text: paragraphs(facts.map(factSentence), dials.paragraph), facts };
}

function paragraphs(sentences: readonly string[], size: number): string {
  if (size <= 0) return sentences.join(" ");
  const result: string[] = [];
  for (let at = 0; at < sentences.length; at += size) result.push(sentences.slice(at, at + size).join(" "));
  return result.join("\n\n");
}
