/** Parses whole templates: text, output and the statements that transformers' Jinja environment knows. */

import { parseExpression, parseFilterChain, parseTuple } from "./expressions.js";
import { lacking } from "./fault.js";
import { tokenize } from "./lexer.js";
import type { Expression, Parameter, Statement, Target } from "./syntax.js";
import { TokenStream } from "./tokens.js";

/** Statements of Jinja2 that make no sense in a single chat template, or that none uses. */
const NOT_COMPUTED = new Set(["include", "import", "from", "extends", "block", "autoescape"]);
const RESERVED = new Set(["true", "false", "none", "True", "False", "None"]);

type Parser = (tokens: TokenStream, line: number) => Statement | Statement[];

/** A body up to one of the named tags, whose name is the current token afterwards. */
function parseBody(tokens: TokenStream, tag: string, ends: readonly string[]): Statement[] {
  const { line } = tokens;
  tokens.skipOperator(":");
  tokens.expect("blockEnd");
  const body = parseStatements(tokens, ends);
  if (tokens.is("end")) throw tokens.fault(`{% ${tag} %} is never closed; expected {% ${ends.at(-1)} %}`, line);
  return body;
}

/** As `parseBody` with one possible end, which is skipped. */
function parseWhole(tokens: TokenStream, tag: string, end = `end${tag}`): Statement[] {
  const body = parseBody(tokens, tag, [end]);
  tokens.next();
  return body;
}

function parseTarget(tokens: TokenStream, withMembers: boolean): Target {
  const { line } = tokens;
  const one = (): Target => {
    if (tokens.isOperator("(")) {
      tokens.next();
      const inner = parseTarget(tokens, withMembers);
      tokens.expect("operator", ")");
      return inner;
    }
    const token = tokens.expect("name");
    if (RESERVED.has(token.value)) throw tokens.fault(`${token.value} cannot be assigned to`, token.line);
    if (withMembers && tokens.skipOperator("."))
      return { type: "member", line: token.line, namespace: token.value, name: tokens.expect("name").value };
    return { type: "name", line: token.line, name: token.value };
  };
  const items = [one()];
  let isTuple = false;
  while (tokens.skipOperator(",")) {
    isTuple = true;
    if (tokens.is("name", "in") || !(tokens.is("name") || tokens.isOperator("("))) break;
    items.push(one());
  }
  return isTuple ? { type: "tuple", line, items } : items[0]!;
}

function parseFor(tokens: TokenStream, line: number): Statement {
  const target = parseTarget(tokens, false);
  tokens.expect("name", "in");
  const iterable = parseTuple(tokens, { withChoice: false, ends: ["recursive"] });
  const test = tokens.skip("name", "if") ? parseExpression(tokens) : null;
  const recursive = tokens.skip("name", "recursive");
  const body = parseBody(tokens, "for", ["else", "endfor"]);
  const otherwise = tokens.next().value === "else" ? parseWhole(tokens, "for") : [];
  return { type: "for", line, target, iterable, test, recursive, body, otherwise };
}

function parseIf(tokens: TokenStream, line: number): Statement {
  const branches: { test: Expression; body: Statement[] }[] = [];
  for (;;) {
    const test = parseTuple(tokens, { withChoice: false });
    branches.push({ test, body: parseBody(tokens, "if", ["elif", "else", "endif"]) });
    const tag = tokens.next().value;
    if (tag === "elif") continue;
    return { type: "if", line, branches, otherwise: tag === "else" ? parseWhole(tokens, "if") : [] };
  }
}

function parseSet(tokens: TokenStream, line: number): Statement {
  const target = parseTarget(tokens, true);
  if (tokens.skipOperator("=")) return { type: "set", line, target, value: parseTuple(tokens, { withChoice: true }) };
  const filter = tokens.isOperator("|") ? parseFilterChain(tokens, null) : null;
  return { type: "setBlock", line, target, filter, body: parseWhole(tokens, "set") };
}

function parseWith(tokens: TokenStream, line: number): Statement {
  const targets: Target[] = [];
  const values: Expression[] = [];
  while (!tokens.is("blockEnd")) {
    if (targets.length > 0) tokens.expect("operator", ",");
    targets.push(parseTarget(tokens, false));
    tokens.expect("operator", "=");
    values.push(parseExpression(tokens));
  }
  return { type: "with", line, targets, values, body: parseWhole(tokens, "with") };
}

function parseParameters(tokens: TokenStream): Parameter[] {
  const parameters: Parameter[] = [];
  tokens.expect("operator", "(");
  while (!tokens.isOperator(")")) {
    if (parameters.length > 0) tokens.expect("operator", ",");
    const name = tokens.expect("name").value;
    const fallback = tokens.skipOperator("=") ? parseExpression(tokens) : null;
    if (fallback === null && parameters.at(-1)?.fallback != null)
      throw tokens.fault(`parameter ${name} needs a default, as the one before it has one`);
    parameters.push({ name, fallback });
  }
  tokens.expect("operator", ")");
  return parameters;
}

function parseMacro(tokens: TokenStream, line: number): Statement {
  const name = tokens.expect("name").value;
  const parameters = parseParameters(tokens);
  return { type: "macro", line, name, parameters, body: parseWhole(tokens, "macro"), call: null };
}

function parseCall(tokens: TokenStream, line: number): Statement {
  const parameters = tokens.isOperator("(") ? parseParameters(tokens) : [];
  const call = parseExpression(tokens);
  if (call.type !== "call") throw tokens.fault("{% call %} expects a call", line);
  return { type: "callBlock", line, name: "caller", parameters, body: parseWhole(tokens, "call"), call };
}

function parsePrint(tokens: TokenStream, line: number): Statement[] {
  const outputs: Statement[] = [];
  while (!tokens.is("blockEnd")) {
    if (outputs.length > 0) tokens.expect("operator", ",");
    outputs.push({ type: "output", line, value: parseExpression(tokens) });
  }
  return outputs;
}

const STATEMENTS: ReadonlyMap<string, Parser> = new Map<string, Parser>([
  ["for", parseFor],
  ["if", parseIf],
  ["set", parseSet],
  ["with", parseWith],
  ["macro", parseMacro],
  ["call", parseCall],
  ["print", parsePrint],
  [
    "filter",
    (tokens, line) => {
      const filter = parseFilterChain(tokens, null, true);
      return { type: "filterBlock", line, filter, body: parseWhole(tokens, "filter") };
    },
  ],
  ["generation", (tokens, line) => ({ type: "generation", line, body: parseWhole(tokens, "generation") })],
  ["break", (_, line) => ({ type: "break", line })],
  ["continue", (_, line) => ({ type: "continue", line })],
]);

function parseStatement(tokens: TokenStream): Statement | Statement[] {
  const { line } = tokens;
  const tag = tokens.expect("name").value;
  const parser = STATEMENTS.get(tag);
  if (parser !== undefined) return parser(tokens, line);
  if (NOT_COMPUTED.has(tag)) throw lacking(`the statement {% ${tag} %}`, line);
  throw tokens.fault(`there is no statement {% ${tag} %}`, line);
}

function parseStatements(tokens: TokenStream, ends: readonly string[]): Statement[] {
  const body: Statement[] = [];
  while (!tokens.is("end")) {
    const { line } = tokens;
    if (tokens.is("data")) body.push({ type: "text", line, text: tokens.next().value });
    else if (tokens.skip("variableBegin")) {
      body.push({ type: "output", line, value: parseTuple(tokens, { withChoice: true }) });
      tokens.expect("variableEnd");
    } else {
      tokens.expect("blockBegin");
      if (tokens.is("name") && ends.includes(tokens.current.value)) return body;
      body.push(...[parseStatement(tokens)].flat());
      tokens.expect("blockEnd");
    }
  }
  return body;
}

/** The syntax tree of a template. Throws TemplateFault (`syntax` or `lacking`) with the line. */
export function parseTemplate(source: string): Statement[] {
  return parseStatements(new TokenStream(tokenize(source)), []);
}
