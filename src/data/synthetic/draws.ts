/**
 * A cursor over one counter-based random stream. What a generator draws depends on the key it was opened with
 * (seed, purpose, index …) and on nothing that was generated before (I12).
 */
import { counterKey, uint32, uniform } from "../../algorithms/random.js";
import { WeirError } from "../../errors.js";

export class Draws {
  private readonly key: number;
  private counter = 0;

  constructor(seed: number, purpose: string, ...parts: readonly (string | number)[]) {
    this.key = counterKey(seed, purpose, ...parts);
  }

  /** Uniform in [0, 1). */
  fraction(): number {
    return uniform(this.key, this.counter++);
  }

  /** Integer in [minimum, maximum], both ends included. */
  integer(minimum: number, maximum: number): number {
    if (!(Number.isInteger(minimum) && Number.isInteger(maximum) && minimum <= maximum)) {
      throw new WeirError("WEIR_E_DATA", `expected integers minimum ≤ maximum, got ${minimum} and ${maximum}`);
    }
    return minimum + Math.floor((uint32(this.key, this.counter++) / 4294967296) * (maximum - minimum + 1));
  }

  /** One item, uniformly. */
  pick<T>(items: readonly T[]): T {
    return items[this.integer(0, items.length - 1)] as T;
  }

  /** `count` different items in random order (partial Fisher-Yates on a copy); at most all of them. */
  sample<T>(items: readonly T[], count: number): T[] {
    const pool = items.slice();
    const taken = Math.min(count, pool.length);
    for (let at = 0; at < taken; at++) {
      const other = this.integer(at, pool.length - 1);
      [pool[at], pool[other]] = [pool[other] as T, pool[at] as T];
    }
    pool.length = taken;
    return pool;
  }

  /** All items in random order. */
  shuffle<T>(items: readonly T[]): T[] {
    return this.sample(items, items.length);
  }
}
