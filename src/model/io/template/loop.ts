/** The variable `loop` of a for statement: where it is, and what comes before and after. Items are read one at a time. */
import { bind } from "./arguments.js";
import { failed } from "./fault.js";
import { equal } from "./operators.js";
import { Callable, type CallInput, Lazy, lengthOf, orElse, Special, Undefined, type Value } from "./values.js";

export class Loop extends Special {
  readonly kind = "LoopContext";
  override readonly callable = true;
  index0 = -1;
  #current: Value | undefined;
  #before: Value | undefined;
  #ahead: Value[] = [];
  #length: number | null = null;
  #changed: readonly Value[] | null = null;

  constructor(
    private readonly iterator: Iterator<Value>,
    /** The thing itself, where its length is that of the loop. */
    private readonly sized: Value | null,
    private readonly depth0: number,
    /** Renders the loop's body for other items; null unless the loop is recursive. */
    private readonly recurse: ((items: Value, depth0: number) => string) | null,
  ) {
    super();
  }

  /** Moves to the next item; undefined at the end. */
  next(): Value | undefined {
    const next = this.#peek();
    if (next === undefined) return undefined;
    this.#ahead.shift();
    this.index0 += 1;
    this.#before = this.#current;
    this.#current = next;
    return next;
  }

  #peek(): Value | undefined {
    if (this.#ahead.length > 0) return this.#ahead[0];
    const step = this.iterator.next();
    if (step.done === true) return undefined;
    this.#ahead.push(step.value);
    return step.value;
  }

  #total(): number {
    if (this.#length !== null) return this.#length;
    if (this.sized !== null && !(this.sized instanceof Lazy)) this.#length = lengthOf(this.sized);
    else {
      for (let step = this.iterator.next(); step.done !== true; step = this.iterator.next())
        this.#ahead.push(step.value);
      this.#length = this.index0 + 1 + this.#ahead.length;
    }
    return this.#length;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return this.index0 + 1;
      case "index0":
        return this.index0;
      case "revindex":
        return this.#total() - this.index0;
      case "revindex0":
        return this.#total() - this.index0 - 1;
      case "first":
        return this.index0 === 0;
      case "last":
        return this.#peek() === undefined;
      case "length":
        return this.#total();
      case "depth":
        return this.depth0 + 1;
      case "depth0":
        return this.depth0;
      case "previtem":
        return orElse(this.#before, new Undefined("there is no previous item"));
      case "nextitem":
        return orElse(this.#peek(), new Undefined("there is no next item"));
      case "cycle":
        return new Callable(name, ({ positional }) => {
          if (positional.length === 0) throw failed("loop.cycle needs items");
          return positional[this.index0 % positional.length]!;
        });
      case "changed":
        return new Callable(name, ({ positional }) => {
          const before = this.#changed;
          this.#changed = positional;
          return before === null || !equal(before, positional);
        });
      default:
        return undefined;
    }
  }

  override call(input: CallInput): Value {
    const items = bind("loop", input, ["iterable", "/"]).value("iterable");
    if (this.recurse === null) throw failed("a loop that calls itself needs the word recursive");
    return this.recurse(items, this.depth0 + 1);
  }
}
