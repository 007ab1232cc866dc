/**
 * The arithmetic that loss formulas are written in. A formula is written once over an `Algebra<T>` and runs as float64
 * numbers on the host and as tensors inside a traced graph (src/model/train), so the two forms cannot differ.
 * Invariant: `select` picks one of two values without multiplying, so ∞·0 never arises.
 */

/** A value per token [m], or one number for all of them. */
export type Operand<T> = T | number;

/** Elementwise operations over token values. Conditions are values of the same kind: 1 where they hold, else 0. */
export interface Algebra<T> {
  add(a: Operand<T>, b: Operand<T>): T;
  sub(a: Operand<T>, b: Operand<T>): T;
  mul(a: Operand<T>, b: Operand<T>): T;
  div(a: Operand<T>, b: Operand<T>): T;
  neg(a: T): T;
  exp(a: T): T;
  /** 0 for each token. */
  zeros(like: T): T;
  sigmoid(a: T): T;
  minimum(a: Operand<T>, b: Operand<T>): T;
  maximum(a: Operand<T>, b: Operand<T>): T;
  greater(a: Operand<T>, b: Operand<T>): T;
  greaterEqual(a: Operand<T>, b: Operand<T>): T;
  equal(a: Operand<T>, b: Operand<T>): T;
  and(a: T, b: T): T;
  not(a: T): T;
  select(condition: T, yes: Operand<T>, no: Operand<T>): T;
}

/** Further operations over one whole sequence, for sequence-level losses. */
export interface SequenceAlgebra<T> extends Algebra<T> {
  /** Mean over the tokens of the sequence, for each of them. */
  mean(a: T): T;
}

/** float64 values of one sequence or of a run of tokens. */
export type Values = Float64Array;

const sizeOf = (a: Operand<Values>) => (typeof a === "number" ? 1 : a.length);
/** Values of length 1 stand for every token. */
const at = (a: Operand<Values>, i: number) => (typeof a === "number" ? a : (a[a.length === 1 ? 0 : i] as number));

function zip(a: Operand<Values>, b: Operand<Values>, of: (x: number, y: number) => number): Values {
  const [m, n] = [sizeOf(a), sizeOf(b)];
  const result = new Float64Array(m === 1 ? n : m);
  for (let i = 0; i < result.length; i += 1) result[i] = of(at(a, i), at(b, i));
  return result;
}

const flag = (holds: boolean) => (holds ? 1 : 0);

/** The algebra of the host, in float64. */
export const float64: SequenceAlgebra<Values> = {
  add: (a, b) => zip(a, b, (x, y) => x + y),
  sub: (a, b) => zip(a, b, (x, y) => x - y),
  mul: (a, b) => zip(a, b, (x, y) => x * y),
  div: (a, b) => zip(a, b, (x, y) => x / y),
  neg: (a) => a.map((x) => -x),
  exp: (a) => a.map(Math.exp),
  zeros: (like) => new Float64Array(like.length),
  sigmoid: (a) => a.map((x) => 1 / (1 + Math.exp(-x))),
  minimum: (a, b) => zip(a, b, Math.min),
  maximum: (a, b) => zip(a, b, Math.max),
  greater: (a, b) => zip(a, b, (x, y) => flag(x > y)),
  greaterEqual: (a, b) => zip(a, b, (x, y) => flag(x >= y)),
  equal: (a, b) => zip(a, b, (x, y) => flag(x === y)),
  and: (a, b) => zip(a, b, (x, y) => flag(x !== 0 && y !== 0)),
  not: (a) => a.map((x) => flag(x === 0)),
  select: (condition, yes, no) => condition.map((holds, i) => at(holds === 0 ? no : yes, i)),
  mean: (a) => a.map(() => a.reduce((sum, x) => sum + x, 0) / a.length),
};
