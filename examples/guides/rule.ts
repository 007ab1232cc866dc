// A rule: the share of the gold answer's words that the last line of the response has.
import type { RuleFunction } from "weir-rl";

const overlap: RuleFunction = ({ response, goldAnswers }) => {
  const prediction = response.trim().split("\n").at(-1) ?? "";
  const gold = goldAnswers[0] ?? "";
  const words = gold.toLowerCase().split(/\W+/).filter(Boolean);
  const found = words.filter((word) => prediction.toLowerCase().includes(word)).length;
  return { value: found / Math.max(1, words.length), prediction, gold };
};

export default overlap;
