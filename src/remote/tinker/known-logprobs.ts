/** Log-probs that a forward pass gave at the present weights, so that a batch is not passed forward again for its gradient. */
import { createHash } from "node:crypto";
import type { Sequence } from "./rows.js";

export class KnownLogprobs {
  private readonly known = new Map<string, readonly number[]>();

  /** The sequences' log-probs: those known, and those that `forward` gives of the others. [N][T] */
  async of(
    sequences: readonly Sequence[],
    forward: (unknown: readonly Sequence[]) => Promise<readonly (readonly number[])[]>,
  ): Promise<(readonly number[])[]> {
    const keys = sequences.map(keyOf);
    const missing = new Map(
      keys.flatMap((key, i) => (this.known.has(key) ? [] : [[key, sequences[i] as Sequence] as const])),
    );
    if (missing.size > 0) this.learn([...missing.values()], await forward([...missing.values()]));
    return keys.map((key) => this.known.get(key) as readonly number[]);
  }

  learn(sequences: readonly Sequence[], logprobs: readonly (readonly number[])[]): void {
    sequences.forEach((sequence, i) => {
      this.known.set(keyOf(sequence), logprobs[i] as readonly number[]);
    });
  }

  /** The weights have changed. */
  clear(): void {
    this.known.clear();
  }
}

function keyOf({ promptIds, tokenIds }: Sequence): string {
  return createHash("sha256")
    .update(Int32Array.of(promptIds.length, ...promptIds, ...tokenIds))
    .digest("base64");
}
