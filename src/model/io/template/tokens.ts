/** A position in a template's tokens, with the questions and demands that a parser has. */
import { TemplateFault } from "./fault.js";
import type { Token, TokenKind } from "./lexer.js";

/** How a token reads in a message. */
function shown(token: Token): string {
  if (token.kind === "end") return "the end of the template";
  if (token.kind === "blockEnd") return '"%}"';
  if (token.kind === "variableEnd") return '"}}"';
  return JSON.stringify(token.value);
}

export class TokenStream {
  #position = 0;

  constructor(private readonly tokens: readonly Token[]) {}

  get current(): Token {
    return this.tokens[this.#position]!;
  }

  get following(): Token {
    return this.tokens[this.#position + 1] ?? this.current;
  }

  get line(): number {
    return this.current.line;
  }

  is(kind: TokenKind, value?: string): boolean {
    return this.current.kind === kind && (value === undefined || this.current.value === value);
  }

  isOperator(value: string): boolean {
    return this.is("operator", value);
  }

  next(): Token {
    const token = this.current;
    if (token.kind !== "end") this.#position += 1;
    return token;
  }

  skip(kind: TokenKind, value?: string): boolean {
    if (!this.is(kind, value)) return false;
    this.next();
    return true;
  }

  skipOperator(value: string): boolean {
    return this.skip("operator", value);
  }

  expect(kind: TokenKind, value?: string): Token {
    if (!this.is(kind, value)) {
      const wanted = value ?? { blockEnd: "%}", variableEnd: "}}", name: "a name" }[kind as "name"] ?? kind;
      throw this.fault(`expected ${wanted}, got ${shown(this.current)}`);
    }
    return this.next();
  }

  fault(message: string, line = this.line): TemplateFault {
    return new TemplateFault("syntax", message, line);
  }
}
