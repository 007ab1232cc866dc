/**
 * bfloat16 copies of matrices for compiled graphs, made when a weight is first used and again when it has changed.
 * In float32 the weights themselves are handed out. Invariant: a copy belongs to exactly the tensor it was made of.
 */
import type { Compiler } from "../engine/graph/compile.js";
import { type Tensor, tf } from "../engine/tf.js";
import { narrow } from "./kernels.js";

export class NarrowWeights {
  private readonly copies = new Map<string, { readonly source: number; readonly copy: Tensor }>();

  constructor(
    private readonly compiler: Compiler,
    private readonly enabled: boolean,
  ) {}

  /** The form of a weight that products take: matrices as bfloat16, vectors as they are. */
  of(name: string, weight: Tensor): Tensor {
    if (!this.enabled || weight.rank < 2) return weight;
    const known = this.copies.get(name);
    if (known?.source === weight.id) return known.copy;
    known?.copy.dispose();
    const copy = tf.keep(this.compiler.run("narrow", (x: Tensor) => narrow(x), weight));
    this.copies.set(name, { source: weight.id, copy });
    return copy;
  }

  dispose(): void {
    for (const { copy } of this.copies.values()) copy.dispose();
    this.copies.clear();
  }
}
