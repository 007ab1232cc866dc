/**
 * Rotary position embedding: inverse frequencies of the four scalings, and tables of cos and sin on the device.
 * Angles are computed in float32, step by step as in transformers, so that far positions agree too.
 * The rotation pairs dimension i with i + dh/2 (rotate-half layout).
 */

import type { RopeConfig } from "../io/config.js";
import type { RotaryDtype } from "../io/rope-config.js";
import { add, gatherRows, matmul, mul, reshape, slice } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";

const f32 = Math.fround;

/** inv_freq_i = θ^(−2i/dh), i in [0, dh/2), before any scaling. */
function plainFrequencies(theta: number, headDim: number): number[] {
  return Array.from({ length: headDim / 2 }, (_, i) => f32(1 / f32(theta ** f32((2 * i) / headDim))));
}

function yarnFrequencies(rope: RopeConfig & { type: "yarn" }, headDim: number): number[] {
  const correction = (rotations: number) =>
    (headDim * Math.log(rope.originalMaxPositions / (rotations * 2 * Math.PI))) / (2 * Math.log(rope.theta));
  const round = rope.truncate ? [Math.floor, Math.ceil] : [(x: number) => x, (x: number) => x];
  const low = Math.max(round[0]!(correction(rope.betaFast)), 0);
  let high = Math.min(round[1]!(correction(rope.betaSlow)), headDim - 1);
  if (low === high) high += 0.001;
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const positionFrequency = f32(rope.theta ** f32((2 * i) / headDim));
    const ramp = Math.min(Math.max(f32(f32(i - low) / (high - low)), 0), 1);
    const extrapolation = f32(1 - ramp);
    const interpolated = f32(1 / f32(rope.factor * positionFrequency));
    const extrapolated = f32(1 / positionFrequency);
    return f32(f32(interpolated * f32(1 - extrapolation)) + f32(extrapolated * extrapolation));
  });
}

function llama3Frequencies(rope: RopeConfig & { type: "llama3" }, headDim: number): number[] {
  const longest = rope.originalMaxPositions / rope.lowFreqFactor;
  const shortest = rope.originalMaxPositions / rope.highFreqFactor;
  return plainFrequencies(rope.theta, headDim).map((frequency) => {
    const wavelength = f32((2 * Math.PI) / frequency);
    if (wavelength > longest) return f32(frequency / rope.factor);
    if (wavelength < shortest) return frequency;
    const smooth =
      (rope.originalMaxPositions / wavelength - rope.lowFreqFactor) / (rope.highFreqFactor - rope.lowFreqFactor);
    return f32(((1 - smooth) * frequency) / rope.factor + smooth * frequency);
  });
}

export type { RotaryDtype };

/** Rounds to the nearest bfloat16, ties to even. */
function toBfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer);
  const word = bits[0]!;
  bits[0] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(bits.buffer)[0]!;
}

/** Inverse frequencies [dh/2] of a configuration. */
export function inverseFrequencies(rope: RopeConfig, headDim: number, dtype: RotaryDtype = "float32"): number[] {
  const frequencies = frequenciesOf(rope, headDim);
  return dtype === "bfloat16" ? frequencies.map(toBfloat16) : frequencies;
}

function frequenciesOf(rope: RopeConfig, headDim: number): number[] {
  switch (rope.type) {
    case "default":
      return plainFrequencies(rope.theta, headDim);
    case "linear":
      return plainFrequencies(rope.theta, headDim).map((frequency) => f32(frequency / rope.factor));
    case "yarn":
      return yarnFrequencies(rope, headDim);
    case "llama3":
      return llama3Frequencies(rope, headDim);
  }
}

/** Cos and sin of one segment's positions, flattened over (time, dimension); queries carry the factor 1/√dh. */
export interface RopeSlice {
  readonly cosQ: Tensor; // [P or 1, 1, T*dh]
  readonly sinQ: Tensor; // [P or 1, 1, T*dh]
  readonly cosK: Tensor; // [P or 1, 1, T*dh]
  readonly sinK: Tensor; // [P or 1, 1, T*dh]
}

/** Tables over positions, which grow to the next power of two on demand. */
export class RopeTables {
  readonly headDim: number;
  /** [dh, dh]: x·R = rotate_half(x), a signed permutation. */
  readonly rotation: Tensor;
  private readonly frequencies: number[];
  private readonly attentionFactor: number;
  private capacity = 0;
  private tables: Tensor[] = []; // cosQ, sinQ, cosK, sinK, each [capacity, dh]

  constructor(rope: RopeConfig, headDim: number, dtype: RotaryDtype = "float32") {
    this.headDim = headDim;
    this.frequencies = inverseFrequencies(rope, headDim, dtype);
    this.attentionFactor = rope.type === "yarn" ? rope.attentionFactor : 1;
    const half = headDim / 2;
    const rotation = new Float32Array(headDim * headDim);
    for (let i = 0; i < half; i += 1) {
      rotation[(i + half) * headDim + i] = -1;
      rotation[i * headDim + i + half] = 1;
    }
    this.rotation = tf.keep(tf.tensor2d(rotation, [headDim, headDim]));
  }

  /** Positions 0 … T−1, the same for every row. */
  leading(length: number): RopeSlice {
    this.grow(length);
    return this.slice((table) => reshape(slice(table, [0, 0], [length, this.headDim]), [1, 1, -1]));
  }

  /** Positions given by row: positions [P*T] int32, all below `limit`. */
  at(positions: Tensor, rows: number, limit: number): RopeSlice {
    this.grow(limit);
    return this.slice((table) => reshape(gatherRows(table, positions), [rows, 1, -1]));
  }

  /** Unscaled tables over all positions below `limit` at least: [capacity, dh] each. */
  whole(limit: number): { readonly cos: Tensor; readonly sin: Tensor } {
    this.grow(limit);
    const [, , cos, sin] = this.tables as [Tensor, Tensor, Tensor, Tensor];
    return { cos, sin };
  }

  dispose(): void {
    tf.dispose([this.rotation, ...this.tables]);
  }

  private slice(take: (table: Tensor) => Tensor): RopeSlice {
    const [cosQ, sinQ, cosK, sinK] = this.tables.map(take) as [Tensor, Tensor, Tensor, Tensor];
    return { cosQ, sinQ, cosK, sinK };
  }

  private grow(length: number): void {
    if (length <= this.capacity) return;
    let capacity = Math.max(this.capacity, 256);
    while (capacity < length) capacity *= 2;
    const { headDim, attentionFactor } = this;
    const half = headDim / 2;
    const cos = new Float32Array(capacity * headDim);
    const sin = new Float32Array(capacity * headDim);
    for (let position = 0; position < capacity; position += 1) {
      for (let i = 0; i < half; i += 1) {
        const angle = f32(position * this.frequencies[i]!);
        const at = position * headDim + i;
        cos[at] = cos[at + half] = f32(f32(Math.cos(angle)) * attentionFactor);
        sin[at] = sin[at + half] = f32(f32(Math.sin(angle)) * attentionFactor);
      }
    }
    const scale = 1 / Math.sqrt(headDim);
    const upload = (values: Float32Array) => tf.keep(tf.tensor2d(values, [capacity, headDim]));
    tf.dispose(this.tables);
    this.tables = [upload(cos.map((x) => x * scale)), upload(sin.map((x) => x * scale)), upload(cos), upload(sin)];
    this.capacity = capacity;
  }
}

/** x·cos + rotate_half(x)·sin. x [A, M, T*dh] flattened rows; cos and sin [A or 1, 1, T*dh]. */
export function rotate(x: Tensor, cos: Tensor, sin: Tensor, rotation: Tensor): Tensor {
  return scope(() => add(mul(x, cos), mul(rotateHalf(x, rotation, false), sin)));
}

/** Gradient of `rotate` with respect to x. */
export function rotateBackward(dy: Tensor, cos: Tensor, sin: Tensor, rotation: Tensor): Tensor {
  return scope(() => add(mul(dy, cos), rotateHalf(mul(dy, sin), rotation, true)));
}

/** rotate_half(x), or its inverse. */
function rotateHalf(x: Tensor, rotation: Tensor, inverse: boolean): Tensor {
  const headDim = rotation.shape[0] as number;
  return reshape(matmul(reshape(x, [-1, headDim]), rotation, false, inverse), x.shape);
}
