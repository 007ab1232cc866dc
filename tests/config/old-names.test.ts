import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/config/load.js";
import {
  currentFact,
  currentMetric,
  currentOptionPath,
  currentOptions,
  currentOptionValue,
  currentState,
  OLD_NAMES,
  type OldNames,
  oldOption,
  oldOptionsAt,
} from "../../src/config/old-names.js";
import { optionAt } from "../../src/config/schema-walk.js";
import { METRICS } from "../../src/streams/telemetry/metrics.js";

const NAMES: OldNames = {
  options: {
    "spikes.limit": "spikes.klLimit",
    "sampling.heat": "rollout.temperature",
    "loss.bound": { removed: "set loss.largestRatio" },
    "rollout.half": { now: "rollout.whole", advice: "give twice as much", convert: (value) => 2 * (value as number) },
  },
  metrics: { "kl/previous": "kl/old_k3", "accuracy/phase_<k>": "accuracy/bucket_<k>" },
  facts: { "step.done": "step.committed" },
  factFields: { "step.committed": { taken: "kept" } },
  checkpointState: { "progress.rlSteps": "progress.step" },
};

describe("old names of metrics", () => {
  it("are those of the table, also with a phase number", () => {
    expect(currentMetric("kl/previous", NAMES)).toBe("kl/old_k3");
    expect(currentMetric("accuracy/phase_12", NAMES)).toBe("accuracy/bucket_12");
    expect(currentMetric("accuracy/phase_x", NAMES)).toBe("accuracy/phase_x");
    expect(currentMetric("reward/mean", NAMES)).toBe("reward/mean");
    expect(currentMetric("toString", NAMES)).toBe("toString");
  });
});

describe("old names of options", () => {
  it("move to their place in a resolved configuration, and leave no empty section", () => {
    const old = { spikes: { window: 20, limit: 0.5 }, sampling: { heat: 0.7 }, rollout: { topP: 1 } };
    expect(currentOptions(old, NAMES)).toEqual({
      spikes: { window: 20, klLimit: 0.5 },
      rollout: { topP: 1, temperature: 0.7 },
    });
    expect(old.sampling).toEqual({ heat: 0.7 });
  });

  it("give way to the present name", () => {
    expect(currentOptions({ spikes: { limit: 1, klLimit: 2 } }, NAMES)).toEqual({ spikes: { klLimit: 2 } });
  });

  it("of a removed option stay, so that the check of options can name them", () => {
    expect(currentOptions({ loss: { bound: 3 } }, NAMES)).toEqual({ loss: { bound: 3 } });
    expect(oldOption("loss.bound", NAMES)).toEqual({ removed: "set loss.largestRatio" });
    expect(oldOptionsAt("sampling", NAMES)).toEqual([["sampling.heat", "rollout.temperature"]]);
    expect(oldOptionsAt("spike", NAMES)).toEqual([]);
  });

  it("are converted where the value means something else now", () => {
    expect(currentOptions({ rollout: { half: 3, topP: 1 } }, NAMES)).toEqual({ rollout: { whole: 6, topP: 1 } });
    expect(currentOptionPath("rollout.half", NAMES)).toBe("rollout.whole");
    expect(currentOptionValue("rollout.half", 4, {}, NAMES)).toBe(8);
    expect(currentOptionPath("loss.bound", NAMES)).toBe("loss.bound");
    expect(currentOptionValue("rollout.topP", 1, {}, NAMES)).toBe(1);
    // Two of eight responses were enough: a quarter.
    const before = { rollout: { groupSize: 8 }, dynamicSampling: { minScored: 2, enabled: true } };
    expect(currentOptions(before)).toEqual({
      rollout: { groupSize: 8 },
      dynamicSampling: { enabled: true, minScoredShare: 0.25 },
    });
    expect(() =>
      parseConfig({ model: { path: "m" }, data: { train: ["t"] }, dynamicSampling: { minScored: 2 } } as never),
    ).toThrow(/option "dynamicSampling.minScored" is called "dynamicSampling.minScoredShare" now; give the share/);
  });

  it("in a configuration that a person wrote are refused with the present name", () => {
    const options = OLD_NAMES.options as Record<string, unknown>;
    options["sampling.heat"] = "rollout.temperature";
    options["loss.bound"] = { removed: "set loss.largestRatio" };
    try {
      const input = { model: { path: "m" }, data: { train: ["t"] }, sampling: { heat: 1 }, loss: { bound: 3 } };
      expect(() => parseConfig(input)).toThrow(
        /WEIR_E_CONFIG[\s\S]*option "loss.bound" is no longer there: set loss.largestRatio[\s\S]*option "sampling.heat" is called "rollout.temperature" now; rename it/,
      );
    } finally {
      delete options["sampling.heat"];
      delete options["loss.bound"];
    }
  });
});

describe("old names of facts", () => {
  it("are those of kinds, fields, metrics and the metric of an alert", () => {
    expect(currentFact("step.done", { taken: 2, groups: 3 }, NAMES)).toEqual({
      type: "step.committed",
      data: { kept: 2, groups: 3 },
    });
    expect(
      currentFact("metrics.recorded", { phase: 1, values: { "kl/previous": 1, "reward/mean": 2 } }, NAMES),
    ).toEqual({
      type: "metrics.recorded",
      data: { phase: 1, values: { "kl/old_k3": 1, "reward/mean": 2 } },
    });
    expect(currentFact("alert.raised", { alert: { metric: "kl/previous" } }, NAMES).data).toEqual({
      alert: { metric: "kl/old_k3" },
    });
    expect(currentState({ progress: { rlSteps: 4 } }, NAMES)).toEqual({ progress: { step: 4 } });
  });
});

describe("the table", () => {
  it("leads to names that there are, and from none that is in use", () => {
    const registered = new Set<string>(METRICS.map(({ name }) => name));
    for (const [old, now] of Object.entries(OLD_NAMES.options)) {
      expect(optionAt(old.split(".")), old).toBeNull();
      if (typeof now === "object" && "removed" in now) continue;
      const path = typeof now === "string" ? now : now.now;
      expect(optionAt(path.split(".")), path).not.toBeNull();
    }
    for (const old of Object.keys(OLD_NAMES.metrics)) expect(registered.has(old), old).toBe(false);
  });
});
