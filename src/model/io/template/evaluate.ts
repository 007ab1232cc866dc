/** Runs a parsed template: statements write text, expressions give values, names live in scopes. */
import { attribute, item } from "./attributes.js";
import { failed, TemplateFault } from "./fault.js";
import type { FilterContext } from "./filter.js";
import { filterFor } from "./filters.js";
import { setMember } from "./globals.js";
import { Loop } from "./loop.js";
import { binary, compare, signed, slice } from "./operators.js";
import { mentions, Scope, UNASSIGNED } from "./scopes.js";
import type { CallArguments, Expression, For, MacroSyntax, Statement, Target } from "./syntax.js";
import { applyTest } from "./tests.js";
import { show } from "./text.js";
import {
  Callable,
  type CallInput,
  Dict,
  Float,
  isTrue,
  iterate,
  orElse,
  Special,
  Tuple,
  typeName,
  Undefined,
  undefinedFault,
  type Value,
} from "./values.js";

/** Why a body ended before its last statement. */
type Signal = "break" | "continue" | undefined;

class Macro extends Special {
  readonly kind = "Macro";
  override readonly callable = true;

  constructor(
    private readonly syntax: MacroSyntax,
    private readonly run: (input: CallInput) => string,
  ) {
    super();
  }

  attribute(name: string): Value | undefined {
    if (name === "name") return this.syntax.name;
    return name === "arguments" ? new Tuple(this.syntax.parameters.map((parameter) => parameter.name)) : undefined;
  }

  override call(input: CallInput): Value {
    return this.run(input);
  }
}

class Evaluator implements FilterContext {
  /** Line of the statement or operation at work, for messages. */
  line = 0;

  constructor(private readonly hidden: ReadonlyMap<object, ReadonlySet<string>>) {}

  #scope(parent: Scope, key: object): Scope {
    return new Scope(parent, this.hidden.get(key));
  }

  /** The text that statements write in a scope; no `break` leaves them. */
  text(body: readonly Statement[], scope: Scope): string {
    const out: string[] = [];
    if (this.run(body, scope, out) !== undefined)
      throw new TemplateFault("syntax", "break and continue work inside a for loop only", this.line);
    return out.join("");
  }

  run(body: readonly Statement[], scope: Scope, out: string[]): Signal {
    for (const statement of body) {
      const signal = this.#statement(statement, scope, out);
      if (signal !== undefined) return signal;
    }
    return undefined;
  }

  #statement(statement: Statement, scope: Scope, out: string[]): Signal {
    this.line = statement.line;
    switch (statement.type) {
      case "text":
        out.push(statement.text);
        return undefined;
      case "output":
        out.push(show(this.evaluate(statement.value, scope)));
        return undefined;
      case "if": {
        const branch = statement.branches.find(({ test }) => isTrue(this.evaluate(test, scope)));
        return this.run(branch?.body ?? statement.otherwise, scope, out);
      }
      case "for":
        return this.#for(statement, scope, out);
      case "set":
        return this.#assign(statement.target, this.evaluate(statement.value, scope), scope);
      case "setBlock": {
        const text = this.text(statement.body, this.#scope(scope, statement));
        const value = statement.filter === null ? text : this.#filtered(statement.filter, text, scope);
        return this.#assign(statement.target, value, scope);
      }
      case "with":
        return this.#with(statement, scope, out);
      case "macro":
        scope.set(statement.name, this.#macro(statement, scope));
        return undefined;
      case "callBlock":
        out.push(
          show(this.#call(statement.call as Expression & { type: "call" }, scope, this.#macro(statement, scope))),
        );
        return undefined;
      case "filterBlock": {
        const inner = this.#scope(scope, statement);
        out.push(show(this.#filtered(statement.filter, this.text(statement.body, inner), inner)));
        return undefined;
      }
      case "generation":
        out.push(this.#generation(statement, scope));
        return undefined;
      default:
        return statement.type;
    }
  }

  /** A `{% generation %}` block is the body of a macro that is called at once, without arguments. */
  #generation(statement: Statement & { type: "generation" }, scope: Scope): string {
    const inner = this.#scope(scope, statement);
    if (mentions(statement.body, "varargs")) inner.set("varargs", new Tuple([]));
    if (mentions(statement.body, "kwargs")) inner.set("kwargs", new Dict());
    if (mentions(statement.body, "caller")) inner.set("caller", new Undefined("no caller is defined"));
    return this.text(statement.body, inner);
  }

  #with(statement: Statement & { type: "with" }, scope: Scope, out: string[]): Signal {
    const inner = this.#scope(scope, statement);
    const values = statement.values.map((value) => this.evaluate(value, scope));
    statement.targets.forEach((target, index) => {
      this.#assign(target, values[index]!, inner);
    });
    return this.run(statement.body, inner, out);
  }

  #assign(target: Target, value: Value, scope: Scope): undefined {
    if (target.type === "name") scope.set(target.name, value);
    else if (target.type === "member") {
      const namespace = scope.get(target.namespace);
      setMember(namespace === UNASSIGNED ? undefined : namespace, target.name, value);
    } else {
      const items = [...iterate(value)];
      if (items.length !== target.items.length)
        throw failed(`${target.items.length} names cannot take ${items.length} values`);
      target.items.forEach((inner, index) => {
        this.#assign(inner, items[index]!, scope);
      });
    }
    return undefined;
  }

  #for(statement: For, scope: Scope, out: string[]): Signal {
    const iterable = this.evaluate(statement.iterable, scope);
    if (!statement.recursive) return this.#loop(statement, scope, out, iterable, 0, null);
    const nested = (items: Value, depth0: number): string => {
      const inner: string[] = [];
      if (this.#loop(statement, scope, inner, items, depth0, nested) !== undefined)
        throw new TemplateFault("syntax", "the else of a recursive loop cannot leave an outer one", this.line);
      return inner.join("");
    };
    out.push(nested(iterable, 0));
    return undefined;
  }

  #loop(
    statement: For,
    scope: Scope,
    out: string[],
    iterable: Value,
    depth0: number,
    recurse: ((items: Value, depth0: number) => string) | null,
  ): Signal {
    const { test, target } = statement;
    const source = iterate(iterable)[Symbol.iterator]();
    const passing = test === null ? source : this.#passing(source, statement, test, scope);
    const loop = new Loop(passing, test === null ? iterable : null, depth0, recurse);
    // Jinja's else runs unless the body came to its end once: a break or continue in every iteration counts as none.
    let completed = false;
    for (let value = loop.next(); value !== undefined; value = loop.next()) {
      const inner = this.#scope(scope, statement);
      inner.set("loop", loop);
      this.#assign(target, value, inner);
      const signal = this.run(statement.body, inner, out);
      if (signal === undefined) completed = true;
      if (signal === "break") break;
    }
    return completed ? undefined : this.run(statement.otherwise, this.#scope(scope, statement.otherwise), out);
  }

  *#passing(source: Iterator<Value>, statement: For, test: Expression, scope: Scope): Generator<Value> {
    for (let step = source.next(); step.done !== true; step = source.next()) {
      const inner = new Scope(scope);
      this.#assign(statement.target, step.value, inner);
      if (isTrue(this.evaluate(test, inner))) yield step.value;
    }
  }

  #macro(syntax: MacroSyntax, scope: Scope): Macro {
    const names = syntax.parameters.map(({ name }) => name);
    const takes = (name: string) => !names.includes(name) && mentions(syntax.body, name);
    const takesCaller = takes("caller");
    const takesNamed = takes("kwargs");
    const takesMore = takes("varargs");
    return new Macro(syntax, ({ positional, named }) => {
      const inner = this.#scope(scope, syntax);
      const rest = new Map(named);
      syntax.parameters.forEach(({ name }, index) => {
        const isPositional = index < positional.length;
        inner.set(name, orElse(isPositional ? positional[index] : rest.get(name), UNASSIGNED));
        if (!isPositional) rest.delete(name);
      });
      for (const { name, fallback } of syntax.parameters) {
        if (inner.variables.get(name) !== UNASSIGNED) continue;
        const missing = new Undefined(`the parameter ${name} of ${syntax.name} was not given`);
        inner.set(name, fallback === null ? missing : this.evaluate(fallback, inner));
      }
      if (takesCaller) inner.set("caller", orElse(rest.get("caller"), new Undefined("no caller is defined")));
      if (takesCaller) rest.delete("caller");
      if (takesNamed) inner.set("kwargs", new Dict(rest));
      else if (rest.size > 0) throw failed(`the macro ${syntax.name} takes no argument ${[...rest.keys()][0]}`);
      if (takesMore) inner.set("varargs", new Tuple(positional.slice(names.length)));
      else if (positional.length > names.length)
        throw failed(`the macro ${syntax.name} takes ${names.length} arguments, got ${positional.length}`);
      return this.text(syntax.body, inner);
    });
  }

  #arguments(args: CallArguments, scope: Scope, caller?: Value): CallInput {
    const positional = args.positional.map((value) => this.evaluate(value, scope));
    const named = new Map<string, Value>();
    for (const { name, value } of args.named) {
      if (named.has(name)) throw failed(`the argument ${name} is given twice`);
      named.set(name, this.evaluate(value, scope));
    }
    if (args.spread !== null) positional.push(...iterate(this.evaluate(args.spread, scope)));
    if (args.spreadNamed !== null) {
      const more = this.evaluate(args.spreadNamed, scope);
      if (!(more instanceof Dict)) throw failed(`** needs a dict, got a ${typeName(more)}`);
      for (const [name, value] of more.entries()) {
        if (typeof name !== "string" || named.has(name))
          throw failed("** gives an argument twice, or one without a name");
        named.set(name, value);
      }
    }
    if (caller !== undefined) named.set("caller", caller);
    return { positional, named };
  }

  #call(node: Expression & { type: "call" }, scope: Scope, caller?: Value): Value {
    const callee = this.evaluate(node.callee, scope);
    const input = this.#arguments(node.args, scope, caller);
    this.line = node.line;
    if (callee instanceof Callable || callee instanceof Special) return callee.call(input);
    if (callee instanceof Undefined) throw undefinedFault(callee);
    throw failed(`a ${typeName(callee)} cannot be called`);
  }

  applyFilter(name: string, value: Value, input: CallInput): Value {
    return filterFor(name, value)(value, input, this);
  }

  applyTest(name: string, value: Value, input: CallInput): boolean {
    return applyTest(name, value, input);
  }

  /** A chain of filters whose innermost value is `text`. */
  #filtered(filter: Expression, text: Value, scope: Scope): Value {
    if (filter.type !== "filter") throw failed("a filter was expected");
    const value = filter.value === null ? text : this.#filtered(filter.value, text, scope);
    const input = this.#arguments(filter.args, scope);
    this.line = filter.line;
    return this.applyFilter(filter.name, value, input);
  }

  #name(name: string, scope: Scope): Value {
    const value = scope.get(name);
    return value === UNASSIGNED ? new Undefined(`${name} is undefined`) : value;
  }

  evaluate(node: Expression, scope: Scope): Value {
    const at = (inner: Expression) => this.evaluate(inner, scope);
    switch (node.type) {
      case "constant":
        return node.value;
      case "float":
        return new Float(node.value);
      case "name":
        return this.#name(node.name, scope);
      case "list":
        return node.items.map(at);
      case "tuple":
        return new Tuple(node.items.map(at));
      case "dict":
        return new Dict(node.entries.map(([key, value]) => [at(key), at(value)] as const));
      case "and": {
        const left = at(node.left);
        return isTrue(left) ? at(node.right) : left;
      }
      case "or": {
        const left = at(node.left);
        return isTrue(left) ? left : at(node.right);
      }
      case "not":
        return !isTrue(at(node.value));
      case "choice":
        if (isTrue(at(node.test))) return at(node.yes);
        return node.no === null ? new Undefined("an if without else gave no value") : at(node.no);
      case "concat":
        return node.items.map((inner) => show(at(inner))).join("");
      case "call":
        return this.#call(node, scope);
      default:
        return this.#operation(node, at, scope);
    }
  }

  #operation(node: Expression, at: (inner: Expression) => Value, scope: Scope): Value {
    switch (node.type) {
      case "attribute": {
        const object = at(node.object);
        this.line = node.line;
        return attribute(object, node.name);
      }
      case "item": {
        const object = at(node.object);
        const key = at(node.key);
        this.line = node.line;
        return item(object, key);
      }
      case "slice": {
        const object = at(node.object);
        const parts = node.parts.map((part) => (part === null ? null : at(part)));
        this.line = node.line;
        return slice(object, parts);
      }
      case "filter": {
        const value = at(node.value!);
        const input = this.#arguments(node.args, scope);
        this.line = node.line;
        return this.applyFilter(node.name, value, input);
      }
      case "test": {
        const value = at(node.value);
        const input = this.#arguments(node.args, scope);
        this.line = node.line;
        return applyTest(node.name, value, input);
      }
      case "binary": {
        const left = at(node.left);
        const right = at(node.right);
        this.line = node.line;
        return binary(node.operator, left, right);
      }
      case "negative":
      case "positive":
        return signed(at(node.value), node.type === "negative" ? -1 : 1);
      case "compare":
        return this.#compare(node, at);
      default:
        throw failed(`${node.type} is no expression`);
    }
  }

  /** `a < b < c`: each operand once, false at the first comparison that does not hold. */
  #compare(node: Expression & { type: "compare" }, at: (inner: Expression) => Value): boolean {
    let left = at(node.first);
    for (const { operator, value } of node.rest) {
      const right = at(value);
      this.line = node.line;
      if (!compare(operator, left, right)) return false;
      left = right;
    }
    return true;
  }
}

/**
 * The text of a template whose names are first looked up in `variables`, then in `globals`; `hidden` is what `hiddenNames`
 * found in it. Throws TemplateFault.
 */
export function render(
  template: readonly Statement[],
  hidden: ReadonlyMap<object, ReadonlySet<string>>,
  variables: ReadonlyMap<string, Value>,
  globals: ReadonlyMap<string, Value>,
): string {
  const context = new Scope(null);
  for (const [name, value] of [...globals, ...variables]) context.set(name, value);
  const evaluator = new Evaluator(hidden);
  try {
    return evaluator.text(template, new Scope(context, hidden.get(template)));
  } catch (error) {
    if (error instanceof TemplateFault && error.line === 0) error.line = evaluator.line;
    if (error instanceof RangeError) throw new TemplateFault("failed", "it calls itself too deeply", evaluator.line);
    throw error;
  }
}
