/** The syntax tree of a template. Every node carries the line it starts on. */

export type Expression = { readonly line: number } & (
  | { readonly type: "constant"; readonly value: string | number | boolean | null }
  | { readonly type: "float"; readonly value: number }
  | { readonly type: "name"; readonly name: string }
  | { readonly type: "list" | "tuple"; readonly items: readonly Expression[] }
  | { readonly type: "dict"; readonly entries: readonly (readonly [Expression, Expression])[] }
  | { readonly type: "attribute"; readonly object: Expression; readonly name: string }
  | { readonly type: "item"; readonly object: Expression; readonly key: Expression }
  | { readonly type: "slice"; readonly object: Expression; readonly parts: SliceParts }
  | { readonly type: "call"; readonly callee: Expression; readonly args: CallArguments }
  | {
      /** `value` is null inside `{% filter %}` and `{% set x | … %}`, where it is the block's text. */
      readonly type: "filter";
      readonly name: string;
      readonly value: Expression | null;
      readonly args: CallArguments;
    }
  | { readonly type: "test"; readonly name: string; readonly value: Expression; readonly args: CallArguments }
  | { readonly type: "not" | "negative" | "positive"; readonly value: Expression }
  | { readonly type: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | { readonly type: "binary"; readonly operator: string; readonly left: Expression; readonly right: Expression }
  | {
      readonly type: "compare";
      readonly first: Expression;
      readonly rest: readonly { readonly operator: string; readonly value: Expression }[];
    }
  | { readonly type: "concat"; readonly items: readonly Expression[] }
  | {
      readonly type: "choice";
      readonly test: Expression;
      readonly yes: Expression;
      /** Undefined where there is no else. */
      readonly no: Expression | null;
    }
);

export type SliceParts = readonly [Expression | null, Expression | null, Expression | null];

export interface CallArguments {
  readonly positional: readonly Expression[];
  readonly named: readonly { readonly name: string; readonly value: Expression }[];
  /** `*list` and `**dict`. */
  readonly spread: Expression | null;
  readonly spreadNamed: Expression | null;
}

/** What `set`, `for` and `with` assign to. */
export type Target = { readonly line: number } & (
  | { readonly type: "name"; readonly name: string }
  | { readonly type: "member"; readonly namespace: string; readonly name: string }
  | { readonly type: "tuple"; readonly items: readonly Target[] }
);

export interface Parameter {
  readonly name: string;
  readonly fallback: Expression | null;
}

export interface For {
  readonly type: "for";
  readonly line: number;
  readonly target: Target;
  readonly iterable: Expression;
  readonly test: Expression | null;
  readonly recursive: boolean;
  readonly body: readonly Statement[];
  readonly otherwise: readonly Statement[];
}

export interface MacroSyntax {
  readonly type: "macro" | "callBlock";
  readonly line: number;
  /** "caller" for a call block. */
  readonly name: string;
  readonly parameters: readonly Parameter[];
  readonly body: readonly Statement[];
  /** The call that a call block serves. */
  readonly call: Expression | null;
}

export type Statement =
  | For
  | MacroSyntax
  | { readonly type: "text"; readonly line: number; readonly text: string }
  | { readonly type: "output"; readonly line: number; readonly value: Expression }
  | {
      readonly type: "if";
      readonly line: number;
      readonly branches: readonly { readonly test: Expression; readonly body: readonly Statement[] }[];
      readonly otherwise: readonly Statement[];
    }
  | { readonly type: "set"; readonly line: number; readonly target: Target; readonly value: Expression }
  | {
      readonly type: "setBlock";
      readonly line: number;
      readonly target: Target;
      readonly filter: Expression | null;
      readonly body: readonly Statement[];
    }
  | {
      readonly type: "with";
      readonly line: number;
      readonly targets: readonly Target[];
      readonly values: readonly Expression[];
      readonly body: readonly Statement[];
    }
  | {
      readonly type: "filterBlock";
      readonly line: number;
      readonly filter: Expression;
      readonly body: readonly Statement[];
    }
  | { readonly type: "generation"; readonly line: number; readonly body: readonly Statement[] }
  | { readonly type: "break" | "continue"; readonly line: number };
