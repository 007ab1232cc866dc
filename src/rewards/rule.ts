/**
 * The rule reward: parse the answer, parse the gold sentence alike, compare by the family's rule.
 *
 * `released` is exactly the code release, loopholes included. `paper` is Eq. 12, exact match: equal after normalisation
 * (QA), equal as exact numbers with their sign (numeric: "1.5 million" is "1,500,000", "-5" is not "5"), equal letters
 * (multiple choice); docs/answers.md says what counts as the answer. Both need it after `</think>` unless `requireThink` is off.
 */
import type { RewardFamily, RewardMode, RewardOutcome } from "../contracts/reward.js";
import { rewardFamily } from "./family.js";
import { parseChoice } from "./multiple-choice.js";
import { parseNumericAnswer, releasedNumbersEqual, releasedValue } from "./numbers.js";
import { type Answer, paperAnswer, paperGold } from "./paper-answer.js";
import { parseQaAnswer, substringMatch } from "./qa.js";
import { answerPart } from "./text.js";

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
  /** Null for a rule of the user's own. */
  readonly family: RewardFamily | null;
  /** Parsed answer; null where none was found, may be empty. A number is in canonical form in the paper's mode. */
  readonly prediction: string | null;
  /** The parsed gold answer that matched, else the first; null where no sentence has one. */
  readonly gold: string | null;
  /** r_rule of Eq. 12: 0 or 1; a rule of the user's own gives any finite number. */
  readonly score: number;
  /** What a score of the user's own is made of. */
  readonly parts?: Readonly<Record<string, number>>;
  /** True where the release asks its judge: a wrong, non-empty answer of a family that is judged. */
  readonly judgeable: boolean;
  /** Both answers as they are written, with units and words: what a judge is given. Null where one is missing or empty. */
  readonly stated: { readonly prediction: string; readonly gold: string } | null;
}

/** Errors: WEIR_E_REWARD_SOURCE for an unknown data source. */
export function scoreByRule(input: RuleInput, options: RuleOptions): RuleResult {
  const family = rewardFamily(input.source);
  const part = answerPart(input.response, options.requireThink);
  const rule = RULES[options.mode];
  const response = part === null ? null : rule.read(part, family);
  const golds = input.goldAnswers.map((gold) => rule.readGold(gold, family)).filter((gold) => gold !== null);
  const answer = response !== null && response.text !== "" ? response : null;
  const matched = answer === null ? undefined : golds.find((gold) => rule.isEqual(answer, gold, family));
  const gold = matched ?? golds[0] ?? null;
  const score = matched === undefined ? 0 : 1;
  const stated = answer && gold ? { prediction: answer.stated, gold: gold.stated } : null;
  return {
    family,
    prediction: response?.text ?? null,
    gold: gold?.text ?? null,
    score,
    judgeable: stated !== null && score === 0 && family !== "multiple-choice",
    stated,
  };
}

/**
 * The gold answer that a rule reads from a gold sentence; null where it reads none, so that no response can be scored by it:
 * a sentence without a statement and, in the paper's mode, a numeric one that is not one number.
 * Errors: WEIR_E_REWARD_SOURCE for an unknown data source.
 */
export function parsedGold(source: string, sentence: string, mode: RewardMode): string | null {
  return RULES[mode].readGold(sentence, rewardFamily(source))?.text ?? null;
}

interface AnswerRule {
  read(text: string, family: RewardFamily): Answer | null;
  readGold(sentence: string, family: RewardFamily): Answer | null;
  isEqual(answer: Answer, gold: Answer, family: RewardFamily): boolean;
}

const RULES: Readonly<Record<RewardMode, AnswerRule>> = {
  paper: {
    read: paperAnswer,
    readGold: paperGold,
    isEqual: (answer, gold) => answer.keys.some((key) => gold.keys.includes(key)),
  },
  released: { read: releasedAnswer, readGold: releasedAnswer, isEqual: releasedEqual },
};

/** The release's parsed text; it reads responses and gold sentences alike. */
function releasedAnswer(text: string, family: RewardFamily): Answer | null {
  const parse = { qa: parseQaAnswer, numeric: parseNumericAnswer, "multiple-choice": parseChoice }[family];
  const parsed = parse(text);
  return parsed === null ? null : { text: parsed, stated: parsed, keys: [parsed] };
}

function releasedEqual({ text }: Answer, gold: Answer, family: RewardFamily): boolean {
  if (family === "multiple-choice") return text === gold.text;
  if (family === "qa") return substringMatch(text, gold.text);
  return releasedNumbersEqual(releasedValue(text), releasedValue(gold.text), "training");
}

/**
 * The outcome of a rule. In the paper's mode a gold sentence without an answer is a fault of the data, hence `failed`;
 * the release scores it 0.
 */
export function ruleOutcome(result: RuleResult, mode: RewardMode): RewardOutcome {
  const { family, gold, score, parts, prediction } = result;
  if (gold === null && family !== null && mode === "paper") return goldFailure(family);
  return { kind: "scored", value: score, parts: { ...parts, rule: score }, prediction };
}

function goldFailure(family: RewardFamily): RewardOutcome {
  const form = family === "multiple-choice" ? "The correct answer is (X)." : "Therefore, the answer is X.";
  const what = family === "numeric" ? ", where X is one number" : "";
  return {
    kind: "failed",
    code: "WEIR_E_DATA",
    reason: `the ground truth holds no answer that the rule can read; expected a sentence of the form "${form}"${what}`,
  };
}
