// Parts of one's own for `weir train CONFIG --parts parts.js --set reward.actor=cited`: a reward, a judge and an advantage.
// A factory gets other parts by `need`, and publishes metrics of its own, which are plotted as custom/NAME.
import type { AdvantageActor, Judge, PartDefinitions, PartTools, RewardActor } from "weir-rl";

/** 1 for an answer that is in the document word for word, less the longer it is. */
function createCitedReward({ publish }: PartTools): RewardActor {
  return {
    kind: "cited",
    specificationVersion: 1,
    async handle({ task, rollout }) {
      if (task.document === null) return { kind: "abstained", reason: "the task has no document" };
      const answer = rollout.text.split("the answer is ").at(-1)?.trim() ?? "";
      const cited = answer !== "" && task.document.includes(answer) ? 1 : 0;
      const brief = 1 / (1 + rollout.tokenIds.length);
      publish("answer/characters", answer.length);
      return { kind: "scored", value: cited + brief, parts: { cited, brief }, prediction: answer };
    },
  };
}

/** Calls two answers equal where one holds the other. */
const lenientJudge: Judge = {
  kind: "lenient",
  specificationVersion: 1,
  async ask({ prediction, gold }) {
    const [a, b] = [prediction.toLowerCase(), gold.toLowerCase()];
    return { kind: "verdict", value: a.includes(b) || b.includes(a) ? 1 : 0, reply: "" };
  },
};

/** Reward minus the group's median. */
const medianAdvantage: AdvantageActor = {
  kind: "median",
  specificationVersion: 1,
  handle({ rewards }) {
    const sorted = [...rewards].sort((a, b) => a - b);
    const median = sorted[Math.floor(sorted.length / 2)] ?? 0;
    return rewards.map((reward) => reward - median);
  },
};

export const parts: PartDefinitions = {
  reward: { cited: (_need, tools) => createCitedReward(tools) },
  judge: { lenient: lenientJudge },
  advantage: { median: medianAdvantage },
};
