/** Pass@k from n samples of which c are correct. */
import { WeirError } from "../errors.js";

/** Unbiased estimator 1 − C(n−c, k)/C(n, k) as a product, exact for large n (Chen et al. 2021). 1 ≤ k ≤ n, 0 ≤ c ≤ n. */
export function passAtK(n: number, c: number, k: number): number {
  if (![n, c, k].every(Number.isInteger) || c < 0 || c > n || k < 1 || k > n) {
    throw new WeirError("WEIR_E_SHAPE", `pass@k needs integers 0 ≤ c ≤ n and 1 ≤ k ≤ n, got n ${n}, c ${c}, k ${k}`);
  }
  if (n - c < k) return 1;
  let allWrong = 1;
  for (let i = n - c + 1; i <= n; i++) allWrong *= 1 - k / i;
  return 1 - allWrong;
}
