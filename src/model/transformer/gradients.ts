/**
 * Gradients of parameters: a sink takes them, the store sums them by name. Whether all parameters or adapters are trained is
 * the sink's choice; layers give it what either needs.
 * Invariant: the store owns its tensors; they survive `tf.tidy` and are freed by `clear`.
 */

import { add, gradientProduct, slice } from "../tensor/kernels.js";
import { type Tensor, tf } from "../tensor/tf.js";
import { adapterGradients, type FindPair } from "./adapter-gradients.js";

/** One of several weights with the same input, whose output gradients are concatenated in one matrix. */
export interface ProductPart {
  readonly name: string;
  /** Rows of the weight. */
  readonly size: number;
}

/** Takes gradients of parameters. */
export interface GradientSink {
  /** Whether a parameter itself is trained. */
  wants(name: string): boolean;
  /** Adds a parameter's gradient; one of a frozen parameter is dropped. */
  add(name: string, gradient: Tensor): void;
  /** Adds the gradients that follow from dW = dyᵀ·x for weights whose output gradients are concatenated in dy. */
  products(parts: readonly ProductPart[], dy: Tensor, x: Tensor): void;
}

/** A sink that calls `onward` with gradients: of the parameters themselves, or of adapters only where `pairOf` is given. */
export function gradientSink(onward: (name: string, gradient: Tensor) => void, pairOf: FindPair | null): GradientSink {
  if (pairOf === null) {
    return {
      wants: () => true,
      add: onward,
      products(parts, dy, x) {
        const dW = gradientProduct(dy, x); // [Σ out, in]
        eachPart(parts, (name, at, size) => onward(name, part(dW, 0, at, size)));
      },
    };
  }
  return {
    wants: () => false,
    add: () => undefined,
    products(parts, dy, x) {
      eachPart(parts, (name, at, size) => {
        const pair = pairOf(name);
        if (pair !== null) adapterGradients(name, pair, part(dy, 1, at, size), x, onward);
      });
    },
  };
}

function eachPart(parts: readonly ProductPart[], take: (name: string, at: number, size: number) => void): void {
  let at = 0;
  for (const { name, size } of parts) {
    take(name, at, size);
    at += size;
  }
}

/** `size` entries of a matrix's axis; the matrix itself where that is the whole axis. */
function part(x: Tensor, axis: 0 | 1, at: number, size: number): Tensor {
  const [rows, columns] = x.shape as [number, number];
  if (x.shape[axis] === size) return x;
  return axis === 0 ? slice(x, [at, 0], [size, columns]) : slice(x, [0, at], [rows, size]);
}

export class GradientStore implements GradientSink {
  readonly pairOf: FindPair | null;
  private readonly sums = new Map<string, Tensor>();
  private readonly sink: GradientSink;

  /** `pairOf`: adapters are trained, and nothing else. */
  constructor(pairOf: FindPair | null = null) {
    this.pairOf = pairOf;
    this.sink = gradientSink((name, gradient) => this.sum(name, gradient), pairOf);
  }

  wants(name: string): boolean {
    return this.sink.wants(name);
  }

  /** Adds to the sum of `name` and takes ownership of `gradient`; a frozen parameter's stays with its scope. */
  add(name: string, gradient: Tensor): void {
    this.sink.add(name, gradient);
  }

  products(parts: readonly ProductPart[], dy: Tensor, x: Tensor): void {
    this.sink.products(parts, dy, x);
  }

  /** Replaces a sum by one that includes it. */
  replace(name: string, sum: Tensor): void {
    this.sums.get(name)?.dispose();
    this.sums.set(name, tf.keep(sum));
  }

  get(name: string): Tensor | null {
    return this.sums.get(name) ?? null;
  }

  names(): string[] {
    return [...this.sums.keys()].sort();
  }

  get empty(): boolean {
    return this.sums.size === 0;
  }

  /** Moves everything into `target`. */
  moveInto(target: GradientStore): void {
    for (const [name, gradient] of this.sums) target.sum(name, gradient);
    this.sums.clear();
  }

  clear(): void {
    for (const gradient of this.sums.values()) gradient.dispose();
    this.sums.clear();
  }

  private sum(name: string, gradient: Tensor): void {
    const old = this.sums.get(name);
    if (old === undefined) {
      this.sums.set(name, tf.keep(gradient));
      return;
    }
    this.sums.set(name, tf.keep(add(old, gradient)));
    old.dispose();
    gradient.dispose();
  }
}
