/**
 * Real facts about countries, read from the npm package `world-countries` (Open Database License 1.0; imported, not
 * copied), and their division into a train part and a held-out part.
 * Invariant: no name of a country, city, language, currency or people occurs in both parts. Regions, coast status,
 * codes and numbers are categories, not entities, and may occur in both.
 */
import worldCountries, { type Country } from "world-countries";
import { counterKey } from "../../algorithms/random.js";
import { RELATIONS, type RelationName, type ValueKind } from "./relations.js";

/** The package's types declare a default export inside its export; at run time the import is the array itself. */
const countries = worldCountries as unknown as readonly Country[];

export type Split = "train" | "heldout";

/** A country with the facts that hold of it. */
export interface CountryFacts {
  readonly name: string;
  readonly facts: ReadonlyMap<RelationName, string>;
}

/** One part of the facts: the countries and, by kind, every value that occurs. */
export interface FactBook {
  readonly countries: readonly CountryFacts[];
  readonly values: ReadonlyMap<ValueKind, readonly string[]>;
}

/** A third of the entities is held out: enough for documents of some 60 facts without a train entity. */
const HELDOUT_SHARE = 1 / 3;

/** Names of one short plain word: few tokens, and made of pieces that invented names can share. */
const PLAIN_NAME = /^[A-Z][a-z]{2,7}$/;

const ENTITY_KINDS: ReadonlySet<ValueKind> = new Set(["city", "country", "language", "currency", "people"]);

/**
 * The facts of one part. `plainNames` keeps countries and values that are one capitalised ASCII word of at most 8 letters.
 * The division depends on the names alone, so it is the same for all seeds and runs.
 */
export function loadFactBook(split: Split, plainNames: boolean): FactBook {
  const chosen = countries.filter(
    (country) => splitOf(country.name.common) === split && (!plainNames || PLAIN_NAME.test(country.name.common)),
  );
  const names = new Set(chosen.map((country) => country.name.common));
  const ownerOfCity = new Map<string, string>();
  for (const country of countries) {
    for (const city of country.capital ?? []) {
      if (!ownerOfCity.has(city)) ownerOfCity.set(city, country.name.common);
    }
  }
  const everyCountry = new Set(countries.map((country) => country.name.common));
  const belongs = (relation: RelationName, value: string): boolean => {
    const kind = RELATIONS[relation].valueKind;
    if (!ENTITY_KINDS.has(kind)) return true;
    if (plainNames && !PLAIN_NAME.test(value)) return false;
    if (kind === "country") return names.has(value);
    if (everyCountry.has(value)) return false;
    if (kind === "city") return splitOf(ownerOfCity.get(value) ?? value) === split;
    return splitOf(value) === split;
  };
  const values = new Map<ValueKind, Set<string>>();
  const result = chosen.map((country): CountryFacts => {
    const facts = new Map<RelationName, string>();
    for (const [relation, value] of statedFacts(country)) {
      if (value === undefined || value === "" || !belongs(relation, value)) continue;
      facts.set(relation, value);
      const kind = RELATIONS[relation].valueKind;
      values.set(kind, (values.get(kind) ?? new Set()).add(value));
    }
    return { name: country.name.common, facts };
  });
  // Every language of the world, not only main languages, may be a value where facts are permuted.
  const languages = countries.flatMap((country) => Object.values(country.languages ?? {}));
  values.set("language", new Set(languages.filter((name) => belongs("language", name))));
  return { countries: result, values: new Map([...values].map(([kind, set]) => [kind, [...set].sort()])) };
}

/** The part that a name belongs to, from a hash of the name. */
function splitOf(name: string): Split {
  return counterKey(0, "fact-split", name) / 4294967296 < HELDOUT_SHARE ? "heldout" : "train";
}

function statedFacts(country: Country): readonly (readonly [RelationName, string | undefined])[] {
  const neighbours = country.borders
    .map((code) => countries.find((other) => other.cca3 === code))
    .filter((other): other is Country => other !== undefined && other.area > 0)
    .sort((a, b) => b.area - a.area);
  const currency = Object.values(country.currencies ?? {})[0] as { name: string } | undefined;
  const suffixes = country.idd.suffixes ?? [];
  return [
    ["capital", country.capital?.[0]],
    ["language", Object.values(country.languages ?? {})[0]],
    ["currency", currency?.name],
    ["demonym", country.demonyms?.eng?.m],
    ["largestNeighbour", neighbours[0]?.name.common],
    ["smallestNeighbour", neighbours.length > 1 ? neighbours.at(-1)?.name.common : undefined],
    ["region", country.region],
    ["subregion", country.subregion],
    ["domain", country.tld?.[0]],
    ["callingCode", suffixes.length === 1 && country.idd.root ? `${country.idd.root}${suffixes[0]}` : undefined],
    ["coast", country.landlocked ? "landlocked" : "coastal"],
    ["area", country.area > 0 ? String(country.area) : undefined],
  ];
}
