/** Activation functions of the gated MLP, out = a(gate) · up, with their derivatives; everything is element by element. */
import type { ActivationName } from "../io/activation.js";
import { add, constant, erf, exp, mul, narrow, relu, sigmoid, sub, tanh, widen } from "../tensor/kernels.js";
import type { Tensor } from "../tensor/tf.js";

export interface Activated {
  /** a(g). */
  readonly y: Tensor;
  /** What the derivative reads besides g and y. */
  readonly aux: Tensor;
}

export interface Activation {
  apply(g: Tensor): Activated;
  /** a'(g). */
  slope(g: Tensor, activated: Activated): Tensor;
}

const times = (x: Tensor, factor: number): Tensor => mul(x, constant(factor));
const plus = (x: Tensor, term: number): Tensor => add(x, constant(term));

/** Factors of GELU's approximation by tanh (Hendrycks & Gimpel, arXiv 1606.08415, §2). */
const TANH_SCALE = Math.sqrt(2 / Math.PI);
const TANH_CUBIC = 0.044715;

export const ACTIVATIONS: Readonly<Record<ActivationName, Activation>> = {
  /** g·σ(g); slope σ·(1 + g·(1 − σ)) = σ·(1 + g − y). */
  silu: {
    apply(g) {
      const aux = sigmoid(g);
      return { y: mul(g, aux), aux };
    },
    slope: (g, { y, aux }) => mul(plus(sub(g, y), 1), aux),
  },
  /** g·(1 + t)/2 with t = tanh(√(2/π)·(g + 0.044715·g³)); slope (1 + t)/2 + g·(1 − t²)·√(2/π)·(1 + 3·0.044715·g²)/2. */
  gelu_tanh: {
    apply(gate) {
      const g = widen(gate);
      const aux = tanh(times(mul(g, plus(times(mul(g, g), TANH_CUBIC), 1)), TANH_SCALE));
      return { y: mul(g, times(plus(aux, 1), 0.5)), aux };
    },
    slope(gate, { aux }) {
      const g = widen(gate);
      const inner = times(plus(times(mul(g, g), 3 * TANH_CUBIC), 1), TANH_SCALE / 2);
      return add(times(plus(aux, 1), 0.5), mul(mul(g, inner), plus(times(mul(aux, aux), -1), 1)));
    },
  },
  /** g·Φ(g) with the normal distribution Φ; slope Φ + g·φ. */
  gelu: {
    apply(gate) {
      const g = widen(gate);
      const aux = times(plus(erf(times(g, Math.SQRT1_2)), 1), 0.5);
      return { y: mul(g, aux), aux };
    },
    slope(gate, { aux }) {
      const g = widen(gate);
      return add(aux, mul(g, times(exp(times(mul(g, g), -0.5)), 1 / Math.sqrt(2 * Math.PI))));
    },
  },
  /** max(g, 0)²; slope 2·max(g, 0). */
  relu2: {
    apply(gate) {
      const aux = relu(widen(gate));
      return { y: mul(aux, aux), aux };
    },
    slope: (_, { aux }) => times(aux, 2),
  },
};

/** a(gate)·up in the type of the products. */
export function gated(name: ActivationName, gate: Tensor, up: Tensor): Tensor {
  return narrow(mul(ACTIVATIONS[name].apply(widen(gate)).y, widen(up)));
}

/** Gradients of `gated`, and its value again. */
export function gatedBackward(name: ActivationName, dAct: Tensor, gate: Tensor, up: Tensor) {
  const { apply, slope } = ACTIVATIONS[name];
  const [dy, g, u] = [widen(dAct), widen(gate), widen(up)];
  const activated = apply(g);
  return {
    dGate: narrow(mul(mul(dy, u), slope(g, activated))),
    dUp: narrow(mul(dy, activated.y)),
    act: narrow(mul(activated.y, u)),
  };
}
