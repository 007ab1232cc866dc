/**
 * Owns how weir's own operations are called: inputs and attributes by name to a node of the open trace, or to a single call
 * where none is open. The wrappers that call it are generated.
 */
import { WeirError } from "../../../errors.js";
import { traceAtWork } from "../graph/tracer.js";
import { type AttributeValue, floatOf, intOf, typeOf } from "../graph/values.js";
import { intAttribute, runOp, type Tensor, tf } from "../tf.js";
import type { FloatType, OwnInput, OwnOperation, OwnOutput } from "./declaration.js";
import { operationOf } from "./table.js";

type Inputs = Readonly<Record<string, Tensor | null | readonly Tensor[]>>;

const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** Runs or emits one operation; inputs and outputs by the names of the declaration. */
export function run(
  name: string,
  inputs: Inputs,
  given: Readonly<Record<string, number | FloatType>>,
): Record<string, Tensor | readonly Tensor[]> {
  const operation = operationOf(name);
  const trace = traceAtWork();
  const list = operation.inputs.find(({ list }) => list);
  const count = list === undefined ? 0 : (inputs[camel(list.name)] as readonly Tensor[]).length;
  const numbers = Object.entries(operation.attributes).flatMap(([attribute, type]): [string, AttributeValue][] => {
    if (type === "count") return [[attribute, intOf(count)]];
    const value = given[camel(attribute)];
    if (value === undefined) return [];
    if (type === "type") return [[attribute, typeOf(value as FloatType)]];
    return [[attribute, type === "int" ? intOf(value as number) : floatOf(value as number)]];
  });
  if (trace === null) return eager(name, operation, inputs, numbers);
  const narrowed = (type: string) => type !== "float" && type !== "int32";
  const empty = ({ type }: OwnInput): Tensor => {
    if (type === "int32") return tf.zeros([0], "int32");
    const none = trace.constant([], [0], "float32");
    return narrowed(type) ? trace.cast(none, trace.products) : none;
  };
  const values = operation.inputs.flatMap((input) => {
    const value = inputs[camel(input.name)];
    const tensors = Array.isArray(value) ? (value as readonly Tensor[]) : [(value as Tensor | null) ?? empty(input)];
    return tensors.map((tensor) => trace.valueOf(tensor));
  });
  const made = trace.addOwn(name, values, Object.fromEntries(numbers)).map((value) => trace.tensor(value));
  let at = 0;
  return Object.fromEntries(
    operation.outputs.map(({ name: output, list: many }) => {
      const next = many ? made.slice(at, at + count) : (made[at] as Tensor);
      at += many ? count : 1;
      return [camel(output), next];
    }),
  );
}

/** A single call of an operation with whole numbers and one output, which is all that is called so. */
function eager(
  name: string,
  operation: OwnOperation,
  inputs: Inputs,
  numbers: readonly (readonly [string, AttributeValue])[],
): Record<string, Tensor> {
  const [output, ...more] = operation.outputs;
  const attributes = numbers.map(([attribute, value]) => {
    if (value.kind !== "int" || more.length > 0)
      throw new WeirError("WEIR_E_STATE", `${name} was called while no trace was open`);
    return intAttribute(attribute, value.value);
  });
  const tensors = operation.inputs.flatMap(({ name: input }) => (inputs[camel(input)] ?? []) as Tensor | Tensor[]);
  return { [camel((output as OwnOutput).name)]: runOp(name, attributes, tensors) };
}
