/** Filters of Jinja2 that work on sequences: sorting, grouping, mapping, selecting. */
import { bind } from "./arguments.js";
import { item } from "./attributes.js";
import { failed, lacking } from "./fault.js";
import type { Filter, FilterContext } from "./filter.js";
import { binary, equal, order } from "./operators.js";
import { show } from "./text.js";
import {
  type CallInput,
  Dict,
  isIterable,
  isList,
  isTrue,
  iterate,
  Lazy,
  lengthOf,
  orElse,
  Safe,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.js";

type Getter = (value: Value) => Value;

const ignoreCase: Getter = (value) =>
  typeof value === "string" ? value.toLowerCase() : value instanceof Safe ? value.text.toLowerCase() : value;

/** `make_attrgetter`: a path of names and indices with dots. A default that is not None stands for what is missing. */
function getter(attribute: Value, after: Getter = (value) => value, fallback: Value = null): Getter {
  const parts: Value[] =
    attribute === null
      ? []
      : typeof attribute === "string"
        ? attribute.split(".").map((part) => (/^\d+$/.test(part) ? Number(part) : part))
        : [attribute];
  return (value) => {
    let found = value;
    for (const part of parts) {
      found = item(found, part);
      if (fallback !== null && found instanceof Undefined) found = fallback;
    }
    return after(found);
  };
}

function compareOrFail(left: Value, right: Value): number {
  const result = order(left, right);
  if (Number.isNaN(result)) throw lacking("sorting NaN");
  return result;
}

/** Python's `sorted`: stable, also in reverse. */
function sorted(values: Iterable<Value>, key: Getter, reverse: boolean): Value[] {
  const keyed = Array.from(values, (value) => ({ value, key: key(value) }));
  keyed.sort((a, b) => (reverse ? compareOrFail(b.key, a.key) : compareOrFail(a.key, b.key)));
  return keyed.map(({ value }) => value);
}

const lazily = (make: () => Generator<Value>): Lazy => new Lazy(make());

const sort: Filter = (value, input) => {
  const bound = bind("sort", input, ["reverse", "case_sensitive", "attribute"]);
  const attribute = bound.value("attribute", null);
  const parts = typeof attribute === "string" ? attribute.split(",") : [attribute];
  const after = bound.flag("case_sensitive", false) ? undefined : ignoreCase;
  const getters = parts.map((part) => getter(part, after));
  return sorted(iterate(value), (one) => getters.map((get) => get(one)), bound.flag("reverse", false));
};

const dictsort: Filter = (value, input) => {
  const bound = bind("dictsort", input, ["case_sensitive", "by", "reverse"]);
  const by = bound.text("by", "key");
  if (by !== "key" && by !== "value") throw failed("dictsort sorts by key or value");
  if (!(value instanceof Dict)) throw failed(`dictsort needs a dict, got a ${typeName(value)}`);
  const after: Getter = bound.flag("case_sensitive", false) ? (one) => one : ignoreCase;
  const pairs = value.entries().map((entry) => new Tuple(entry));
  return sorted(pairs, (pair) => after((pair as Tuple).items[by === "key" ? 0 : 1]!), bound.flag("reverse", false));
};

const unique: Filter = (value, input) => {
  const bound = bind("unique", input, ["case_sensitive", "attribute"]);
  const get = getter(bound.value("attribute", null), bound.flag("case_sensitive", false) ? undefined : ignoreCase);
  return lazily(function* () {
    const seen: Value[] = [];
    for (const one of iterate(value)) {
      const key = get(one);
      if (isList(key) || key instanceof Dict) throw failed(`a ${typeName(key)} cannot be compared by unique`);
      if (seen.some((other) => equal(other, key))) continue;
      seen.push(key);
      yield one;
    }
  });
};

function extreme(wanted: -1 | 1): Filter {
  return (value, input) => {
    const bound = bind(wanted < 0 ? "min" : "max", input, ["case_sensitive", "attribute"]);
    const get = getter(bound.value("attribute", null), bound.flag("case_sensitive", false) ? undefined : ignoreCase);
    let best: { value: Value; key: Value } | null = null;
    for (const one of iterate(value)) {
      const key = get(one);
      if (best === null || compareOrFail(key, best.key) === wanted) best = { value: one, key };
    }
    return best === null ? new Undefined("there is no smallest or largest item of nothing") : best.value;
  };
}

const groupby: Filter = (value, input) => {
  const bound = bind("groupby", input, ["attribute", "default", "case_sensitive"]);
  const attribute = bound.value("attribute");
  const fallback = bound.value("default", null);
  const sensitive = bound.flag("case_sensitive", false);
  const get = getter(attribute, sensitive ? undefined : ignoreCase, fallback);
  const shown = getter(attribute, undefined, fallback);
  const groups: { key: Value; items: Value[] }[] = [];
  for (const one of sorted(iterate(value), get, false)) {
    const key = get(one);
    const last = groups.at(-1);
    if (last !== undefined && equal(last.key, key)) last.items.push(one);
    else groups.push({ key, items: [one] });
  }
  return groups.map(({ key, items }) => new Tuple([sensitive ? key : shown(items[0]!), items], ["grouper", "list"]));
};

const sum: Filter = (value, input) => {
  const bound = bind("sum", input, ["attribute", "start"]);
  const attribute = bound.value("attribute", null);
  const get = getter(attribute);
  let total = bound.value("start", 0);
  if (typeof total === "string") throw failed("sum cannot add texts");
  for (const one of iterate(value)) total = binary("+", total, get(one));
  return total;
};

const join: Filter = (value, input) => {
  const bound = bind("join", input, ["d", "attribute"]);
  const attribute = bound.value("attribute", null);
  const get = getter(attribute);
  return Array.from(iterate(value), (one) => show(get(one))).join(show(bound.value("d", "")));
};

const map: Filter = (value, input, context) =>
  lazily(function* () {
    if (!isTrue(value)) return;
    const apply = mapper(input, context);
    for (const one of iterate(value)) yield apply(one);
  });

function mapper({ positional, named }: CallInput, context: FilterContext): Getter {
  const attribute = named.get("attribute");
  if (positional.length === 0 && attribute !== undefined) {
    for (const name of named.keys())
      if (name !== "attribute" && name !== "default") throw failed(`map takes no argument ${name}`);
    return getter(attribute, undefined, named.get("default") ?? null);
  }
  const [name, ...rest] = positional;
  if (typeof name !== "string") throw failed("map needs the name of a filter, or attribute=");
  return (value) => context.applyFilter(name, value, { positional: rest, named });
}

/** select, reject, selectattr, rejectattr. */
function selecting(wanted: boolean, byAttribute: boolean): Filter {
  return (value, input, context) =>
    lazily(function* () {
      if (!isTrue(value)) return;
      const positional = [...input.positional];
      let get: Getter = (one) => one;
      if (byAttribute) {
        const attribute = positional.shift();
        if (attribute === undefined) throw failed("selectattr and rejectattr need the name of an attribute");
        get = getter(attribute);
      }
      const name = positional.shift();
      if (name !== undefined && typeof name !== "string") throw failed("select and reject need the name of a test");
      const test = (one: Value): boolean =>
        name === undefined ? isTrue(one) : context.applyTest(name, one, { positional, named: input.named });
      for (const one of iterate(value)) if (test(get(one)) === wanted) yield one;
    });
}

const batch: Filter = (value, input) => {
  const bound = bind("batch", input, ["linecount", "fill_with"]);
  const size = bound.whole("linecount");
  const fill = bound.value("fill_with", null);
  return lazily(function* () {
    let row: Value[] = [];
    for (const one of iterate(value)) {
      if (row.length === size) {
        yield row;
        row = [];
      }
      row.push(one);
    }
    if (row.length === 0) return;
    while (fill !== null && row.length < size) row.push(fill);
    yield row;
  });
};

const slices: Filter = (value, input) => {
  const bound = bind("slice", input, ["slices", "fill_with"]);
  const count = bound.whole("slices");
  const fill = bound.value("fill_with", null);
  return lazily(function* () {
    const items = [...iterate(value)];
    const size = Math.floor(items.length / count);
    const extra = items.length % count;
    let offset = 0;
    for (let index = 0; index < count; index += 1) {
      const start = offset + index * size;
      if (index < extra) offset += 1;
      const part = items.slice(start, offset + (index + 1) * size);
      if (fill !== null && index >= extra) part.push(fill);
      yield part;
    }
  });
};

const first: Filter = (value, input) => {
  bind("first", input, []);
  const next = iterate(value)[Symbol.iterator]().next();
  return next.done === true ? new Undefined("there is no first item of nothing") : next.value;
};

const last: Filter = (value, input) => {
  bind("last", input, []);
  if (value instanceof Lazy) throw failed("a generator has no last item");
  return orElse([...iterate(value)].at(-1), new Undefined("there is no last item of nothing"));
};

const reverse: Filter = (value, input) => {
  bind("reverse", input, []);
  if (typeof value === "string" || value instanceof Safe) return [...show(value)].reverse().join("");
  if (!isIterable(value)) throw failed(`a ${typeName(value)} cannot be reversed`);
  const items = [...iterate(value)].reverse();
  return value instanceof Lazy ? items : new Lazy(items[Symbol.iterator]());
};

const items: Filter = (value, input) => {
  bind("items", input, []);
  if (value instanceof Undefined) return new Lazy([][Symbol.iterator]());
  if (!(value instanceof Dict)) throw failed(`the filter items needs a dict, got a ${typeName(value)}`);
  return new Lazy(
    value
      .entries()
      .map((entry) => new Tuple(entry))
      [Symbol.iterator](),
  );
};

const length: Filter = (value, input) => {
  bind("length", input, []);
  return lengthOf(value);
};

const list: Filter = (value, input) => {
  bind("list", input, []);
  return [...iterate(value)];
};

export const SEQUENCE_FILTERS: Readonly<Record<string, Filter>> = {
  batch,
  count: length,
  dictsort,
  first,
  groupby,
  items,
  join,
  last,
  length,
  list,
  map,
  max: extreme(1),
  min: extreme(-1),
  reject: selecting(false, false),
  rejectattr: selecting(false, true),
  reverse,
  select: selecting(true, false),
  selectattr: selecting(true, true),
  slice: slices,
  sort,
  sum,
  unique,
};
