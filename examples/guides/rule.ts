// A rule: the share of the gold answer's pairs of neighbouring letters that the last line of the response has.
import type { RuleFunction } from "weir-rl";

const overlap: RuleFunction = ({ response, goldAnswers }) => {
  const prediction = response.trim().split("\n").at(-1) ?? "";
  const gold = goldAnswers[0] ?? "";
  const letters = gold.toLowerCase().replace(/\W+/g, "");
  const pairs = [...letters].slice(1).map((letter, at) => `${letters[at]}${letter}`);
  const found = pairs.filter((pair) => prediction.toLowerCase().includes(pair)).length;
  return { value: found / Math.max(1, pairs.length), prediction, gold };
};

export default overlap;
