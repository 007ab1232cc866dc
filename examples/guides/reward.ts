// A reward: 1 for an answer that the document holds word for word, and up to 0.1 for text that is made of words.
import type { PartDefinitions, RewardActor } from "weir-rl";

export const cited: RewardActor = {
  kind: "cited",
  specificationVersion: 1,
  async handle({ task, rollout }) {
    if (task.document === null) return { kind: "abstained", reason: "the task has no document" };
    const answer = rollout.text.split("the answer is ").at(1)?.split(".").at(0) ?? null;
    const found = answer !== null && answer !== "" && task.document.includes(answer) ? 1 : 0;
    const characters = [...rollout.text];
    const letters = characters.filter((character) => /[\p{L} ]/u.test(character)).length;
    const words = (0.1 * letters) / Math.max(1, characters.length);
    return { kind: "scored", value: found + words, parts: { found, words }, prediction: answer };
  },
};

export const parts: PartDefinitions = { reward: { cited } };
