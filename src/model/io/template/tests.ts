/** The tests of Jinja2 3.1: what may stand behind `is`, and by name in `select` and its kin. */
import { failed, lacking } from "./fault.js";
import { isFilter } from "./filters.js";
import { binary, compare, equal } from "./operators.js";
import { show } from "./text.js";
import { textMethod } from "./text-methods.js";
import {
  Callable,
  type CallInput,
  Dict,
  Float,
  isIterable,
  isList,
  Range,
  Safe,
  Special,
  Tuple,
  Undefined,
  type Value,
} from "./values.js";

type Test = (value: Value, ...args: Value[]) => boolean;

const isBoolean = (value: Value): boolean => typeof value === "boolean";
const isCallable = (value: Value): boolean =>
  value instanceof Callable || value instanceof Undefined || (value instanceof Special && value.callable);
const isText = (value: Value): boolean => typeof value === "string" || value instanceof Safe;

const comparing =
  (operator: string): Test =>
  (value, other) =>
    compare(operator, value, other!);

const cased =
  (name: "islower" | "isupper"): Test =>
  (value) =>
    textMethod(name, () => null)!(show(value), { positional: [], named: new Map() }) === true;

/** Python's `is`. Whether equal texts or numbers are one object depends on its implementation. */
const same: Test = (value, other) => {
  const plain = (one: Value | undefined) => typeof one === "string" || typeof one === "number" || one instanceof Float;
  if (plain(value) && plain(other) && equal(value, other!)) throw lacking("sameas between equal texts or numbers");
  return value === other;
};

const TESTS: Readonly<Record<string, { readonly takes: number; readonly test: Test }>> = {
  boolean: { takes: 0, test: isBoolean },
  callable: { takes: 0, test: isCallable },
  defined: { takes: 0, test: (value) => !(value instanceof Undefined) },
  divisibleby: { takes: 1, test: (value, other) => equal(binary("%", value, other!), 0) },
  escaped: { takes: 0, test: (value) => value instanceof Safe },
  even: { takes: 0, test: (value) => equal(binary("%", value, 2), 0) },
  false: { takes: 0, test: (value) => value === false },
  filter: { takes: 0, test: (value) => typeof value === "string" && isFilter(value) },
  float: { takes: 0, test: (value) => value instanceof Float },
  in: { takes: 1, test: comparing("in") },
  integer: { takes: 0, test: (value) => typeof value === "number" },
  iterable: { takes: 0, test: isIterable },
  lower: { takes: 0, test: cased("islower") },
  mapping: { takes: 0, test: (value) => value instanceof Dict },
  none: { takes: 0, test: (value) => value === null },
  number: { takes: 0, test: (value) => isBoolean(value) || typeof value === "number" || value instanceof Float },
  odd: { takes: 0, test: (value) => equal(binary("%", value, 2), 1) },
  sameas: { takes: 1, test: same },
  sequence: {
    takes: 0,
    test: (value) =>
      isText(value) ||
      isList(value) ||
      [Tuple, Dict, Range, Undefined].some((kind) => (value as object) instanceof kind),
  },
  string: { takes: 0, test: isText },
  test: { takes: 0, test: (value) => typeof value === "string" && isTest(value) },
  true: { takes: 0, test: (value) => value === true },
  undefined: { takes: 0, test: (value) => value instanceof Undefined },
  upper: { takes: 0, test: cased("isupper") },
  ...Object.fromEntries(
    (
      [
        ["==", ["==", "eq", "equalto"]],
        ["!=", ["!=", "ne"]],
        [">", [">", "gt", "greaterthan"]],
        [">=", [">=", "ge"]],
        ["<", ["<", "lt", "lessthan"]],
        ["<=", ["<=", "le"]],
      ] as const
    ).flatMap(([operator, names]) => names.map((name) => [name, { takes: 1, test: comparing(operator) }])),
  ),
};

const isTest = (name: string): boolean => Object.hasOwn(TESTS, name);

/** Whether a value passes a test. Throws `failed` for a name that Jinja2 does not know, or wrong arguments. */
export function applyTest(name: string, value: Value, { positional, named }: CallInput): boolean {
  const found = isTest(name) ? TESTS[name] : undefined;
  if (found === undefined) throw failed(`Jinja2 has no test ${name}`);
  if (named.size > 0) throw lacking("named arguments of a test");
  if (positional.length !== found.takes)
    throw failed(`the test ${name} takes ${found.takes} arguments, got ${positional.length}`);
  return found.test(value, ...positional);
}
