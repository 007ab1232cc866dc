/** Tests of paired differences d_i = b_i − a_i, one per question that two evaluations share. Two-sided; float64. */
import { WeirError } from "../errors.js";
import { uniform } from "./random.js";
import { sum } from "./statistics.js";

/** Differences from here down are rounding errors of means of a few values in [0, 1], which are some 1e-16. */
const SAME = 1e-12;

export interface SignTest {
  /** Questions on which b is better, worse, and equal. */
  readonly wins: number;
  readonly losses: number;
  readonly ties: number;
  /** min(1, 2·P(X ≤ min(wins, losses))), X ~ Binomial(wins + losses, ½); ties are left out. 1 where all are ties. */
  readonly p: number;
}

/** Exact sign test; on values of 0 and 1 this is McNemar's exact test. */
export function signTest(differences: readonly number[]): SignTest {
  const wins = differences.filter((d) => d > SAME).length;
  const losses = differences.filter((d) => d < -SAME).length;
  const n = wins + losses;
  // Terms C(n, i)/2^n by their logarithms: 2^n alone overflows at n = 1,024.
  let logTerm = -n * Math.LN2;
  let tail = 0;
  for (let i = 0; i <= Math.min(wins, losses); i++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log((n - i) / (i + 1));
  }
  return { wins, losses, ties: differences.length - n, p: n === 0 ? 1 : Math.min(1, 2 * tail) };
}

export interface PermutationTest {
  readonly p: number;
  /** True where all 2^n signs were gone through, n being the number of differences that are not 0. */
  readonly exact: boolean;
}

/** 2^16 sums take milliseconds. */
const EXACT_LIMIT = 16;
const RANDOM_SIGNS = 20_000;

/**
 * Sign-flip permutation test of the mean difference: the share of sign choices ±d_i whose |Σ| is at least |Σ d_i|. All of them up to 16
 * differences that are not 0; beyond that 20,000 random ones, where p = (hits + 1)/(20,000 + 1) (Phipson and Smyth 2010).
 * `key`: of the random stream. Errors: WEIR_E_SHAPE without any difference.
 */
export function permutationTest(differences: readonly number[], key: number): PermutationTest {
  if (differences.length === 0) throw new WeirError("WEIR_E_SHAPE", "a paired test needs one pair at least, got none");
  const moved = differences.filter((d) => Math.abs(d) > SAME);
  const n = moved.length;
  const reached = Math.abs(sum(moved)) - SAME * Math.max(1, n);
  if (n <= EXACT_LIMIT) {
    let hits = 0;
    for (let signs = 0; signs < 2 ** n; signs++) {
      let total = 0;
      for (const [i, d] of moved.entries()) total += (signs >>> i) & 1 ? -d : d;
      if (Math.abs(total) >= reached) hits++;
    }
    return { p: hits / 2 ** n, exact: true };
  }
  let hits = 0;
  for (let draw = 0; draw < RANDOM_SIGNS; draw++) {
    let total = 0;
    for (const [i, d] of moved.entries()) total += uniform(key, draw * n + i) < 0.5 ? -d : d;
    if (Math.abs(total) >= reached) hits++;
  }
  return { p: (hits + 1) / (RANDOM_SIGNS + 1), exact: false };
}
