/** A rule of the user's own: loaded from its module, called, and what it gives checked. */
import type { RewardOutcome } from "../contracts/reward.js";
import type { RuleFunction, RuleFunctionInput, RuleFunctionScore } from "../contracts/rule.js";
import type { RuleResult } from "./rule.js";

/** What became of a rule: its result, or an outcome of the rollout without one. */
export type RuleEnd =
  | { readonly kind: "result"; readonly result: RuleResult }
  | Extract<RewardOutcome, { readonly kind: "timedOut" | "failed" | "invalid" }>;

/** Errors: a plain error that says what is wrong with the module. */
export async function loadRuleFunction(url: string): Promise<RuleFunction> {
  const { default: rule } = (await import(url)) as { readonly default?: unknown };
  if (typeof rule === "function") return rule as RuleFunction;
  throw new Error(`expected a function as its default export, got ${rule === undefined ? "none" : typeof rule}`);
}

/** Calls the rule. What it throws is `failed`, what is no score `invalid`. */
export async function callRuleFunction(rule: RuleFunction, input: RuleFunctionInput): Promise<RuleEnd> {
  let given: unknown;
  try {
    given = await rule(input);
  } catch (error) {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    return { kind: "failed", code: "WEIR_E_PART", reason: `the rule of reward.rules.module threw ${text}` };
  }
  const score = scoreOf(given);
  if (typeof score === "string")
    return { kind: "invalid", reason: `the rule of reward.rules.module gave ${score}; expected ${EXPECTED}` };
  return { kind: "result", result: resultOf(score, input) };
}

const EXPECTED =
  "a finite number, or { value: finite number, prediction: string or null, gold: string, parts: { name: finite number } }";

/** The score, or what was given in its place. */
function scoreOf(given: unknown): RuleFunctionScore | string {
  if (typeof given === "number") return Number.isFinite(given) ? { value: given } : String(given);
  if (typeof given !== "object" || given === null) return typeof given;
  const { value, prediction = null, gold, parts = {} } = given as Partial<RuleFunctionScore>;
  if (!isFiniteNumber(value)) return `value = ${String(value)}`;
  if (prediction !== null && typeof prediction !== "string") return `prediction of type ${typeof prediction}`;
  if (gold !== undefined && typeof gold !== "string") return `gold of type ${typeof gold}`;
  if (typeof parts !== "object" || parts === null || !Object.values(parts).every(isFiniteNumber))
    return "parts that are not finite numbers by name";
  return { value, prediction, parts, ...(gold === undefined ? {} : { gold }) };
}

const isFiniteNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

function resultOf(score: RuleFunctionScore, { goldAnswers }: RuleFunctionInput): RuleResult {
  const { value, prediction = null, parts = {} } = score;
  const gold = score.gold ?? goldAnswers[0] ?? null;
  const stated = prediction !== null && prediction !== "" && gold ? { prediction, gold } : null;
  return { family: null, prediction, gold, score: value, parts, judgeable: stated !== null && value < 1, stated };
}
