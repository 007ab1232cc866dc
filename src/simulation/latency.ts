import { counterKey, normal, uniform } from "../algorithms/random.js";
import type { Distribution } from "../contracts/distribution.js";

/** Draws from distributions. The n-th value of a name depends on the seed, the name and n, never on what else was drawn. */

/** The value of a distribution at counter `counter` of the stream `key`; ≥ 0. */
export function drawn(distribution: Distribution, key: number, counter: number): number {
  if (typeof distribution === "number") return distribution;
  if ("lognormal" in distribution) {
    const { median, sigma } = distribution.lognormal;
    return median * Math.exp(sigma * normal(key, counter));
  }
  const at = uniform(key, counter);
  if ("uniform" in distribution) {
    const [low, high] = distribution.uniform;
    return low + at * (high - low);
  }
  const { quantiles } = distribution;
  const place = at * (quantiles.length - 1);
  const below = Math.floor(place);
  const low = quantiles[below] as number;
  return low + (place - below) * ((quantiles[below + 1] ?? low) - low);
}

/** Streams of random numbers by name, each with a counter of its own. */
export class Draws {
  private readonly streams = new Map<string, { readonly key: number; counter: number }>();

  constructor(
    private readonly seed: number,
    private readonly purpose: string,
    private readonly part: number,
  ) {}

  /** The next value of a distribution. */
  of(name: string, distribution: Distribution): number {
    const stream = this.stream(name);
    return drawn(distribution, stream.key, stream.counter++);
  }

  /** The next number of the stream, in [0, 1). */
  next(name: string): number {
    const stream = this.stream(name);
    return uniform(stream.key, stream.counter++);
  }

  private stream(name: string) {
    let stream = this.streams.get(name);
    if (stream === undefined) {
      stream = { key: counterKey(this.seed, this.purpose, this.part, name), counter: 0 };
      this.streams.set(name, stream);
    }
    return stream;
  }
}
