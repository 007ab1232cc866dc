/** `weir train` on runs that learn nothing: refused, or failed with an exit code of its own; never completed. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { bucketsLine, stepLine, trainCommand } from "../../src/cli/commands/train.js";
import { exitCodeOf } from "../../src/cli/output.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

const CASES = join(OWN_FIXTURES, "cases", "07-run-without-learning");

/** Trains a case's configuration from a folder of its own; paths in it are made absolute. */
async function train(name: string, set: readonly string[]): Promise<number> {
  return trainCommand(join(CASES, `${name}.yaml`), {
    set: [
      `run.directory=${await temporaryFolder()}`,
      `model.path=${join(OWN_FIXTURES, "models", "tiny-qwen2")}`,
      `data.train=["${join(CASES, `${name}.jsonl`)}"]`,
      "engine.backend=cpu",
      "log.file=true",
      ...set,
    ],
  });
}

describe("weir train", () => {
  it.each([
    ["rollout.groupSize=1"],
    ["rollout.groupSize=1", "dynamicSampling.enabled=false"],
    ["rollout.groupSize=1", "advantage.actor=rloo"],
  ])("refuses groups of one at the start: %s %s", async (...set) => {
    const error = await failure(() => train("ok", set), "WEIR_E_CONFIG");
    expect(error.message).toMatch(/rollout\.groupSize/);
    expect(exitCodeOf(error)).toBe(2);
  });

  it("fails with exit code 5 where every reward was 0", async () => {
    const error = await failure(() => train("ok", ["rollout.maxTokens=2"]), "WEIR_E_NOTHING_TRAINED");
    expect(exitCodeOf(error)).toBe(5);
  }, 60_000);

  it("does not complete where half of the tasks cannot be scored and the others give nothing", async () => {
    await expect(train("half", ["rollout.maxTokens=2"])).rejects.toThrow(/WEIR_E_(REWARD_SOURCE|DATA|NOTHING_TRAINED)/);
  }, 60_000);
});

describe("the progress of weir train", () => {
  it("shows a dash for what a step did not measure, and that it made no update", () => {
    expect(stepLine(3, 1, { "group/kept": 0, "update/applied": 0, "response/length_mean": 7.6 })).toBe(
      "step 3 (phase 1) · reward – · accuracy – · entropy – · kl – · length 8 · no update · –",
    );
  });

  it("shows the KL of the update, and the one against the policy that sampled only where that was not measured", () => {
    expect(stepLine(1, 1, { "kl/update": 0.002, "kl/old_k3": 0.5 })).toContain(" · kl 2.0e-3 · ");
    expect(stepLine(1, 1, { "kl/old_k3": 0.5 })).toContain(" · kl 5.0e-1 · ");
  });

  it("shows accuracy over scored responses, how many were not scored, and the mean reward where it is another number", () => {
    expect(
      bucketsLine({
        "1-10": { n: 4, correct: 1, unscored: 2, meanReward: 0.5 },
        "11-20": { n: 2, correct: 0, unscored: 2, meanReward: null },
        "21-30": { n: 8, correct: 2, unscored: 0, meanReward: 0.375 },
      }),
    ).toBe(
      "1-10 tokens 50.0 % (2 of 4 not scored) · 11-20 tokens – (2 of 2 not scored) · 21-30 tokens 25.0 % (mean reward 0.375)",
    );
  });
});
