/**
 * Multi-hop questions: follow a chain of relations from a country through other countries to a value.
 * A question of h hops needs exactly h stated facts (its evidence), in order.
 */
import type { Draws } from "./draws.js";
import { chainPhrase, type Fact, RELATIONS, type RelationName } from "./relations.js";
import { relationValue, type World } from "./world.js";

export interface ChainQuestion {
  readonly question: string;
  readonly answer: string;
  /** The facts that are needed, in the order of reasoning. */
  readonly evidence: readonly Fact[];
}

/** Tries before a world counts as having no chain of that length; most worlds have many. */
const CHAIN_TRIES = 200;

/**
 * A random question of `hops` hops, or undefined if the world holds none.
 * The chain never visits a country twice, so a part of the chain never answers the whole.
 */
export function drawChain(world: World, hops: number, draws: Draws): ChainQuestion | undefined {
  const bridges = world.relations.filter((name) => RELATIONS[name].valueKind === "country");
  if (hops > 1 && bridges.length === 0) return undefined;
  for (let attempt = 0; attempt < CHAIN_TRIES; attempt++) {
    const start = draws.pick(world.countries);
    const chain: RelationName[] = [];
    for (let hop = 0; hop < hops; hop++) chain.push(draws.pick(hop < hops - 1 ? bridges : world.relations));
    const found = followChain(world, start, chain);
    if (found) return found;
  }
  return undefined;
}

/** The question for one chain, or undefined where a fact is missing or a country repeats. */
export function followChain(world: World, start: string, chain: readonly RelationName[]): ChainQuestion | undefined {
  const evidence: Fact[] = [];
  const visited = new Set([start]);
  let subject = start;
  for (const relation of chain) {
    const value = relationValue(world, subject, relation);
    if (value === undefined || visited.has(value)) return undefined;
    evidence.push({ relation, subject, value });
    visited.add(value);
    subject = value;
  }
  return { question: `What is ${chainPhrase(start, chain)}?`, answer: subject, evidence };
}
