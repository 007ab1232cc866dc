/** DocMath: numeric questions over long reports. */
import type { Benchmark, BenchmarkItem, ScoringOptions } from "../contracts/benchmark.js";
import type { RewardMode } from "../contracts/reward.js";
import { docmath } from "../data/formats/all.js";
import { answerSentence } from "../data/synthetic/template.js";
import { parseNumericAnswer, releasedNumbersEqual, releasedValue } from "../rewards/numbers.js";
import { parsedGold } from "../rewards/rule.js";
import { strip } from "../rewards/text.js";
import { itemOf } from "./items.js";
import { type RuleScore, scoreWithJudge } from "./judged.js";
import { evaluationPart, paperScore, problemOf } from "./short-answer.js";

const NAME = "docmath";

/** Rows of paragraphs, question and ground_truth, a number or true or false; the subset is the first word of `question_id`. */
export function createDocMath(mode: RewardMode): Benchmark {
  return {
    kind: NAME,
    specificationVersion: 1,
    item(row, index) {
      const { ground_truth: truth, question_id: id } = row;
      // True and false as Python writes them, which the data set is scored in.
      const answer = typeof truth === "boolean" ? (truth ? "True" : "False") : (truth as string);
      const item = itemOf(docmath, NAME, { ...row, ground_truth: answer }, index);
      const subset = typeof id === "string" ? id.split("-")[0] : undefined;
      return { ...item, source: subset ? `${NAME}/${subset}` : NAME };
    },
    async score(item, response, options) {
      const score =
        mode === "released"
          ? releasedScore(item, response, options.requireThink)
          : paperScore(item, response, familyOf(item), options.requireThink);
      return score.kind === "unscored" ? score : scoreWithJudge(score, options);
    },
  };
}

/** Answers that are no number (true, false) are compared as words. */
function familyOf({ golds }: BenchmarkItem): string {
  const numeric = golds.some((gold) => parsedGold(NAME, answerSentence(gold, "value"), "paper") !== null);
  return numeric ? NAME : "longbench";
}

/**
 * The release's evaluation: the first number after "the answer is ", parentheses deleted, compared with its tolerances. A judge is asked
 * about the cleaned response where no number is found.
 */
function releasedScore(item: BenchmarkItem, response: string, requireThink: ScoringOptions["requireThink"]): RuleScore {
  const part = evaluationPart(response, requireThink);
  const gold = item.golds[0] as string;
  const wanted = parseNumericAnswer(answerSentence(gold, "value"), true);
  const found = part === null ? null : parseNumericAnswer(part, true);
  const equal = found && wanted && releasedNumbersEqual(releasedValue(found), releasedValue(wanted), "evaluation");
  const stated = found || (part === null ? "" : cleaned(part));
  return {
    kind: "ruled",
    rule: equal ? 1 : 0,
    scores: {},
    prediction: found,
    question: stated === "" ? null : { problem: problemOf(item), prediction: stated, gold },
  };
}

/** The response without the answer phrase, and without dots and white space at its end. */
function cleaned(part: string): string {
  return strip(strip(part.replaceAll("Therefore, the answer is", "")).replace(/\.+$/, ""));
}
