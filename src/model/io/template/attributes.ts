/**
 * `value.name` and `value[key]` as Jinja2's sandbox resolves them: `.name` asks Python's attributes first and items
 * second, `[key]` the other way round. What changes a list or dict is refused, as transformers' sandbox refuses it.
 */
import { bind } from "./arguments.js";
import { failed, lacking } from "./fault.js";
import { elementAt, equal } from "./operators.js";
import { textRepr } from "./text.js";
import { textMethod } from "./text-methods.js";
import {
  Callable,
  type CallInput,
  Dict,
  Float,
  isList,
  Lazy,
  Namespace,
  numberOf,
  orElse,
  Range,
  Safe,
  Special,
  Tuple,
  typeName,
  Undefined,
  undefinedFault,
  type Value,
  View,
} from "./values.js";

/** Methods that change their object; calling one is a SecurityError in transformers. */
const CHANGING = {
  list: new Set(["append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"]),
  dict: new Set(["clear", "pop", "popitem", "setdefault", "update"]),
} as const;

/** Attributes of numbers, generators and so on, which no template has a use for. */
const OTHER_ATTRIBUTES: Readonly<Record<string, readonly string[]>> = {
  int: [
    "as_integer_ratio",
    "bit_count",
    "bit_length",
    "conjugate",
    "denominator",
    "from_bytes",
    "imag",
    "numerator",
    "real",
    "to_bytes",
  ],
  float: ["as_integer_ratio", "conjugate", "fromhex", "hex", "imag", "is_integer", "real"],
  generator: ["close", "send", "throw"],
  range: ["count", "index"],
  dict_keys: ["isdisjoint", "mapping"],
  dict_values: ["mapping"],
  dict_items: ["isdisjoint", "mapping"],
};

const method = (name: string, call: (input: CallInput) => Value): Callable => new Callable(name, call);

function changing(kind: "list" | "dict", name: string): Callable {
  return method(name, () => {
    throw failed(`${kind}.${name} changes its object, which the sandbox for chat templates forbids`);
  });
}

function sequenceMethod(items: readonly Value[], name: string): Value | undefined {
  if (name === "count")
    return method(name, (input) => {
      const wanted = bind("count", input, ["value", "/"]).value("value");
      return items.filter((item) => equal(item, wanted)).length;
    });
  if (name === "index")
    return method(name, (input) => {
      const bound = bind("index", input, ["value", "start", "stop", "/"]);
      if (bound.has("start")) throw lacking("the method index with a start");
      const wanted = bound.value("value");
      const index = items.findIndex((item) => equal(item, wanted));
      if (index < 0) throw failed("the value that index looks for is not in the list");
      return index;
    });
  return undefined;
}

function listMethod(items: readonly Value[], name: string): Value | undefined {
  if (CHANGING.list.has(name)) return changing("list", name);
  if (name === "copy") return method(name, () => [...items]);
  return sequenceMethod(items, name);
}

function dictMethod(dict: Dict, name: string): Value | undefined {
  if (CHANGING.dict.has(name)) return changing("dict", name);
  switch (name) {
    case "keys":
    case "values":
    case "items":
      return method(name, (input) => {
        bind(name, input, []);
        return new View(name, dict);
      });
    case "get":
      return method(name, (input) => {
        const bound = bind("get", input, ["key", "default", "/"]);
        return orElse(dict.get(bound.value("key")), bound.value("default", null));
      });
    case "copy":
      return method(name, () => new Dict(dict.entries()));
    case "fromkeys":
      throw lacking("the method fromkeys of a dict");
    default:
      return undefined;
  }
}

const resolveForFormat = (value: Value, name: string, isItem: boolean): Value =>
  isItem ? item(value, /^\d+$/.test(name) ? Number(name) : name) : attribute(value, name);

/** Python's attribute of a value, or undefined where it has none. */
export function pythonAttribute(value: Value, name: string): Value | undefined {
  if (name.startsWith("__")) throw lacking(`the attribute ${name}`);
  if (typeof value === "string") {
    const found = textMethod(name, resolveForFormat);
    return found === undefined ? undefined : method(name, (input) => found(value, input));
  }
  if (value instanceof Dict) return dictMethod(value, name);
  if (isList(value)) return listMethod(value, name);
  if (value instanceof Tuple) {
    const field = value.fields.indexOf(name);
    return field >= 0 ? value.items[field] : sequenceMethod(value.items, name);
  }
  if (value instanceof Namespace) return value.attributes.get(name);
  if (value instanceof Special) return value.attribute(name);
  if (value instanceof Safe) throw lacking("methods of text that was escaped or marked safe");
  if (value instanceof Range && ["start", "stop", "step"].includes(name)) return value[name as "start"];
  const kind = typeof value === "boolean" ? "int" : typeName(value);
  if (OTHER_ATTRIBUTES[kind]?.includes(name)) throw lacking(`the attribute ${name} of a ${kind}`);
  return undefined;
}

/** Python's `value[key]`, or undefined where it raises a TypeError or LookupError. */
function pythonItem(value: Value, key: Value): Value | undefined {
  if (value instanceof Dict) {
    if (isList(key) || key instanceof Dict) return undefined;
    return value.get(key);
  }
  if (value instanceof Safe) throw lacking("items of text that was escaped or marked safe");
  const isSequence = typeof value === "string" || isList(value) || value instanceof Tuple || value instanceof Range;
  if (!isSequence || key instanceof Float) return undefined;
  const index = numberOf(key);
  return index === undefined ? undefined : elementAt(value, index);
}

function missing(value: Value, key: Value): Undefined {
  const name = typeof key === "string" ? textRepr(key) : String(key);
  if (value === null) return new Undefined(`None has no attribute ${name}`);
  if (typeof key !== "string") return new Undefined(`the ${typeName(value)} has no element ${name}`);
  return new Undefined(`a ${typeName(value)} has no attribute ${name}`);
}

/** `value.name`. Throws `failed` for an undefined value. */
export function attribute(value: Value, name: string): Value {
  if (value instanceof Undefined) throw undefinedFault(value);
  return orElse(orElse(pythonAttribute(value, name), pythonItem(value, name)), missing(value, name));
}

/** `value[key]`. Throws `failed` for an undefined value. */
export function item(value: Value, key: Value): Value {
  if (value instanceof Undefined) throw undefinedFault(value);
  if (value instanceof Lazy || value instanceof Callable) {
    if (typeof key !== "string") return missing(value, key);
  }
  const found = pythonItem(value, key);
  if (found !== undefined) return found;
  const text = key instanceof Safe ? key.text : key;
  return orElse(typeof text === "string" ? pythonAttribute(value, text) : undefined, missing(value, key));
}
