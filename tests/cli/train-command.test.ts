/** `weir train` on runs that learn nothing: refused, or failed with an exit code of its own; never completed. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { bucketsLine, stepLine, type TrainCommandOptions, trainCommand } from "../../src/cli/commands/train.js";
import { exitCodeOf } from "../../src/cli/output.js";
import { preflightReport, refuses } from "../../src/cli/preflight-report.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

const CASES = join(OWN_FIXTURES, "cases", "07-run-without-learning");

/** Trains a case's configuration from a folder of its own; paths in it are made absolute. */
async function train(
  name: string,
  set: readonly string[],
  options: Partial<TrainCommandOptions> = {},
): Promise<number> {
  return trainCommand(join(CASES, `${name}.yaml`), {
    ...options,
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
    const set = ["rollout.maxTokens=2", "run.preflight=warn"];
    const error = await failure(() => train("ok", set), "WEIR_E_NOTHING_TRAINED");
    expect(exitCodeOf(error)).toBe(5);
  }, 60_000);

  it("refuses the same run before it begins, with exit code 2, the cause and the way to train all the same", async () => {
    const error = await failure(() => train("ok", ["rollout.maxTokens=2"]), "WEIR_E_PREFLIGHT");
    expect(exitCodeOf(error)).toBe(2);
    expect(error.message).toMatch(/all \d+ trial responses got the reward 0.*set run\.preflight to warn/);
    expect(error.details).toEqual({ causes: ["equal_rewards"] });
  }, 60_000);

  it("looks and trains nothing with --preflight-only: exit code 2 where the run would be refused", async () => {
    const only = (set: readonly string[]) => train("ok", ["rollout.maxTokens=2", ...set], { preflightOnly: true });
    expect(await only([])).toBe(2);
    expect(await only(["run.preflight=warn"])).toBe(0);
  }, 60_000);

  it("does not complete where half of the tasks cannot be scored and the others give nothing", async () => {
    await expect(train("half", ["rollout.maxTokens=2"])).rejects.toThrow(/WEIR_E_(REWARD_SOURCE|DATA|NOTHING_TRAINED)/);
  }, 60_000);
});

describe("what preflight found", () => {
  const found = {
    ...{ rollouts: 16, truncatedShare: 0.5, zeroVarianceShare: 1, neverIssuedShare: 0, tasksPerPhase: [3, 4] },
    ...{ rewardHistogram: { "0": 16 }, outcomes: { scored: 16 }, memory: "0.41 GiB planned", warnings: [] },
  };

  it("is a table of the trial batch, and each finding with its remedy", () => {
    const finding = { cause: "equal_rewards", refuses: true, what: "all equal", remedy: "a warm-up" };
    const text = preflightReport({ ...found, findings: [finding, { ...finding, cause: "unscored", refuses: false }] });
    expect(text).toMatch(/^preflight +found\n.*\ntrial responses +16\n/s);
    expect(text).toMatch(/rewards +0: 16\n.*tasks per phase +3, 4\n/s);
    expect(text).toContain("refused (equal_rewards): all equal\n  remedy: a warm-up\nwarning (unscored): all equal");
    expect(preflightReport({ ...found, findings: [] })).toMatch(/\n\nnothing to change was found$/);
    expect([refuses({ findings: [finding] }), refuses({ findings: [] })]).toEqual([true, false]);
  });
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
