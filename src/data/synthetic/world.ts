/**
 * A world: the countries of one document and everything that is true of them there.
 * Real worlds hold the real facts. Permuted worlds hand the same values to other countries, so that an answer can be
 * read but not remembered. Invented worlds do so with names that do not exist.
 * Invariant: within a world a (country, relation) pair has one value, and no country is its own neighbour.
 */
import { WeirError } from "../../errors.js";
import type { Draws } from "./draws.js";
import type { FactBook } from "./fact-book.js";
import { type Fact, RELATIONS, type RelationName, type ValueKind } from "./relations.js";

export interface World {
  readonly countries: readonly string[];
  readonly relations: readonly RelationName[];
  /** All facts of the world, by subject and relation. */
  readonly facts: ReadonlyMap<string, ReadonlyMap<RelationName, string>>;
}

/** The value of a relation, or undefined where the world has none. */
export function relationValue(world: World, subject: string, relation: RelationName): string | undefined {
  return world.facts.get(subject)?.get(relation);
}

/** All facts of a world as a list, countries in order. */
export function worldFacts(world: World): Fact[] {
  return world.countries.flatMap((subject) =>
    [...(world.facts.get(subject) ?? [])].map(([relation, value]) => ({ relation, subject, value })),
  );
}

/** The real facts of `size` countries (all of them if there are fewer). */
export function realWorld(book: FactBook, relations: readonly RelationName[], size: number, draws: Draws): World {
  const wanted = new Set(relations);
  const chosen = draws.sample(book.countries, size);
  const facts = chosen.map(
    (country) => [country.name, new Map([...country.facts].filter(([name]) => wanted.has(name)))] as const,
  );
  return { countries: chosen.map((country) => country.name), relations, facts: new Map(facts) };
}

/** `size` real countries whose values are redrawn from all values of their kind. */
export function permutedWorld(book: FactBook, relations: readonly RelationName[], size: number, draws: Draws): World {
  const countries = draws.sample(book.countries, size).map((country) => country.name);
  return assign(countries, relations, (kind) => draws.sample(book.values.get(kind) ?? [], size), draws);
}

/**
 * `size` countries and their values drawn from one pool of names, whatever they are in reality: a world of known words and
 * unknown facts. Numbers and codes are not drawn, so give relations with names.
 */
export function fictionalWorld(
  pool: readonly string[],
  relations: readonly RelationName[],
  size: number,
  draws: Draws,
): World {
  const names = draws.shuffle(pool);
  let next = 0;
  const take = (): string[] => {
    next += size;
    return names.slice(next - size, next);
  };
  const countries = take();
  return assign(countries, relations, take, draws);
}

/** Hands each country a value of every relation; values of a relation do not repeat while there are enough. */
function assign(
  countries: readonly string[],
  relations: readonly RelationName[],
  valuesOf: (kind: ValueKind) => readonly string[],
  draws: Draws,
): World {
  const facts = new Map(countries.map((name) => [name, new Map<RelationName, string>()]));
  for (const relation of relations) {
    const kind = RELATIONS[relation].valueKind;
    if (kind === "country") {
      // A rotation of a random order: every country has a neighbour, and none is its own.
      const order = draws.shuffle(countries);
      order.forEach((name, at) => {
        if (order.length > 1) facts.get(name)?.set(relation, order[(at + 1) % order.length] as string);
      });
      continue;
    }
    const values = valuesOf(kind);
    if (values.length === 0) {
      throw new WeirError(
        "WEIR_E_DATA",
        `expected values for the relation ${relation}, this part of the facts has none`,
        {
          relation,
        },
      );
    }
    countries.forEach((name, at) => {
      facts.get(name)?.set(relation, values[at % values.length] as string);
    });
  }
  return { countries, relations, facts };
}
