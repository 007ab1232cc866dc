/** Parses the expressions of templates, with the precedence that Jinja2 3.1 gives its operators. */
import type { CallArguments, Expression, SliceParts } from "./syntax.js";
import type { TokenStream } from "./tokens.js";

const COMPARISONS = new Set(["==", "!=", "<", "<=", ">", ">="]);
const CONSTANTS: Readonly<Record<string, boolean | null>> = {
  true: true,
  false: false,
  True: true,
  False: false,
  none: null,
  None: null,
};
export const NO_ARGUMENTS: CallArguments = { positional: [], named: [], spread: null, spreadNamed: null };
/** Tokens that can begin the argument of a test that has no brackets (`is divisibleby 3`). */
const TEST_ARGUMENT_OPERATORS = new Set(["(", "[", "{"]);

export function parseExpression(tokens: TokenStream, withChoice = true): Expression {
  return withChoice ? parseChoice(tokens) : parseOr(tokens);
}

function parseChoice(tokens: TokenStream): Expression {
  const { line } = tokens;
  let yes = parseOr(tokens);
  while (tokens.skip("name", "if")) {
    const test = parseOr(tokens);
    const no = tokens.skip("name", "else") ? parseChoice(tokens) : null;
    yes = { type: "choice", line, test, yes, no };
  }
  return yes;
}

function parseOr(tokens: TokenStream): Expression {
  const { line } = tokens;
  let left = parseAnd(tokens);
  while (tokens.skip("name", "or")) left = { type: "or", line, left, right: parseAnd(tokens) };
  return left;
}

function parseAnd(tokens: TokenStream): Expression {
  const { line } = tokens;
  let left = parseNot(tokens);
  while (tokens.skip("name", "and")) left = { type: "and", line, left, right: parseNot(tokens) };
  return left;
}

function parseNot(tokens: TokenStream): Expression {
  const { line } = tokens;
  if (tokens.skip("name", "not")) return { type: "not", line, value: parseNot(tokens) };
  return parseCompare(tokens);
}

function parseCompare(tokens: TokenStream): Expression {
  const { line } = tokens;
  const first = parseSum(tokens);
  const rest: { operator: string; value: Expression }[] = [];
  for (;;) {
    if (tokens.is("operator") && COMPARISONS.has(tokens.current.value)) {
      const operator = tokens.next().value;
      rest.push({ operator, value: parseSum(tokens) });
    } else if (tokens.skip("name", "in")) {
      rest.push({ operator: "in", value: parseSum(tokens) });
    } else if (tokens.is("name", "not") && tokens.following.kind === "name" && tokens.following.value === "in") {
      tokens.next();
      tokens.next();
      rest.push({ operator: "not in", value: parseSum(tokens) });
    } else break;
  }
  return rest.length === 0 ? first : { type: "compare", line, first, rest };
}

/** One level of left-associative operators. */
function level(operators: readonly string[], inner: (tokens: TokenStream) => Expression) {
  return (tokens: TokenStream): Expression => {
    const { line } = tokens;
    let left = inner(tokens);
    while (tokens.is("operator") && operators.includes(tokens.current.value)) {
      const operator = tokens.next().value;
      left = { type: "binary", line, operator, left, right: inner(tokens) };
    }
    return left;
  };
}

const parsePower = level(["**"], (tokens) => parseUnary(tokens, true));
const parseProduct = level(["*", "/", "//", "%"], parsePower);
const parseSum = level(["+", "-"], parseConcat);

function parseConcat(tokens: TokenStream): Expression {
  const { line } = tokens;
  const items = [parseProduct(tokens)];
  while (tokens.skipOperator("~")) items.push(parseProduct(tokens));
  return items.length === 1 ? items[0]! : { type: "concat", line, items };
}

function parseUnary(tokens: TokenStream, withFilters: boolean): Expression {
  const { line } = tokens;
  let node: Expression;
  if (tokens.skipOperator("-")) node = { type: "negative", line, value: parseUnary(tokens, false) };
  else if (tokens.skipOperator("+")) node = { type: "positive", line, value: parseUnary(tokens, false) };
  else node = parsePrimary(tokens);
  node = parsePostfix(tokens, node);
  return withFilters ? parseFilters(tokens, node) : node;
}

function parsePrimary(tokens: TokenStream): Expression {
  const { line } = tokens;
  const token = tokens.next();
  if (token.kind === "name") {
    if (Object.hasOwn(CONSTANTS, token.value)) return { type: "constant", line, value: CONSTANTS[token.value]! };
    return { type: "name", line, name: token.value };
  }
  if (token.kind === "string") {
    let value = token.value;
    while (tokens.is("string")) value += tokens.next().value;
    return { type: "constant", line, value };
  }
  if (token.kind === "integer") {
    const value = Number(token.value.replaceAll("_", ""));
    if (!Number.isSafeInteger(value)) throw tokens.fault(`the number ${token.value} is too large`, line);
    return { type: "constant", line, value };
  }
  if (token.kind === "float") return { type: "float", line, value: Number(token.value.replaceAll("_", "")) };
  if (token.kind === "operator" && token.value === "(") {
    const node = parseTuple(tokens, { withChoice: true, brackets: true });
    tokens.expect("operator", ")");
    return node;
  }
  if (token.kind === "operator" && token.value === "[") return parseList(tokens, line);
  if (token.kind === "operator" && token.value === "{") return parseDict(tokens, line);
  const what = token.kind === "end" ? "the end of the template" : JSON.stringify(token.value || "%} or }}");
  throw tokens.fault(`expected an expression, got ${what}`, line);
}

function parseList(tokens: TokenStream, line: number): Expression {
  const items: Expression[] = [];
  while (!tokens.isOperator("]")) {
    if (items.length > 0) tokens.expect("operator", ",");
    if (tokens.isOperator("]")) break;
    items.push(parseExpression(tokens));
  }
  tokens.expect("operator", "]");
  return { type: "list", line, items };
}

function parseDict(tokens: TokenStream, line: number): Expression {
  const entries: [Expression, Expression][] = [];
  while (!tokens.isOperator("}")) {
    if (entries.length > 0) tokens.expect("operator", ",");
    if (tokens.isOperator("}")) break;
    const key = parseExpression(tokens);
    tokens.expect("operator", ":");
    entries.push([key, parseExpression(tokens)]);
  }
  tokens.expect("operator", "}");
  return { type: "dict", line, entries };
}

/** A value, or several with commas; in brackets there may be none. `ends` are names that end it (`in`, `if`). */
export function parseTuple(
  tokens: TokenStream,
  options: { readonly withChoice: boolean; readonly brackets?: boolean; readonly ends?: readonly string[] },
): Expression {
  const { line } = tokens;
  const items: Expression[] = [];
  let isTuple = false;
  const atEnd = () =>
    tokens.is("blockEnd") ||
    tokens.is("variableEnd") ||
    tokens.isOperator(")") ||
    (tokens.is("name") && (options.ends ?? []).includes(tokens.current.value));
  for (;;) {
    if (items.length > 0) tokens.expect("operator", ",");
    if (atEnd()) break;
    items.push(parseExpression(tokens, options.withChoice));
    if (!tokens.isOperator(",")) break;
    isTuple = true;
  }
  if (!isTuple && items.length > 0) return items[0]!;
  if (items.length === 0 && options.brackets !== true) throw tokens.fault("expected an expression");
  return { type: "tuple", line, items };
}

function parsePostfix(tokens: TokenStream, start: Expression): Expression {
  let node = start;
  for (;;) {
    const { line } = tokens;
    if (tokens.skipOperator(".")) {
      const token = tokens.next();
      if (token.kind === "name") node = { type: "attribute", line, object: node, name: token.value };
      else if (token.kind === "integer")
        node = { type: "item", line, object: node, key: { type: "constant", line, value: Number(token.value) } };
      else throw tokens.fault("expected a name or a number after the dot", line);
    } else if (tokens.skipOperator("[")) node = parseSubscript(tokens, node, line);
    else if (tokens.isOperator("(")) node = { type: "call", line, callee: node, args: parseArguments(tokens) };
    else return node;
  }
}

function parseSubscript(tokens: TokenStream, object: Expression, line: number): Expression {
  const parts: (Expression | null)[] = [];
  let isSlice = false;
  let part: Expression | null = null;
  while (!tokens.isOperator("]") && !tokens.isOperator(",")) {
    if (tokens.skipOperator(":")) {
      isSlice = true;
      parts.push(part);
      part = null;
    } else if (part !== null) throw tokens.fault('expected "]"');
    else part = parseExpression(tokens);
  }
  const comma = tokens.isOperator(",");
  if (comma && !isSlice && part !== null) {
    const items: Expression[] = [part];
    while (tokens.skipOperator(",")) items.push(parseExpression(tokens));
    tokens.expect("operator", "]");
    return { type: "item", line, object, key: { type: "tuple", line, items } };
  }
  tokens.expect("operator", "]");
  if (!isSlice) {
    if (part === null) throw tokens.fault("expected a key between the brackets", line);
    return { type: "item", line, object, key: part };
  }
  parts.push(part);
  if (parts.length > 3) throw tokens.fault("a slice has at most three parts", line);
  const slice: SliceParts = [parts[0] ?? null, parts[1] ?? null, parts[2] ?? null];
  return { type: "slice", line, object, parts: slice };
}

/** The arguments of a call, brackets included. */
export function parseArguments(tokens: TokenStream): CallArguments {
  tokens.expect("operator", "(");
  const positional: Expression[] = [];
  const named: { name: string; value: Expression }[] = [];
  let spread: Expression | null = null;
  let spreadNamed: Expression | null = null;
  let needsComma = false;
  while (!tokens.isOperator(")")) {
    if (needsComma) {
      tokens.expect("operator", ",");
      if (tokens.isOperator(")")) break;
    }
    if (tokens.skipOperator("**")) {
      if (spreadNamed !== null) throw tokens.fault("a call takes one **");
      spreadNamed = parseExpression(tokens);
    } else if (tokens.isOperator("*")) {
      if (spread !== null || spreadNamed !== null) throw tokens.fault("a call takes one *, before **");
      tokens.next();
      spread = parseExpression(tokens);
    } else if (tokens.is("name") && tokens.following.kind === "operator" && tokens.following.value === "=") {
      if (spreadNamed !== null) throw tokens.fault("a named argument stands before **");
      const name = tokens.next().value;
      tokens.next();
      named.push({ name, value: parseExpression(tokens) });
    } else {
      if (spread !== null || spreadNamed !== null || named.length > 0)
        throw tokens.fault("a positional argument stands before named ones");
      positional.push(parseExpression(tokens));
    }
    needsComma = true;
  }
  tokens.expect("operator", ")");
  return { positional, named, spread, spreadNamed };
}

function dottedName(tokens: TokenStream): string {
  let name = tokens.expect("name").value;
  while (tokens.skipOperator(".")) name += `.${tokens.expect("name").value}`;
  return name;
}

/** Filters, tests and calls behind a value; `value` is null at the start of a block's filter. */
function parseFilters(tokens: TokenStream, value: Expression): Expression {
  let node = value;
  for (;;) {
    if (tokens.isOperator("|")) node = parseFilterChain(tokens, node);
    else if (tokens.is("name", "is")) node = parseTest(tokens, node);
    else if (tokens.isOperator("("))
      node = { type: "call", line: tokens.line, callee: node, args: parseArguments(tokens) };
    else return node;
  }
}

/** `| name(…) | name …`; with `named`, the first filter stands without its bar. */
export function parseFilterChain(tokens: TokenStream, value: Expression | null, named = false): Expression {
  let node = value;
  let first = named;
  while (first || tokens.isOperator("|")) {
    const { line } = tokens;
    if (!first) tokens.next();
    first = false;
    const name = dottedName(tokens);
    const args = tokens.isOperator("(") ? parseArguments(tokens) : NO_ARGUMENTS;
    node = { type: "filter", line, name, value: node, args };
  }
  return node!;
}

function parseTest(tokens: TokenStream, value: Expression): Expression {
  const { line } = tokens;
  tokens.next();
  const negated = tokens.skip("name", "not");
  const name = dottedName(tokens);
  let args = NO_ARGUMENTS;
  if (tokens.isOperator("(")) args = parseArguments(tokens);
  else if (
    ["string", "integer", "float"].includes(tokens.current.kind) ||
    (tokens.is("operator") && TEST_ARGUMENT_OPERATORS.has(tokens.current.value)) ||
    (tokens.is("name") && !["else", "or", "and"].includes(tokens.current.value))
  ) {
    if (tokens.is("name", "is")) throw tokens.fault("tests cannot be chained with is");
    args = { ...NO_ARGUMENTS, positional: [parsePostfix(tokens, parsePrimary(tokens))] };
  }
  const test: Expression = { type: "test", line, name, value, args };
  return negated ? { type: "not", line, value: test } : test;
}
