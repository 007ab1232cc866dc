/** Sums gradients by parameter name. Invariant: owns its tensors; they survive `tf.tidy` and are freed by `clear`. */
import { type Tensor, tf } from "../engine/tf.js";
import { add } from "./kernels.js";

/** Takes gradients of parameters. */
export interface GradientSink {
  add(name: string, gradient: Tensor): void;
}

export class GradientStore implements GradientSink {
  private readonly sums = new Map<string, Tensor>();

  /** Adds to the sum of `name`; takes ownership of `gradient`. */
  add(name: string, gradient: Tensor): void {
    const old = this.sums.get(name);
    if (old === undefined) {
      this.sums.set(name, tf.keep(gradient));
      return;
    }
    this.sums.set(name, tf.keep(add(old, gradient)));
    old.dispose();
    gradient.dispose();
  }

  /** Puts a sum that already holds what was there in its place. */
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
    for (const [name, gradient] of this.sums) target.add(name, gradient);
    this.sums.clear();
  }

  clear(): void {
    for (const gradient of this.sums.values()) gradient.dispose();
    this.sums.clear();
  }
}
