/** Configurations that are certain to train nothing (I14). */
import { describe, expect, it } from "vitest";
import {
  createDrGrpoAdvantage,
  createGrpoAdvantage,
  createRlooAdvantage,
} from "../../src/actors/advantage/advantage.js";
import { assertCanTrain } from "../../src/actors/run/can-train.js";
import { exitCodeOf } from "../../src/cli/output.js";
import { parseConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { AdvantageActor } from "../../src/contracts/advantage.js";
import { failure } from "../helpers/errors.js";

const own: AdvantageActor = { kind: "raw", specificationVersion: 1, handle: ({ rewards }) => rewards };

function check(over: Partial<ConfigInput>, advantage: AdvantageActor = createGrpoAdvantage()) {
  return () => assertCanTrain(parseConfig({ model: { path: "m" }, data: { train: ["t"] }, ...over }), advantage);
}

describe("a configuration that can train nothing", () => {
  it.each<[string, Partial<ConfigInput>, RegExp]>([
    ["a group of one", { rollout: { groupSize: 1 } }, /"rollout\.groupSize".*"grpo".*at least 2, got 1.*raise/],
    [
      "a group of one without dynamic sampling",
      { rollout: { groupSize: 1 }, dynamicSampling: { enabled: false } },
      /"rollout\.groupSize"/,
    ],
    ["a rate of 0", { optimiser: { learningRate: 0 } }, /"optimiser\.learningRate"/],
    ["a warm-up at rate 0", { warmup: { data: ["s"], learningRate: 0 } }, /"warmup\.learningRate"/],
    [
      "neither RL nor a warm-up",
      { phases: [{ maxTokens: 10, steps: 0 }] },
      /"phases".*0 steps and warmup\.data is empty/,
    ],
  ])("is refused with the option and what to do: %s", async (_, over, message) => {
    const error = await failure(check(over), "WEIR_E_CONFIG");
    expect(error.message).toMatch(message);
    expect(exitCodeOf(error)).toBe(2);
  });

  it("is refused for every built-in advantage, each of which compares the members of a group", () => {
    for (const create of [createGrpoAdvantage, createDrGrpoAdvantage, createRlooAdvantage]) {
      expect(check({ rollout: { groupSize: 1 } }, create())).toThrow(/needs at least 2, got 1/);
      expect(check({ rollout: { groupSize: 2 } }, create())).not.toThrow();
    }
  });
});

describe("a configuration that can train", () => {
  const single: Partial<ConfigInput> = {
    rollout: { groupSize: 1 },
    dynamicSampling: { enabled: false },
  };

  it("may have groups of one where an advantage part of its own asks for no more", () => {
    expect(check(single, own)).not.toThrow();
    expect(check(single, { ...own, minGroupSize: 3 })).toThrow(/"raw".*at least 3, got 1/);
    expect(check({ rollout: { groupSize: 1 } }, own)).toThrow(/"dynamicSampling\.enabled"/);
  });

  it("may leave RL out on purpose, whatever its options", () => {
    const sftOnly = { phases: [{ maxTokens: 10, steps: 0 }], warmup: { data: ["s"] } };
    expect(check({ ...sftOnly, rollout: { groupSize: 1 }, optimiser: { learningRate: 0 } })).not.toThrow();
  });
});
