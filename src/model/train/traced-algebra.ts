/** The algebra of loss formulas over tensors: the formulas of src/losses as operations of a graph. Conditions are boolean tensors. */
import type { Algebra, Operand } from "../../losses/algebra.js";
import { type Tensor, tf } from "../tensor/tf.js";

const tensor = (a: Operand<Tensor>): Tensor => (typeof a === "number" ? tf.scalar(a) : a);

export const traced: Algebra<Tensor> = {
  add: (a, b) => tf.add(tensor(a), tensor(b)),
  sub: (a, b) => tf.sub(tensor(a), tensor(b)),
  mul: (a, b) => tf.mul(tensor(a), tensor(b)),
  div: (a, b) => tf.div(tensor(a), tensor(b)),
  neg: (a) => tf.neg(a),
  exp: (a) => tf.exp(a),
  sigmoid: (a) => tf.sigmoid(a),
  zeros: (like) => tf.zerosLike(like),
  minimum: (a, b) => tf.minimum(tensor(a), tensor(b)),
  maximum: (a, b) => tf.maximum(tensor(a), tensor(b)),
  greater: (a, b) => tf.greater(tensor(a), tensor(b)),
  greaterEqual: (a, b) => tf.greaterEqual(tensor(a), tensor(b)),
  equal: (a, b) => tf.equal(tensor(a), tensor(b)),
  and: (a, b) => tf.logicalAnd(a, b),
  not: (a) => tf.logicalNot(a),
  select: (condition, yes, no) => tf.where(condition, tensor(yes), tensor(no)),
};
