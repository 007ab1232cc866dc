/**
 * Owns the rule reward: parse the answer, parse the gold sentence alike, compare by the family's rule.
 *
 * `released` is the code release to the letter, loopholes included. `paper` is Eq. 12, exact match: normalised strings are
 * equal (QA), decimal numbers are equal with their sign (numeric: "12.50" is "12.5", "-5" is not "5"), letters are equal
 * (multiple choice). Both need the answer after `</think>` unless `requireThink` is off.
 */
import type { RewardOutcome } from "../contracts/reward.js";
import { type RewardFamily, rewardFamily } from "./family.js";
import { parseChoice, parseChoiceStrictly } from "./multiple-choice.js";
import { canonicalNumber, parseNumericAnswer, releasedNumbersEqual, releasedValue } from "./numbers.js";
import { parseQaAnswer, strictMatch, substringMatch } from "./qa.js";
import { answerPart } from "./text.js";

export type RewardMode = "paper" | "released";

export interface RuleOptions {
  readonly mode: RewardMode;
  /** A response without `</think>` has no answer. */
  readonly requireThink: boolean;
}

export interface RuleInput {
  readonly source: string;
  readonly response: string;
  /** The accepted gold *sentences* ("Therefore, the answer is Paris."), at least one; the best score over all counts. */
  readonly goldAnswers: readonly string[];
}

export interface RuleResult {
  readonly family: RewardFamily;
  /** Parsed answer; null where none was found, may be empty. */
  readonly prediction: string | null;
  /** The parsed gold answer that matched, else the first; null where no sentence has one. */
  readonly gold: string | null;
  /** r_rule of Eq. 12. */
  readonly score: 0 | 1;
  /** True where a judge may raise the score: a wrong, non-empty answer of a family that is judged. */
  readonly judgeable: boolean;
}

/** Errors: WEIR_E_REWARD_SOURCE for an unknown data source. */
export function scoreByRule(input: RuleInput, options: RuleOptions): RuleResult {
  const family = rewardFamily(input.source);
  const parse = parserOf(family, options.mode);
  const part = answerPart(input.response, options.requireThink);
  const prediction = part === null ? null : parse(part);
  const golds = input.goldAnswers.map(parse).filter((gold) => gold !== null);
  const answered = prediction !== null && prediction !== "";
  const matched = answered ? golds.find((gold) => isEqual(family, options.mode, prediction, gold)) : undefined;
  const gold = matched ?? golds[0] ?? null;
  const score = matched === undefined ? 0 : 1;
  const comparable = answered && gold !== null;
  return { family, prediction, gold, score, judgeable: comparable && score === 0 && family !== "multiple-choice" };
}

/**
 * The gold answer that a rule reads from a gold sentence; null where it reads none, so that no response can be scored by it.
 * Errors: WEIR_E_REWARD_SOURCE for an unknown data source.
 */
export function parsedGold(source: string, sentence: string, mode: RewardMode): string | null {
  return parserOf(rewardFamily(source), mode)(sentence);
}

function parserOf(family: RewardFamily, mode: RewardMode): (text: string) => string | null {
  if (family === "qa") return parseQaAnswer;
  if (family === "numeric") return (text) => parseNumericAnswer(text);
  return mode === "paper" ? parseChoiceStrictly : parseChoice;
}

function isEqual(family: RewardFamily, mode: RewardMode, prediction: string, gold: string): boolean {
  if (family === "multiple-choice") return prediction === gold;
  if (family === "qa") return mode === "paper" ? strictMatch(prediction, gold) : substringMatch(prediction, gold);
  if (mode === "released") return releasedNumbersEqual(releasedValue(prediction), releasedValue(gold), "training");
  const number = canonicalNumber(prediction);
  return number !== null && number === canonicalNumber(gold);
}

/**
 * The outcome of a rule. In the paper's mode a gold sentence without an answer is a fault of the data, hence `failed`;
 * the release scores it 0.
 */
export function ruleOutcome(result: RuleResult, mode: RewardMode): RewardOutcome {
  if (result.gold === null && mode === "paper") return goldFailure(result.family);
  return { kind: "scored", value: result.score, parts: { rule: result.score }, prediction: result.prediction };
}

function goldFailure(family: RewardFamily): RewardOutcome {
  const form = family === "multiple-choice" ? "The correct answer is (X)." : "Therefore, the answer is X.";
  return {
    kind: "failed",
    code: "WEIR_E_DATA",
    reason: `the ground truth holds no answer; expected a sentence of the form "${form}"`,
  };
}
