/**
 * An optimiser step that can still be made smaller or undone: weights, moments and step count as they were before it. Copies share
 * memory with what they copy until the step replaces it, so that a revisable step takes one more set of weights and moments while
 * it is kept. Invariant: an undone step leaves every bit as it was.
 */
import { add, mul, sub } from "../tensor/kernels.js";
import { scope, tf } from "../tensor/tf.js";
import type { Adapters } from "../transformer/adapters.js";
import type { ParameterStore } from "../transformer/parameters.js";
import type { AdamW, OptimiserCopy } from "./adamw.js";

export interface SteppedParts {
  /** What the optimiser moves. */
  readonly trained: ParameterStore;
  /** The policy's weights; where adapters are trained, those that follow from them. */
  readonly policy: ParameterStore;
  readonly adapters: Adapters | null;
  readonly optimiser: AdamW;
}

export class RevisableStep {
  private readonly trained: ParameterStore;
  /** Adapted weights of the policy; null without adapters. */
  private readonly merged: ParameterStore | null;
  private readonly optimiser: OptimiserCopy;

  /** To be made before the step; `names` are the parameters that it moves. */
  constructor(
    private readonly parts: SteppedParts,
    names: readonly string[],
  ) {
    const moved = new Set(names);
    this.trained = parts.trained.copy((name) => moved.has(name));
    this.merged = parts.adapters?.merged(parts.policy) ?? null;
    this.optimiser = parts.optimiser.copy(names);
  }

  /** Goes back to what was before the step. */
  undo(): void {
    const { trained, policy, optimiser } = this.parts;
    trained.take(this.trained);
    if (this.merged !== null) policy.take(this.merged);
    optimiser.takeBack(this.optimiser);
  }

  /** Leaves `share`, in (0, 1), of the change of the weights, and the moments of the whole step. */
  shrink(share: number): void {
    const { trained, policy, adapters } = this.parts;
    for (const name of this.trained.names()) {
      const before = this.trained.get(name);
      trained.replace(
        name,
        scope(() => add(before, mul(sub(trained.get(name), before), tf.scalar(share, "float32")))),
      );
    }
    adapters?.merge(policy);
    this.forget();
  }

  /** Leaves the step as it is. */
  forget(): void {
    this.trained.dispose();
    this.merged?.dispose();
    this.parts.optimiser.forget(this.optimiser);
  }
}
