/** Matches the arguments of a call with the parameters of a function that Python defines. */
import { failed } from "./fault.js";
import { wholeOf } from "./operators.js";
import { type CallInput, isTrue, orElse, Safe, typeName, Undefined, undefinedFault, type Value } from "./values.js";

export class Bound {
  constructor(
    private readonly what: string,
    private readonly values: ReadonlyMap<string, Value>,
  ) {}

  has(name: string): boolean {
    return this.values.has(name);
  }

  /** The argument, or `fallback` where it was not given. */
  value(name: string, fallback?: Value): Value {
    const value = orElse(this.values.get(name), fallback);
    if (value === undefined) throw failed(`${this.what} needs the argument ${name}`);
    return value;
  }

  flag(name: string, fallback: boolean): boolean {
    return isTrue(this.value(name, fallback));
  }

  text(name: string, fallback?: string): string {
    return textOf(this.value(name, fallback), `${name} of ${this.what}`);
  }

  whole(name: string, fallback?: number): number {
    return wholeOf(this.value(name, fallback), `${name} of ${this.what}`);
  }

  /** A whole number, or null for None or nothing. */
  wholeOrNull(name: string): number | null {
    return this.value(name, null) === null ? null : this.whole(name);
  }
}

/** The text in a str. Throws `failed` for anything else. */
export function textOf(value: Value, what: string): string {
  if (typeof value === "string") return value;
  if (value instanceof Safe) return value.text;
  if (value instanceof Undefined) throw undefinedFault(value);
  throw failed(`${what} must be text, got a ${typeName(value)}`);
}

/**
 * Arguments by name. `parameters` are in the function's order; from "/" on the left they take no name, from "*" on they
 * take nothing but a name.
 */
export function bind(what: string, input: CallInput, parameters: readonly string[]): Bound {
  const star = parameters.indexOf("*");
  const byPosition = (star === -1 ? parameters : parameters.slice(0, star)).filter((name) => name !== "/");
  const nameless = new Set(parameters.slice(0, Math.max(0, parameters.indexOf("/"))));
  if (input.positional.length > byPosition.length)
    throw failed(`${what} takes ${byPosition.length} arguments, got ${input.positional.length}`);
  const values = new Map<string, Value>(input.positional.map((value, index) => [byPosition[index]!, value]));
  for (const [name, value] of input.named) {
    if (!parameters.includes(name) || nameless.has(name) || name === "*" || name === "/")
      throw failed(`${what} takes no argument ${name}`);
    if (values.has(name)) throw failed(`${what} was given ${name} twice`);
    values.set(name, value);
  }
  return new Bound(what, values);
}
