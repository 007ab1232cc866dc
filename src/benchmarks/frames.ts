/** FRAMES: multi-hop questions over several Wikipedia pages. */
import type { Benchmark } from "../contracts/benchmark.js";
import type { RewardMode } from "../contracts/reward.js";
import { frames } from "../data/formats/all.js";
import { itemOf } from "./items.js";
import { scoreShortAnswer } from "./short-answer.js";

/** Rows of wiki_items (title, text), Prompt and Answer. */
export function createFrames(mode: RewardMode): Benchmark {
  return {
    kind: "frames",
    specificationVersion: 1,
    item: (row, index) => itemOf(frames, "frames", row, index),
    score: (item, response, options) => scoreShortAnswer(item, response, { mode, source: "frames" }, options),
  };
}
