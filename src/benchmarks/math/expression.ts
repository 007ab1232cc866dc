/**
 * Reads an arithmetic expression in LaTeX or plain text and computes its value. It knows numbers, percentages, variables, the four operations,
 * powers, fractions, roots, absolute values, factorials and the elementary functions; anything else is unreadable.
 */

/** Values of the variables in an expression. */
export type Assignment = (name: string) => number;

export interface Expression {
  value(at: Assignment): number;
  /** Where the whole expression is one number: how it is written. */
  readonly atom: { readonly form: "integer" | "decimal"; readonly percent: boolean; readonly number: number } | null;
  readonly variables: ReadonlySet<string>;
}

const FUNCTIONS: Readonly<Record<string, (x: number) => number>> = {
  sin: Math.sin,
  cos: Math.cos,
  tan: Math.tan,
  ln: Math.log,
  log: Math.log10,
  exp: Math.exp,
  arcsin: Math.asin,
  arccos: Math.acos,
  arctan: Math.atan,
};
const GREEK = /^\\(?:alpha|beta|gamma|delta|epsilon|theta|lambda|mu|nu|phi|rho|sigma|tau|omega)$/;
const TOKEN = /\s+|\d+(?:\.\d+)?|\.\d+|\\[a-zA-Z]+|\\.|[\s\S]/gu;
/** Larger factorials are beyond a double. */
const LARGEST_FACTORIAL = 170;

/** Null where the text is no expression of the kind above. */
export function parseExpression(text: string): Expression | null {
  const tokens = (text.match(TOKEN) ?? []).filter((token) => token.trim() !== "");
  const reader = new Reader(tokens);
  const value = reader.sum();
  if (value === null || !reader.atEnd()) return null;
  return { value, atom: atomOf(tokens), variables: reader.variables };
}

function atomOf(tokens: readonly string[]): Expression["atom"] {
  const [, sign, number = "", percent] = /^(-?)(\d*\.?\d+)(%?)$/.exec(tokens.join("")) ?? [];
  if (number === "") return null;
  const form = number.includes(".") ? "decimal" : "integer";
  return { form, percent: percent === "%", number: Number(number) * (sign === "-" ? -1 : 1) };
}

type Value = (at: Assignment) => number;

class Reader {
  readonly variables = new Set<string>();
  private position = 0;

  constructor(private readonly tokens: readonly string[]) {}

  atEnd(): boolean {
    return this.position === this.tokens.length;
  }

  sum(): Value | null {
    let left = this.product();
    while (left !== null && (this.next() === "+" || this.next() === "-")) {
      const sign = this.take() === "+" ? 1 : -1;
      const [a, b]: [Value, Value | null] = [left, this.product()];
      left = b === null ? null : (at) => a(at) + sign * b(at);
    }
    return left;
  }

  /** Factors with or without a sign between them. */
  private product(): Value | null {
    let left = this.signed();
    while (left !== null) {
      const sign = this.next();
      const written = sign === "*" || sign === "/";
      if (!written && !this.startsFactor(sign)) return left;
      if (written) this.take();
      const [a, b]: [Value, Value | null] = [left, written ? this.signed() : this.power()];
      if (b === null) return null;
      left = sign === "/" ? (at) => a(at) / b(at) : (at) => a(at) * b(at);
    }
    return left;
  }

  private startsFactor(token: string | undefined): boolean {
    if (token === undefined) return false;
    return /^[\p{L}\d.({]/u.test(token) || (/^\\[a-zA-Z]/.test(token) && this.isKnown(token));
  }

  private isKnown(command: string): boolean {
    const name = command.slice(1);
    return name in FUNCTIONS || ["frac", "sqrt", "pi", "infty"].includes(name) || GREEK.test(command);
  }

  private signed(): Value | null {
    const sign = this.next();
    if (sign !== "-" && sign !== "+") return this.power();
    this.take();
    const inner = this.signed();
    if (inner === null || sign === "+") return inner;
    return (at) => -inner(at);
  }

  private power(): Value | null {
    const base = this.postfixed();
    if (base === null || this.next() !== "^") return base;
    this.take();
    const exponent = this.signed();
    return exponent === null ? null : (at) => base(at) ** exponent(at);
  }

  private postfixed(): Value | null {
    let value = this.primary();
    while (value !== null && (this.next() === "!" || this.next() === "%")) {
      const inner: Value = value;
      value = this.take() === "%" ? (at) => inner(at) / 100 : (at) => factorial(inner(at));
    }
    return value;
  }

  private primary(): Value | null {
    const token = this.take();
    if (token === undefined) return null;
    if (/^[\d.]/.test(token)) return this.number(token);
    if (token === "(") return this.closed(")");
    if (token === "{") return this.closed("}");
    if (token === "|") return this.absolute();
    if (token === "\\frac") return this.fraction();
    if (token === "\\sqrt" || token === "√") return this.root();
    if (token === "\\pi" || token === "π") return () => Math.PI;
    if (token === "\\infty" || token === "∞") return () => Number.POSITIVE_INFINITY;
    const called = FUNCTIONS[token.slice(1)];
    if (token.startsWith("\\") && called) return this.call(called);
    if (token === "e") return () => Math.E;
    if (/^\p{L}$/u.test(token) || GREEK.test(token)) return this.variable(token);
    return null;
  }

  /** A number, with the fraction of a mixed number where one follows: 3\frac{1}{2}. */
  private number(token: string): Value | null {
    const whole = Number(token);
    if (!Number.isFinite(whole)) return null;
    if (!/^\d+$/.test(token) || this.next() !== "\\frac") return () => whole;
    this.take();
    const part = this.fraction();
    return part === null ? null : (at) => whole + part(at);
  }

  private variable(name: string): Value {
    const index = this.next() === "_" ? this.subscript() : "";
    const full = name + index;
    this.variables.add(full);
    return (at) => at(full);
  }

  private subscript(): string {
    this.take();
    if (this.next() !== "{") return `_${this.take() ?? ""}`;
    let text = "";
    while (!this.atEnd() && !text.endsWith("}")) text += this.take();
    return `_${text.slice(1, -1)}`;
  }

  private closed(end: string): Value | null {
    const inner = this.sum();
    return this.take() === end ? inner : null;
  }

  private absolute(): Value | null {
    const inner = this.closed("|");
    return inner === null ? null : (at) => Math.abs(inner(at));
  }

  private fraction(): Value | null {
    const [above, below] = [this.argument(), this.argument()];
    return above === null || below === null ? null : (at) => above(at) / below(at);
  }

  private root(): Value | null {
    let degree: Value | null = () => 2;
    if (this.next() === "[") {
      this.take();
      degree = this.closed("]");
    }
    const [order, inner] = [degree, this.argument()];
    return order === null || inner === null ? null : (at) => rootOf(inner(at), order(at));
  }

  private call(apply: (x: number) => number): Value | null {
    const inner = this.power();
    return inner === null ? null : (at) => apply(inner(at));
  }

  /** One braced argument, or one digit or letter: \frac12. */
  private argument(): Value | null {
    const token = this.next();
    if (token === undefined || !/^\d{2,}$/.test(token)) return this.primary();
    // "\frac12": each digit is an argument of its own.
    this.position++;
    const [first, rest] = [token[0] as string, token.slice(1)];
    (this.tokens as string[]).splice(this.position, 0, rest);
    return () => Number(first);
  }

  private next(): string | undefined {
    return this.tokens[this.position];
  }

  private take(): string | undefined {
    return this.tokens[this.position++];
  }
}

function rootOf(x: number, degree: number): number {
  return x < 0 && degree % 2 === 1 ? -((-x) ** (1 / degree)) : x ** (1 / degree);
}

function factorial(n: number): number {
  if (!Number.isInteger(n) || n < 0 || n > LARGEST_FACTORIAL) return Number.NaN;
  let product = 1;
  for (let factor = 2; factor <= n; factor++) product *= factor;
  return product;
}
