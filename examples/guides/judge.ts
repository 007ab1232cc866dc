// A judge that calls two answers equal where one holds the other, and a reward that asks whichever judge is configured.
import type { Judge, Need, PartDefinitions, RewardActor } from "weir-rl";

export const lenient: Judge = {
  kind: "lenient",
  specificationVersion: 1,
  async ask({ prediction, gold }) {
    const [a, b] = [prediction.trim().toLowerCase(), gold.trim().toLowerCase()];
    const equal = a !== "" && (a.includes(b) || b.includes(a));
    return { kind: "verdict", value: equal ? 1 : 0, reply: equal ? "one holds the other" : "neither holds the other" };
  },
};

/** The judge's verdict on the last line of the response, plus up to 0.1 for a varied response. */
export function createJudged(need: Need): RewardActor {
  const judge = need("judge");
  return {
    kind: "judged",
    specificationVersion: 1,
    async handle({ task, rollout }, { signal }) {
      const prediction = rollout.text.trim().split("\n").at(-1) ?? "";
      const verdict = await judge.ask(
        { problem: task.source, prediction, gold: task.goldAnswers[0] ?? "" },
        { signal },
      );
      if (verdict.kind !== "verdict") return verdict;
      const variety = (0.1 * new Set(rollout.tokenIds).size) / Math.max(1, rollout.tokenIds.length);
      return { kind: "scored", value: verdict.value + variety, parts: { judge: verdict.value, variety }, prediction };
    },
    dispose: () => judge.dispose?.(),
  };
}

export const parts: PartDefinitions = { judge: { lenient }, reward: { judged: createJudged } };
