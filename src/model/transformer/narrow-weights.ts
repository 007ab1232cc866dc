/**
 * Weights in the form that compiled graphs take: bfloat16 copies of matrices (in float32 the weights themselves), and matrices
 * joined from several weights. They are made on first use and remade when a source has changed.
 * Invariant: what is returned was made from exactly the tensors that were given.
 */
import type { Compiler } from "../tensor/graph/compile.js";
import { narrow } from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";

export class NarrowWeights {
  private readonly copies = new Map<string, { readonly source: number; readonly copy: Tensor }>();

  private readonly sets = new Map<
    string,
    { readonly key: string; readonly tensors: Readonly<Record<string, Tensor>> }
  >();

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

  /** Weights made of several others by a traced function, cached until one of those changes. */
  made(
    name: string,
    sources: Readonly<Record<string, Tensor>>,
    make: (sources: Readonly<Record<string, Tensor>>) => Readonly<Record<string, Tensor>>,
  ): Readonly<Record<string, Tensor>> {
    const key = Object.values(sources)
      .map(({ id }) => id)
      .join();
    const known = this.sets.get(name);
    if (known?.key === key) return known.tensors;
    if (known !== undefined) tf.dispose(Object.values(known.tensors));
    const tensors = this.compiler.run("made weights", make, sources);
    for (const tensor of Object.values(tensors)) tf.keep(tensor);
    this.sets.set(name, { key, tensors });
    return tensors;
  }

  dispose(): void {
    for (const { tensors } of this.sets.values()) tf.dispose(Object.values(tensors));
    this.sets.clear();
    for (const { copy } of this.copies.values()) copy.dispose();
    this.copies.clear();
  }
}
