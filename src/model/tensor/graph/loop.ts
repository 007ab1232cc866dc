/**
 * A while loop inside a traced graph, in TensorFlow's control-flow operations (Enter, Merge, Switch, NextIteration, Exit).
 * Values from outside that the body reads enter once and are the same in every iteration.
 */
import type { Tensor } from "../tf.js";
import { type Frame, openTrace, type Tracer } from "./tracer.js";
import { type Attributes, boolOf, type GraphValue, intOf } from "./values.js";

let loops = 0;

/** Iterations never overlap: each depends on the one before, and overlapping would only take more memory. */
const ONE_AT_A_TIME = intOf(1);

/**
 * Runs `body` while `proceed` holds. Variables keep their shapes and types; `proceed` gives a scalar bool.
 * Returns the variables after the last iteration. Inside a trace only; loops do not nest.
 */
export function whileLoop(
  variables: readonly Tensor[],
  proceed: (variables: readonly Tensor[]) => Tensor,
  body: (variables: readonly Tensor[]) => readonly Tensor[],
): Tensor[] {
  const tracer = openTrace();
  loops += 1;
  const name = `loop_${loops}`;
  const enter = (value: GraphValue, constant: boolean) => {
    const attributes: Attributes = {
      frame_name: { kind: "string", value: name },
      is_constant: boolOf(constant),
      parallel_iterations: ONE_AT_A_TIME,
    };
    const made = tracer.graph.add("Enter", [value], attributes)[0] as GraphValue;
    return { ...made, constant: value.constant };
  };
  const frame = frameOf(enter);
  const starts = variables.map((variable) => tracer.valueOf(variable));
  const merges = starts.map((start) => tracer.graph.add("Merge", [enter(start, false)])[0] as GraphValue);
  for (const merge of merges) frame.inside.add(merge.node);
  tracer.frame = frame;
  try {
    const condition = tracer.valueOf(proceed(merges.map((merge) => tracer.tensor(merge))));
    const go = inside(tracer, frame, "LoopCond", [condition])[0] as GraphValue;
    const switches = merges.map((merge) => inside(tracer, frame, "Switch", [merge, go]));
    const results = body(switches.map(([, kept]) => tracer.tensor(kept as GraphValue)));
    results.forEach((result, index) => {
      const value = frame.bring(tracer.valueOf(result));
      const next = inside(tracer, frame, "NextIteration", [value])[0] as GraphValue;
      tracer.graph.addInput((merges[index] as GraphValue).node, next);
    });
    tracer.frame = null;
    return switches.map(([left]) => tracer.tensor(tracer.graph.add("Exit", [left as GraphValue])[0] as GraphValue));
  } finally {
    tracer.frame = null;
  }
}

function frameOf(enter: (value: GraphValue, constant: boolean) => GraphValue): Frame {
  const inside = new Set<string>();
  const brought = new Map<string, GraphValue>();
  return {
    inside,
    casts: new Map(),
    bring(value) {
      if (inside.has(value.node)) return value;
      const key = `${value.node}:${value.output}`;
      let entered = brought.get(key);
      if (entered === undefined) {
        entered = enter(value, true);
        inside.add(entered.node);
        brought.set(key, entered);
      }
      return entered;
    },
  };
}

function inside(tracer: Tracer, frame: Frame, op: string, inputs: readonly GraphValue[]): GraphValue[] {
  const made = tracer.graph.add(op, inputs);
  for (const value of made) frame.inside.add(value.node);
  return made;
}

/** One of two branches, chosen by a scalar bool while the graph runs; branches read `inputs` and give one value. */
export function condition(
  predicate: Tensor,
  inputs: readonly Tensor[],
  yes: (inputs: readonly Tensor[]) => Tensor,
  no: (inputs: readonly Tensor[]) => Tensor,
): Tensor {
  const tracer = openTrace();
  const choice = tracer.valueOf(predicate);
  const switches = inputs.map((input) => tracer.addRaw("Switch", [tracer.valueOf(input), choice]));
  const branch = (side: 0 | 1) => switches.map((outputs) => tracer.tensor(outputs[side] as GraphValue));
  const results = [no(branch(0)), yes(branch(1))].map((result) => tracer.valueOf(result));
  return tracer.tensor(tracer.addRaw("Merge", results)[0] as GraphValue);
}
