/** AdamW's moments of a parameter, and the numbers of one step. */
import type { Tensor } from "../tensor/tf.js";

export interface Moments {
  readonly m: Tensor;
  readonly v: Tensor;
}

/** Numbers of one step: gradients are scaled by `clip` before everything else. */
export interface StepNumbers {
  readonly keep1: number; // β1
  readonly take1: number; // (1 − β1)·clip
  readonly keep2: number; // β2
  readonly take2: number; // (1 − β2)·clip²
  readonly rootCorrection: number; // 1/√(1 − β2^t)
  readonly epsilon: number;
  readonly rate: number; // learning rate/(1 − β1^t)
  readonly shrink: number; // 1 − learning rate · weight decay
}
