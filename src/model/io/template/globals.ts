/** The functions that every chat template can call: Jinja2's globals and the two that transformers adds. */
import { bind } from "./arguments.js";
import { failed, lacking, TemplateFault } from "./fault.js";
import { strftime } from "./strftime.js";
import { show } from "./text.js";
import { Callable, type CallInput, Dict, iterate, Namespace, Range, Special, typeName, type Value } from "./values.js";

/** Largest range of Jinja2's sandbox. */
const MAX_RANGE = 100_000;

function range(input: CallInput): Value {
  const bound = bind("range", input, ["start", "stop", "step", "/"]);
  const given = input.positional.length;
  const start = given < 2 ? 0 : bound.whole("start");
  const stop = given < 2 ? bound.whole("start") : bound.whole("stop");
  const step = bound.whole("step", 1);
  if (step === 0) throw failed("the step of range is 0");
  const result = new Range(start, stop, step);
  if (result.length > MAX_RANGE) throw failed(`a range is limited to ${MAX_RANGE} numbers`);
  return result;
}

function entriesOf({ positional, named }: CallInput, what: string): (readonly [Value, Value])[] {
  if (positional.length > 1) throw failed(`${what} takes one positional argument`);
  const [source] = positional;
  const pairs: (readonly [Value, Value])[] =
    source === undefined
      ? []
      : source instanceof Dict
        ? source.entries()
        : Array.from(iterate(source), (pair) => {
            const items = [...iterate(pair)];
            if (items.length !== 2) throw failed(`${what} needs pairs`);
            return [items[0]!, items[1]!] as const;
          });
  return [...pairs, ...named];
}

function namespace(input: CallInput): Value {
  const made = new Namespace();
  for (const [name, value] of entriesOf(input, "namespace")) setMember(made, show(name), value);
  return made;
}

/** `{% set ns.name = value %}`. transformers refuses names that begin with an underscore. */
export function setMember(target: Value | undefined, name: string, value: Value): void {
  if (!(target instanceof Namespace))
    throw failed(
      `only a namespace() takes attributes, not a ${target === undefined ? "missing name" : typeName(target)}`,
    );
  if (name.startsWith("_")) throw failed(`a namespace takes no name with an underscore first, got ${name}`);
  target.attributes.set(name, value);
}

class Cycler extends Special {
  readonly kind = "Cycler";
  #position = 0;

  constructor(private readonly items: readonly Value[]) {
    super();
  }

  attribute(name: string): Value | undefined {
    if (name === "current") return this.items[this.#position];
    if (name === "items") throw lacking("cycler.items");
    if (name === "pos") return this.#position;
    const act = (compute: () => Value) => new Callable(name, compute);
    if (name === "next")
      return act(() => {
        const current = this.items[this.#position]!;
        this.#position = (this.#position + 1) % this.items.length;
        return current;
      });
    if (name === "reset")
      return act(() => {
        this.#position = 0;
        return null;
      });
    return undefined;
  }
}

class Joiner extends Special {
  readonly kind = "Joiner";
  override readonly callable = true;
  #used = false;

  constructor(private readonly separator: Value) {
    super();
  }

  attribute(name: string): Value | undefined {
    if (name === "sep") return this.separator;
    return name === "used" ? this.#used : undefined;
  }

  override call(): Value {
    if (this.#used) return this.separator;
    this.#used = true;
    return "";
  }
}

/** `now` is read when a template asks for the date. */
export function globalFunctions(now: () => Date): ReadonlyMap<string, Value> {
  const functions: Record<string, (input: CallInput) => Value> = {
    range,
    dict: (input) => new Dict(entriesOf(input, "dict")),
    namespace,
    cycler: ({ positional }) => {
      if (positional.length === 0) throw failed("cycler needs at least one item");
      return new Cycler(positional);
    },
    joiner: (input) => new Joiner(bind("joiner", input, ["sep"]).value("sep", ", ")),
    lipsum: () => {
      throw lacking("the function lipsum");
    },
    raise_exception: (input) => {
      const message = bind("raise_exception", input, ["message"]).value("message");
      throw new TemplateFault("raised", show(message));
    },
    strftime_now: (input) => strftime(now(), bind("strftime_now", input, ["format"]).text("format")),
  };
  return new Map(Object.entries(functions).map(([name, call]) => [name, new Callable(name, call)]));
}
