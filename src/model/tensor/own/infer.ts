/** Owns shapes and types of what weir's own operations give, from their declarations. */
import type { OutputSpec } from "../graph/operations.js";
import type { AttributeValue, GraphDtype, GraphValue } from "../graph/values.js";
import { bindSizes, type Sizes, shapeOf } from "./sizes.js";
import { operationOf } from "./table.js";

const empty = (value: GraphValue | undefined) => value?.shape.length === 1 && value.shape[0] === 0;

/**
 * Shapes and types of an operation's outputs. Throws WEIR_E_SHAPE where an input does not fit the declaration: graphs hold no
 * unchecked shape.
 */
export function inferOwn(
  name: string,
  values: readonly GraphValue[],
  attributes: Readonly<Record<string, AttributeValue>>,
): readonly OutputSpec[] {
  const operation = operationOf(name);
  const int = (attribute: string) => {
    const found = attributes[attribute];
    return found?.kind === "int" ? found.value : 0;
  };
  const lists = operation.inputs.filter(({ list }) => list).length;
  const count = lists === 0 ? 0 : (values.length - (operation.inputs.length - lists)) / lists;
  const sizes: Sizes = new Map([["K", count]]);
  for (const [attribute, type] of Object.entries(operation.attributes)) {
    if (type === "int" || type === "float") sizes.set(attribute, int(attribute));
  }
  const byName = new Map<string, readonly GraphValue[]>();
  let at = 0;
  for (const input of operation.inputs) {
    const own = values.slice(at, at + (input.list ? count : 1));
    at += input.list ? count : 1;
    byName.set(input.name, own);
  }
  const present = operation.inputs.flatMap(({ name: input, shape, optional }) =>
    shape === undefined || (optional && empty(byName.get(input)?.[0]))
      ? []
      : (byName.get(input) ?? []).map((value) => ({ name: input, declared: shape, actual: value.shape })),
  );
  bindSizes(name, present, operation.sizes, sizes);
  const columns = (input: string) => (byName.get(input) ?? []).reduce((sum, { shape }) => sum + (shape.at(-1) ?? 0), 0);
  const dtype = (type: string): GraphDtype => {
    if (type === "float") return "float32";
    if (type === "int32") return "int32";
    const told = attributes[type];
    if (told?.kind === "type") return told.value;
    return values[operation.types[type] ?? -1]?.dtype ?? "float32";
  };
  return operation.outputs.flatMap((output): OutputSpec[] => {
    const one = dtype(output.type);
    const likes = output.like === undefined ? null : (byName.get(output.like) ?? []);
    if (likes !== null) return likes.map(({ shape }) => ({ shape, dtype: one }));
    if (output.when !== undefined && int(output.when) !== 1) return [{ shape: [0], dtype: one }];
    return [{ shape: shapeOf(name, output.shape as string, sizes, columns), dtype: one }];
  });
}
