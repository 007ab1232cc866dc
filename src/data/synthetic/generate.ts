/**
 * Generates tasks: long-document questions over real facts, as a deterministic function of the options.
 * Invariants: task i depends on (seed, split, family, i) and the dials alone; the answer follows from the document and,
 * with `permute`, from nothing else; train and held-out tasks share no entity.
 */
import type { Task } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { renderDocument } from "./document.js";
import { Draws } from "./draws.js";
import { type FactBook, loadFactBook } from "./fact-book.js";
import { FAMILY_KINDS, type FamilyQuestion } from "./families.js";
import { bucketSuffix, type ResolvedOptions, resolveOptions, type SyntheticOptions } from "./options.js";
import { factSentence, RELATIONS, type RelationName } from "./relations.js";
import { answerSentence, promptMessages } from "./template.js";
import { permutedWorld, realWorld, type World } from "./world.js";

/** Worlds drawn before the dials count as impossible. */
const WORLD_TRIES = 50;
/** Documents tried for a length in tokens; each corrects the number of facts by what the last one missed. */
const LENGTH_TRIES = 12;
/** As many as a multiple-choice question has options. */
const FEWEST_VALUES = 4;
/** First guess of a fact's length in tokens. */
const TOKENS_PER_FACT = 12;

/** All tasks of the options, in order. Throws WEIR_E_CONFIG on bad dials and WEIR_E_DATA on dials that cannot be met. */
export function generateTasks(options: SyntheticOptions): Task[] {
  const given = resolveOptions(options);
  const book = loadFactBook(given.split, given.plainNames);
  const relations = options.relations ?? given.relations.filter((relation) => hasValues(book, relation));
  const resolved = { ...given, relations };
  return Array.from({ length: resolved.count }, (_, index) => generateTask(resolved, book, index));
}

/**
 * Whether a part of the facts has enough different values: among plain names there is only one currency, and a relation
 * with one value for all says nothing.
 */
function hasValues(book: FactBook, relation: RelationName): boolean {
  const kind = RELATIONS[relation].valueKind;
  return kind === "country" || (book.values.get(kind)?.length ?? 0) >= FEWEST_VALUES;
}

function generateTask(options: ResolvedOptions, book: FactBook, index: number): Task {
  const draws = new Draws(options.seed, "synthetic-task", options.split, options.family, index);
  const hops = draws.integer(options.hops[0], options.hops[1]);
  if ("facts" in options.length) {
    const facts = draws.integer(options.length.facts[0], options.length.facts[1]);
    return compose(options, book, index, hops, facts);
  }
  const [minimum, maximum] = options.length.tokens;
  const target = draws.integer(minimum, maximum);
  const tried = new Map<number, Task>();
  let facts = Math.max(hops, Math.round(target / TOKENS_PER_FACT));
  while (tried.size < LENGTH_TRIES && facts >= hops) {
    const task = compose(options, book, index, hops, facts);
    tried.set(facts, task);
    const missing = Math.round(((target - task.promptTokens) * facts) / task.promptTokens);
    if (missing === 0 && task.promptTokens >= minimum && task.promptTokens <= maximum) break;
    const direction = task.promptTokens < target ? 1 : -1;
    facts = Math.max(hops, facts + missing);
    while (tried.has(facts)) facts += direction;
  }
  const distance = (task: Task): number => Math.abs(task.promptTokens - target);
  const nearest = [...tried.values()].sort((one, other) => distance(one) - distance(other));
  const best = nearest.find((task) => task.promptTokens >= minimum && task.promptTokens <= maximum);
  if (best) return best;
  throw new WeirError(
    "WEIR_E_DATA",
    `expected a prompt of ${minimum} to ${maximum} tokens with ${hops} hops, the nearest has ${nearest[0]?.promptTokens}; widen the range`,
    { index, hops },
  );
}

function compose(options: ResolvedOptions, book: FactBook, index: number, hops: number, count: number): Task {
  const draws = new Draws(options.seed, "synthetic-document", options.split, options.family, index, count);
  const { world, asked } = drawQuestion(options, book, hops, count, draws);
  const dials = { count, nearShare: options.nearDistractors, paragraph: options.paragraph };
  const document = renderDocument(world, asked.evidence, dials, draws);
  if (document.facts.length < count) {
    throw new WeirError(
      "WEIR_E_DATA",
      `expected facts for a document of ${count}, this part of the facts gives ${document.facts.length}; ` +
        "ask for shorter documents, more relations, or plainNames: false",
      { index, count },
    );
  }
  const kind = FAMILY_KINDS[options.family];
  const messages = promptMessages(document.text, asked.question, asked.form);
  const promptTokens = options.countTokens(messages);
  return {
    id: `synthetic-${options.family}-${options.split}-${options.seed}-${index}`,
    messages,
    document: document.text,
    goldAnswers: [answerSentence(asked.answer, asked.form)],
    source: `synthetic_${kind.sourceWord}${bucketSuffix(promptTokens, options.bucketEdges)}`,
    promptTokens,
    meta: {
      index,
      family: options.family,
      ability: kind.ability,
      split: options.split,
      hops,
      facts: document.facts.length,
      question: asked.question,
      answer: asked.answer,
      evidence: asked.evidence.map(factSentence),
      working: asked.working,
    },
  };
}

function drawQuestion(
  options: ResolvedOptions,
  book: FactBook,
  hops: number,
  count: number,
  draws: Draws,
): { world: World; asked: FamilyQuestion } {
  // About three facts per country: enough for chains, few enough that a document speaks of many countries.
  const size = Math.max(hops + 2, Math.ceil(count / Math.min(3, options.relations.length)));
  for (let attempt = 0; attempt < WORLD_TRIES; attempt++) {
    // Real facts are thinner than permuted ones, so each try looks at more countries.
    const world = options.permute
      ? permutedWorld(book, options.relations, size, draws)
      : realWorld(book, options.relations, size * (attempt + 2), draws);
    const asked = FAMILY_KINDS[options.family].ask(world, hops, draws);
    if (asked) return { world, asked };
  }
  throw new WeirError(
    "WEIR_E_DATA",
    `expected a ${options.family} question of ${hops} hops in the ${options.split} facts, found none; ` +
      "ask for fewer hops or more relations",
    { hops, family: options.family },
  );
}
