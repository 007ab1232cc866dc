// Custom parts for `weir train CONFIG --parts parts.js --set reward.actor=cited`: a reward, a judge, two advantages and a loss.
// A factory gets other parts by `need`, and publishes metrics of its own, which are plotted as custom/NAME.
import type {
  AdvantageActor,
  BatchAdvantageActor,
  Judge,
  LossPart,
  PartDefinitions,
  PartTools,
  RewardActor,
} from "weir-rl";

/** 1 for an answer that occurs verbatim in the document, less for longer answers. */
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

/** Two answers are equal if one contains the other. */
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

/**
 * Reward minus the group's mean, larger where the policy was unsure: each token is weighted by its entropy over the mean entropy
 * of the batch. Version 2 of the contract sees the whole batch.
 */
const entropyAdvantage: BatchAdvantageActor = {
  kind: "entropy",
  specificationVersion: 2,
  handle(groups) {
    const all = groups.flatMap(({ members }) => members.flatMap(({ entropies }) => entropies ?? []));
    const mean = all.reduce((sum, entropy) => sum + entropy, 0) / Math.max(1, all.length);
    return groups.map(({ members }) => {
      const baseline = members.reduce((sum, { reward }) => sum + reward, 0) / members.length;
      return members.map(({ reward, tokenIds, entropies }) =>
        tokenIds.map((_, t) => (reward - baseline) * (mean > 0 && entropies ? (entropies[t] as number) / mean : 1)),
      );
    });
  },
};

/** REINFORCE with the ratio π/π_old as a weight that is 0 where the ratio is above 2: ℓ = −ratio·A·log π, the ratio held fixed. */
const cutLoss: LossPart = {
  kind: "cut",
  specificationVersion: 1,
  aggregation: "token-mean",
  evaluate(sequences) {
    let value = 0;
    let clipped = 0;
    const coefficients = sequences.map(({ logprobs, old, advantages, weights }) =>
      Array.from(weights, (weight, t) => {
        if (weight === 0) return 0;
        const ratio = Math.exp((logprobs[t] as number) - (old[t] as number));
        if (ratio > 2) clipped += 1;
        const coefficient = ratio > 2 ? 0 : -weight * ratio * (advantages[t] as number);
        value += coefficient * (logprobs[t] as number);
        return coefficient;
      }),
    );
    return { value, coefficients, clipped, clippedLower: 0 };
  },
};

export const parts: PartDefinitions = {
  reward: { cited: (_need, tools) => createCitedReward(tools) },
  judge: { lenient: lenientJudge },
  advantage: { median: medianAdvantage, entropy: entropyAdvantage },
  loss: { cut: cutLoss },
};
