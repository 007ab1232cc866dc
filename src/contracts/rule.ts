import type { Json } from "./task.js";

/** What a rule of the user's own is given: plain data, since it runs in a thread of its own. */
export interface RuleFunctionInput {
  readonly source: string;
  /** The response, without its end-of-sequence text. */
  readonly response: string;
  readonly goldAnswers: readonly string[];
  /** The question without its document; null where the prompt has no recognisable one. */
  readonly problem: string | null;
  readonly document: string | null;
  readonly meta: Readonly<Record<string, Json>>;
}

export interface RuleFunctionScore {
  /** The reward; finite. */
  readonly value: number;
  /** The answer that was found; null, or left out, where there is none. The hybrid reward gives it to the judge. */
  readonly prediction?: string | null;
  /** The gold answer that the judge compares it with; the first of `goldAnswers` where it is left out. */
  readonly gold?: string;
  /** What the value is made of, by name. */
  readonly parts?: Readonly<Record<string, number>>;
}

/** A rule of the user's own: the default export of the module that `reward.rules.module` names. What it throws fails that one response. */
export type RuleFunction = (
  input: RuleFunctionInput,
) => number | RuleFunctionScore | Promise<number | RuleFunctionScore>;
