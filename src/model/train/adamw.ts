/**
 * AdamW with decoupled decay, bias correction and global-norm clipping (Loshchilov & Hutter, arXiv 1711.05101).
 * Invariant (I7): a gradient that is not finite changes nothing at all.
 */
import type { OptimiserConfig } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { elementCount, type TensorSource } from "../io/tensor-source.js";
import { add, divide, mul, squaredSum, sub } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { GradientStore } from "../transformer/gradients.js";
import type { ParameterStore } from "../transformer/parameters.js";
import type { FusedStep } from "./fused-step.js";
import type { Moments, StepNumbers } from "./moments.js";

/** torch.nn.utils.clip_grad_norm_ adds this to the norm before dividing. */
const CLIP_EPSILON = 1e-6;

export interface OptimiserOutcome {
  readonly applied: boolean;
  readonly gradNorm: number;
  readonly byTensor: Readonly<Record<string, number>> | null;
}

/** Gradients by name with what they measure. */
export interface MeasuredGradients {
  readonly names: readonly string[];
  /** Σg² of each. */
  readonly squares: readonly number[];
  /** Global L2 norm; not finite where a gradient is not. */
  readonly norm: number;
}

/** The optimiser's state of some parameters at a moment; none for a parameter that had not been stepped. */
export interface OptimiserCopy {
  readonly step: number;
  readonly moments: ReadonlyMap<string, Moments | null>;
}

export class AdamW {
  /** Steps taken since the moments were zero. */
  step = 0;
  private readonly moments = new Map<string, Moments>();

  constructor(private readonly fused: FusedStep | null) {}

  /** Throws WEIR_E_STATE where there are no gradients. */
  measure(gradients: GradientStore): MeasuredGradients {
    if (gradients.empty) {
      throw new WeirError("WEIR_E_STATE", "an optimiser step needs gradients; run a forward-backward pass first");
    }
    const names = gradients.names();
    const summed = names.map((name) => gradients.get(name) as Tensor);
    const squares = this.fused?.squaredNorms(summed) ?? squaredNorms(summed);
    return { names, squares, norm: Math.sqrt(squares.reduce((sum, square) => sum + square, 0)) };
  }

  /** One step from the summed gradients; clears them. */
  apply(
    parameters: ParameterStore,
    gradients: GradientStore,
    { names, squares, norm: gradNorm }: MeasuredGradients,
    config: OptimiserConfig,
    reportTensors: boolean,
  ): OptimiserOutcome {
    if (!Number.isFinite(gradNorm)) {
      gradients.clear();
      return { applied: false, gradNorm, byTensor: null };
    }
    const { maxGradNorm } = config;
    const clip = maxGradNorm === null ? 1 : Math.min(1, maxGradNorm / (gradNorm + CLIP_EPSILON));
    this.step += 1;
    this.update(names, parameters, gradients, config, clip);
    gradients.clear();
    const byTensor = reportTensors
      ? Object.fromEntries(names.map((name, index) => [name, Math.sqrt(squares[index]!) * clip]))
      : null;
    return { applied: true, gradNorm, byTensor };
  }

  private update(
    names: readonly string[],
    parameters: ParameterStore,
    gradients: GradientStore,
    config: OptimiserConfig,
    clip: number,
  ): void {
    const [beta1, beta2] = config.betas;
    const correction1 = 1 - beta1 ** this.step;
    const correction2 = 1 - beta2 ** this.step;
    const numbers: StepNumbers = {
      keep1: beta1,
      take1: (1 - beta1) * clip,
      keep2: beta2,
      take2: (1 - beta2) * clip * clip,
      rootCorrection: 1 / Math.sqrt(correction2),
      epsilon: config.epsilon,
      rate: config.learningRate / correction1,
      shrink: 1 - config.learningRate * config.weightDecay,
    };
    const decays = (weight: Tensor) => config.weightDecay !== 0 && (config.decayScope === "all" || weight.rank >= 2);
    if (this.fused !== null) {
      this.fused.update(names, parameters, gradients, this.moments, numbers, decays);
      return;
    }
    scope(() => {
      const { keep1, take1, keep2, take2, rootCorrection, epsilon, rate, shrink } = scalarsOf(numbers);
      for (const name of names) {
        const weight = parameters.get(name);
        const gradient = gradients.get(name) as Tensor;
        const before = this.moments.get(name);
        const after = scope(() => {
          const dm = mul(gradient, take1);
          const dv = mul(mul(gradient, gradient), take2);
          const m = before === undefined ? dm : add(mul(before.m, keep1), dm);
          const v = before === undefined ? dv : add(mul(before.v, keep2), dv);
          const denominator = add(mul(tf.sqrt(v), rootCorrection), epsilon);
          const decayed = decays(weight) ? mul(weight, shrink) : weight;
          return { m, v, next: sub(decayed, mul(divide(m, denominator), rate)) };
        });
        parameters.replace(name, after.next);
        this.moments.set(name, { m: tf.keep(after.m), v: tf.keep(after.v) });
        if (before !== undefined) tf.dispose([before.m, before.v]);
      }
    });
  }

  /** Step count and the moments of these parameters as they are now; memory is shared until a step replaces them. */
  copy(names: readonly string[]): OptimiserCopy {
    const kept = names.map((name): [string, Moments | null] => {
      const now = this.moments.get(name);
      return [name, now === undefined ? null : { m: tf.keep(tf.clone(now.m)), v: tf.keep(tf.clone(now.v)) }];
    });
    return { step: this.step, moments: new Map(kept) };
  }

  /** Goes back to a copy and uses it up. */
  takeBack({ step, moments }: OptimiserCopy): void {
    for (const [name, before] of moments) {
      const now = this.moments.get(name);
      if (now !== undefined) tf.dispose([now.m, now.v]);
      if (before === null) this.moments.delete(name);
      else this.moments.set(name, before);
    }
    this.step = step;
  }

  /** Frees a copy that is not needed. */
  forget({ moments }: OptimiserCopy): void {
    for (const kept of moments.values()) if (kept !== null) tf.dispose([kept.m, kept.v]);
  }

  /** Forgets moments and step count. */
  reset(): void {
    for (const { m, v } of this.moments.values()) tf.dispose([m, v]);
    this.moments.clear();
    this.step = 0;
  }

  /** Moments as `m.<name>` and `v.<name>`. */
  source(): TensorSource {
    const find = (key: string): Tensor => {
      const moments = this.moments.get(key.slice(2));
      if (moments === undefined) throw new WeirError("WEIR_E_CHECKPOINT_DAMAGED", `the optimiser holds no ${key}`);
      return key.startsWith("m.") ? moments.m : moments.v;
    };
    return {
      names: () => [...this.moments.keys()].flatMap((name) => [`m.${name}`, `v.${name}`]).sort(),
      shape: (name) => find(name).shape,
      read: (name) => find(name).dataSync<"float32">().slice(),
    };
  }

  /** Takes the moments of a file; none of them (before the first step) is fine, some of them is not. */
  restore(source: TensorSource, step: number, parameters: ParameterStore): void {
    const offered = new Set(source.names());
    const loaded = new Map<string, Moments>();
    for (const name of parameters.names()) {
      if (!offered.has(`m.${name}`) && !offered.has(`v.${name}`) && step === 0) continue;
      const { shape } = parameters.get(name);
      const read = (kind: "m" | "v") => {
        const values = source.read(`${kind}.${name}`);
        if (values.length !== elementCount(shape)) {
          throw new WeirError(
            "WEIR_E_CHECKPOINT_DAMAGED",
            `optimiser tensor ${kind}.${name} was expected with ${elementCount(shape)} values, found ${values.length}; use another checkpoint`,
          );
        }
        return tf.keep(tf.tensor(values, shape));
      };
      loaded.set(name, { m: read("m"), v: read("v") });
    }
    this.reset();
    for (const [name, moments] of loaded) this.moments.set(name, moments);
    this.step = step;
  }
}

/** The numbers as scalars on the device. */
function scalarsOf(numbers: StepNumbers): Readonly<Record<keyof StepNumbers, Tensor>> {
  const entries = Object.entries(numbers).map(([name, value]) => [name, tf.scalar(value, "float32")]);
  return Object.fromEntries(entries) as Record<keyof StepNumbers, Tensor>;
}

/** Σg² of each tensor, read together. */
function squaredNorms(gradients: readonly Tensor[]): number[] {
  return scope(() => {
    return Array.from(tf.stack(gradients.map(squaredSum)).dataSync<"float32">());
  });
}
