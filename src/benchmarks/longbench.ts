/** The five question-answering sets of LongBench (v1) that QwenLong-L1 reports, each a file of its own. */
import type { Benchmark } from "../contracts/benchmark.js";
import type { RewardMode } from "../contracts/reward.js";
import { longbench } from "../data/formats/all.js";
import { rowFault } from "./cells.js";
import { itemOf } from "./items.js";
import { scoreShortAnswer } from "./short-answer.js";

/** Names of the sets, as LongBench's column `dataset` has them. */
export const LONGBENCH_SETS = ["2wikimqa", "hotpotqa", "musique", "narrativeqa", "qasper"] as const;
export type LongBenchSet = (typeof LONGBENCH_SETS)[number];

/** Rows of input, context and answers; `dataset`, where there is one, is the set's name, also with LongBench-E's suffix `_e`. */
export function createLongBench(set: LongBenchSet, mode: RewardMode): Benchmark {
  return {
    kind: set,
    specificationVersion: 1,
    item(row, index) {
      const { dataset } = row;
      const named = typeof dataset === "string" && dataset !== "";
      if (named && dataset !== set && dataset !== `${set}_e`)
        throw rowFault(set, index, "dataset", `"${set}"`, dataset);
      return { ...itemOf(longbench, set, row, index), source: named ? dataset : set };
    },
    score: (item, response, options) => scoreShortAnswer(item, response, { mode, source: set }, options),
  };
}
