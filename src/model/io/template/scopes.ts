/**
 * Variables of templates. Jinja2 decides when it compiles which scope a name belongs to; a name that a scope assigns
 * before it reads it hides a variable of the caller from the first line of that scope on, even inside inner loops.
 * `hiddenNames` finds those names in the way of Jinja2's idtracking.py; everything else is a plain chain of scopes.
 */
import type { CallArguments, Expression, Statement, Target } from "./syntax.js";
import type { Value } from "./values.js";

/** Assigned later in its scope: reads as undefined. */
export const UNASSIGNED = Symbol("unassigned");

export class Scope {
  readonly variables = new Map<string, Value | typeof UNASSIGNED>();

  constructor(
    private readonly parent: Scope | null,
    hidden: Iterable<string> = [],
  ) {
    for (const name of hidden) this.variables.set(name, UNASSIGNED);
  }

  set(name: string, value: Value | typeof UNASSIGNED): void {
    this.variables.set(name, value);
  }

  /** The value, or UNASSIGNED for a name that nobody set. */
  get(name: string): Value | typeof UNASSIGNED {
    for (let scope: Scope | null = this; scope !== null; scope = scope.parent) {
      const value = scope.variables.get(name);
      if (value !== undefined) return value;
    }
    return UNASSIGNED;
  }
}

/** What one scope knows about its names. */
class Names {
  refs = new Set<string>();
  stores = new Set<string>();
  hidden = new Set<string>();

  constructor(readonly parent: Names | null) {}

  knows(name: string): boolean {
    return this.refs.has(name) || (this.parent?.knows(name) ?? false);
  }

  parameter(name: string): void {
    this.stores.add(name);
    this.refs.add(name);
    this.hidden.delete(name);
  }

  load(name: string): void {
    if (!this.knows(name)) this.refs.add(name);
  }

  store(name: string): void {
    this.stores.add(name);
    if (this.refs.has(name)) return;
    this.refs.add(name);
    if (!(this.parent?.knows(name) ?? false)) this.hidden.add(name);
  }

  copy(): Names {
    const copy = new Names(this.parent);
    copy.refs = new Set(this.refs);
    copy.stores = new Set(this.stores);
    copy.hidden = new Set(this.hidden);
    return copy;
  }

  /** Takes over what the branches of an `if` did: a name stored in one of them only may still be the outer one. */
  merge(branches: readonly Names[]): void {
    const maybe = new Set<string>();
    for (const branch of branches) for (const name of branch.stores) if (!this.stores.has(name)) maybe.add(name);
    for (const branch of branches) {
      for (const name of branch.refs) this.refs.add(name);
      for (const name of branch.stores) this.stores.add(name);
    }
    for (const name of maybe) this.hidden.delete(name);
  }
}

function visitArguments(args: CallArguments, names: Names): void {
  for (const value of args.positional) visit(value, names);
  for (const { value } of args.named) visit(value, names);
  for (const value of [args.spread, args.spreadNamed]) if (value !== null) visit(value, names);
}

/** Expressions inside an expression, in order; call arguments apart. */
export function innerExpressions(node: Expression): readonly (Expression | null)[] {
  switch (node.type) {
    case "list":
    case "tuple":
    case "concat":
      return node.items;
    case "dict":
      return node.entries.flat();
    case "attribute":
      return [node.object];
    case "item":
      return [node.object, node.key];
    case "slice":
      return [node.object, ...node.parts];
    case "call":
      return [node.callee];
    case "filter":
    case "test":
    case "not":
    case "negative":
    case "positive":
      return [node.value];
    case "and":
    case "or":
    case "binary":
      return [node.left, node.right];
    case "compare":
      return [node.first, ...node.rest.map(({ value }) => value)];
    case "choice":
      return [node.test, node.yes, node.no];
    default:
      return [];
  }
}

function visit(node: Expression, names: Names): void {
  if (node.type === "name") names.load(node.name);
  for (const inner of innerExpressions(node)) if (inner !== null) visit(inner, names);
  if (node.type === "call" || node.type === "filter" || node.type === "test") visitArguments(node.args, names);
}

function visitTarget(target: Target, act: (name: string) => void, names: Names): void {
  if (target.type === "name") act(target.name);
  else if (target.type === "member") names.load(target.namespace);
  else for (const item of target.items) visitTarget(item, act, names);
}

type Scopes = Map<object, Names>;

/** Records what `statements` do to the names of their own scope; inner scopes are only opened afterwards. */
function visitStatements(statements: readonly Statement[], names: Names): void {
  const store = (name: string) => names.store(name);
  for (const statement of statements) {
    switch (statement.type) {
      case "output":
        visit(statement.value, names);
        break;
      case "set":
        visit(statement.value, names);
        visitTarget(statement.target, store, names);
        break;
      case "setBlock":
        visitTarget(statement.target, store, names);
        break;
      case "macro":
        names.store(statement.name);
        break;
      case "callBlock":
        if (statement.call !== null) visit(statement.call, names);
        break;
      case "for":
        visit(statement.iterable, names);
        break;
      case "with":
        for (const value of statement.values) visit(value, names);
        break;
      case "filterBlock":
        visit(statement.filter, names);
        break;
      case "if":
        visitIf(statement, names);
        break;
    }
  }
}

function visitIf(statement: Statement & { type: "if" }, names: Names): void {
  // Jinja nests elif in the first if: all tests but the first belong to their branch.
  const [first, ...others] = statement.branches;
  if (first === undefined) return;
  visit(first.test, names);
  const branch = (act: (copy: Names) => void): Names => {
    const copy = names.copy();
    act(copy);
    return copy;
  };
  names.merge([
    branch((copy) => visitStatements(first.body, copy)),
    branch((copy) => {
      for (const { test, body } of others) {
        visit(test, copy);
        const inner = copy.copy();
        visitStatements(body, inner);
        copy.merge([inner]);
      }
    }),
    branch((copy) => visitStatements(statement.otherwise, copy)),
  ]);
}

function openScope(
  key: object,
  parent: Names,
  scopes: Scopes,
  body: readonly Statement[],
  prepare: (n: Names) => void,
) {
  const names = new Names(parent);
  prepare(names);
  visitStatements(body, names);
  scopes.set(key, names);
  openInner(body, names, scopes);
}

function openInner(statements: readonly Statement[], names: Names, scopes: Scopes): void {
  for (const statement of statements) {
    switch (statement.type) {
      case "if":
        for (const { body } of statement.branches) openInner(body, names, scopes);
        openInner(statement.otherwise, names, scopes);
        break;
      case "for":
        openScope(statement, names, scopes, statement.body, (inner) => {
          inner.parameter("loop");
          visitTarget(statement.target, (name) => inner.parameter(name), inner);
        });
        openScope(statement.otherwise, names, scopes, statement.otherwise, () => undefined);
        break;
      case "macro":
      case "callBlock":
        openScope(statement, names, scopes, statement.body, (inner) => {
          for (const name of ["caller", "varargs", "kwargs"]) inner.parameter(name);
          for (const { name, fallback } of statement.parameters) {
            inner.parameter(name);
            if (fallback !== null) visit(fallback, inner);
          }
        });
        break;
      case "with":
        openScope(statement, names, scopes, statement.body, (inner) => {
          for (const target of statement.targets) visitTarget(target, (name) => inner.parameter(name), inner);
        });
        break;
      case "setBlock":
      case "filterBlock":
      case "generation":
        openScope(statement, names, scopes, statement.body, () => undefined);
        break;
    }
  }
}

/** For the template and each inner scope (by its syntax node), the names that are unassigned when it begins. */
export function hiddenNames(template: readonly Statement[]): ReadonlyMap<object, ReadonlySet<string>> {
  const scopes: Scopes = new Map();
  const root = new Names(null);
  visitStatements(template, root);
  scopes.set(template, root);
  openInner(template, root, scopes);
  return new Map([...scopes].map(([key, names]) => [key, names.hidden]));
}

/** True where an expression anywhere inside statements reads a name. */
export function mentions(part: unknown, name: string): boolean {
  if (Array.isArray(part)) return part.some((inner) => mentions(inner, name));
  if (typeof part !== "object" || part === null) return false;
  if ("type" in part && part.type === "name" && "name" in part && part.name === name) return true;
  return Object.values(part).some((inner) => mentions(inner, name));
}
