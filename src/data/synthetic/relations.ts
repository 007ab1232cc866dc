/**
 * The relations that documents state and questions ask about, each with its wording.
 * Invariant: every relation is a function (one value per country), so a question has exactly one answer in a document.
 */
export type RelationName =
  | "capital"
  | "language"
  | "currency"
  | "demonym"
  | "largestNeighbour"
  | "smallestNeighbour"
  | "region"
  | "subregion"
  | "domain"
  | "callingCode"
  | "coast"
  | "area";

/** What a value is; `country` values can be asked about further, `number` values can be computed with. */
export type ValueKind = "city" | "country" | "language" | "currency" | "people" | "category" | "code" | "number";

export interface Relation {
  readonly name: RelationName;
  /** Noun phrase as in "The … of France". */
  readonly noun: string;
  readonly valueKind: ValueKind;
  /** Follows the value in a sentence, with its leading blank; empty for names. */
  readonly unit: string;
}

const relation = (name: RelationName, noun: string, valueKind: ValueKind, unit = ""): Relation => ({
  name,
  noun,
  valueKind,
  unit,
});

export const RELATIONS: Readonly<Record<RelationName, Relation>> = {
  capital: relation("capital", "capital", "city"),
  language: relation("language", "language", "language"),
  currency: relation("currency", "currency", "currency"),
  demonym: relation("demonym", "demonym", "people"),
  largestNeighbour: relation("largestNeighbour", "largest neighbour", "country"),
  smallestNeighbour: relation("smallestNeighbour", "smallest neighbour", "country"),
  region: relation("region", "region", "category"),
  subregion: relation("subregion", "subregion", "category"),
  domain: relation("domain", "internet domain", "code"),
  callingCode: relation("callingCode", "calling code", "code"),
  coast: relation("coast", "coast status", "category"),
  area: relation("area", "area", "number", " square kilometres"),
};

/** One stated fact: "The capital of France is Paris." */
export interface Fact {
  readonly relation: RelationName;
  readonly subject: string;
  readonly value: string;
}

/** The sentence that states a fact. */
export function factSentence(fact: Fact): string {
  const { noun, unit } = RELATIONS[fact.relation];
  return `The ${noun} of ${fact.subject} is ${fact.value}${unit}.`;
}

/** "the capital of the largest neighbour of France" for relations in the order in which they are followed. */
export function chainPhrase(subject: string, chain: readonly RelationName[]): string {
  return chain.reduce((phrase, name) => `the ${RELATIONS[name].noun} of ${phrase}`, subject);
}
