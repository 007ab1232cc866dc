/**
 * The question families and how each asks. Every family yields a question, a bare answer and its evidence; the
 * `data_source` word of a family is what reward dispatch looks for.
 */
import type { Draws } from "./draws.js";
import { drawChain } from "./multi-hop.js";
import { type Fact, RELATIONS } from "./relations.js";
import type { AnswerForm } from "./template.js";
import { relationValue, type World, worldFacts } from "./world.js";

export const FAMILIES = ["multi-hop", "numeric", "multiple-choice"] as const;
export type Family = (typeof FAMILIES)[number];

export interface FamilyQuestion {
  readonly question: string;
  readonly answer: string;
  readonly form: AnswerForm;
  /** Facts that the document must state, in the order of reasoning. */
  readonly evidence: readonly Fact[];
  /** A line of working that follows the evidence in a quoting demonstration; empty where none is needed. */
  readonly working: string;
}

interface FamilyKind {
  /** Part of `data_source`. */
  readonly sourceWord: string;
  /** verl's `ability` column. */
  readonly ability: string;
  /** A question of `hops` facts, or undefined if the world holds none. */
  readonly ask: (world: World, hops: number, draws: Draws) => FamilyQuestion | undefined;
}

export const FAMILY_KINDS: Readonly<Record<Family, FamilyKind>> = {
  "multi-hop": { sourceWord: "musique", ability: "doc-qa", ask: askChain },
  numeric: { sourceWord: "docmath", ability: "doc-math", ask: askNumber },
  "multiple-choice": { sourceWord: "long_toc_choices", ability: "doc-mc", ask: askChoice },
};

const LETTERS = ["A", "B", "C", "D"] as const;

function askChain(world: World, hops: number, draws: Draws): FamilyQuestion | undefined {
  const chain = drawChain(world, hops, draws);
  return chain && { ...chain, form: "value", working: "" };
}

/** One fact: read a number. Two: a difference or a total. More: a total. */
function askNumber(world: World, hops: number, draws: Draws): FamilyQuestion | undefined {
  const numbers = worldFacts(world).filter(
    (fact) => RELATIONS[fact.relation].valueKind === "number" && /^[1-9]\d*$/.test(fact.value),
  );
  const evidence = draws.sample(numbers, hops);
  const [first, second] = evidence;
  if (evidence.length < hops || first === undefined) return undefined;
  const values = evidence.map((fact) => Number(fact.value));
  if (second !== undefined && hops === 2 && values[0] !== values[1] && draws.fraction() < 0.5) {
    const [larger, smaller] = (values[0] as number) > (values[1] as number) ? [first, second] : [second, first];
    const answer = String(Number(larger.value) - Number(smaller.value));
    return {
      question: `By how many square kilometres is ${larger.subject} larger than ${smaller.subject}?`,
      answer,
      form: "value",
      evidence: [larger, smaller],
      working: `${larger.value} - ${smaller.value} = ${answer}.`,
    };
  }
  const answer = String(values.reduce((sum, value) => sum + value, 0));
  const subjects = evidence.map((fact) => fact.subject);
  const listed = hops === 1 ? subjects[0] : `${subjects.slice(0, -1).join(", ")} and ${subjects.at(-1)}`;
  return {
    question: `What is the ${hops === 1 ? "area" : "total area"} of ${listed} in square kilometres?`,
    answer,
    form: "value",
    evidence,
    working: hops === 1 ? "" : `${values.join(" + ")} = ${answer}.`,
  };
}

/** A chain question with four options of the same kind as the answer, all from the world. */
function askChoice(world: World, hops: number, draws: Draws): FamilyQuestion | undefined {
  const chain = drawChain(world, hops, draws);
  const last = chain?.evidence.at(-1);
  if (!chain || !last) return undefined;
  const values = world.countries.flatMap((country) => relationValue(world, country, last.relation) ?? []);
  const wrong = draws.sample([...new Set(values)].filter((value) => value !== chain.answer).sort(), LETTERS.length - 1);
  if (wrong.length < LETTERS.length - 1) return undefined;
  const options = draws.shuffle([chain.answer, ...wrong]);
  const lines = options.map((option, at) => `(${LETTERS[at]}) ${option}`);
  const answer = LETTERS[options.indexOf(chain.answer)] as string;
  return { ...chain, question: [chain.question, ...lines].join("\n"), answer, form: "letter", working: "" };
}
