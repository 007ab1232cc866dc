/** Compares two evaluations question by question: the difference of their means with its interval, and two paired tests. */
import { bootstrapRatios } from "../../algorithms/bootstrap.js";
import { permutationTest, type SignTest, signTest } from "../../algorithms/paired.js";
import { counterKey } from "../../algorithms/random.js";
import { mean } from "../../algorithms/statistics.js";
import type { EvaluatedResponse } from "../../contracts/evaluated-response.js";
import { groupedBy } from "./grouped-by.js";

type Indexed = Omit<EvaluatedResponse, "response">;

export interface Comparison {
  /** Items that both have, with a scored response at least in each. */
  readonly pairs: number;
  /** Items that one of them lacks, or in which one has no scored response; they are in no mean below. */
  readonly unpaired: number;
  /** Pairs whose questions were not the same, word for word. */
  readonly askedOtherwise: number;
  /** Means over the pairs of the items' mean values over their scored responses. */
  readonly a: number;
  readonly b: number;
  /** b − a, with its 95 % bootstrap interval over pairs; null with fewer than two. */
  readonly difference: number;
  readonly low: number | null;
  readonly high: number | null;
  readonly sign: SignTest;
  /** Sign-flip permutation test of the mean difference. */
  readonly permutation: { readonly p: number; readonly exact: boolean };
}

/** One item of an evaluation: its mean over scored responses. */
interface ItemMean {
  readonly asked: string;
  readonly value: number | null;
}

function itemMeans(responses: readonly Indexed[]): Map<string, ItemMean> {
  const means = new Map<string, ItemMean>();
  for (const [item, of] of groupedBy(responses, ({ item }) => item)) {
    const values = of.flatMap(({ outcome }) => (outcome.kind === "scored" ? [outcome.value] : []));
    means.set(item, { asked: of[0]?.asked ?? "", value: values.length === 0 ? null : mean(values) });
  }
  return means;
}

/** Comparison of the responses of one benchmark; null where no item is in both with a score. `key`: of the random streams. */
export function compareResponses(a: readonly Indexed[], b: readonly Indexed[], key: number): Comparison | null {
  const [first, second] = [itemMeans(a), itemMeans(b)];
  const ids = [...new Set([...first.keys(), ...second.keys()])].sort();
  const pairs = ids.flatMap((id) => {
    const [x, y] = [first.get(id), second.get(id)];
    return x === undefined || y === undefined || x.value === null || y.value === null
      ? []
      : [{ a: x.value, b: y.value, same: x.asked === y.asked }];
  });
  if (pairs.length === 0) return null;
  const differences = pairs.map((pair) => pair.b - pair.a);
  const [interval = null] = bootstrapRatios([differences.map((sum) => ({ sum, count: 1 }))], { key });
  return {
    pairs: pairs.length,
    unpaired: ids.length - pairs.length,
    askedOtherwise: pairs.filter(({ same }) => !same).length,
    a: mean(pairs.map((pair) => pair.a)),
    b: mean(pairs.map((pair) => pair.b)),
    difference: mean(differences),
    low: interval?.low ?? null,
    high: interval?.high ?? null,
    sign: signTest(differences),
    permutation: permutationTest(differences, counterKey(key, "permutation")),
  };
}

/** By benchmark, in the order of `a`; a benchmark that only one of them has is left out. */
export function compareEvaluations(
  a: readonly Indexed[],
  b: readonly Indexed[],
  seed: number,
): Record<string, Comparison | null> {
  const [first, second] = [a, b].map((responses) => groupedBy(responses, ({ benchmark }) => benchmark));
  const names = [...(first?.keys() ?? [])].filter((name) => second?.has(name));
  return Object.fromEntries(
    names.map((name) => [
      name,
      compareResponses(first?.get(name) ?? [], second?.get(name) ?? [], counterKey(seed, "compare", name)),
    ]),
  );
}
