/** Behaviours in a run: metrics, stored rollouts, and the counts of a judge. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { ConfigInput } from "../../src/config/schema.js";
import { BEHAVIOURS } from "../../src/contracts/behaviour.js";
import type { Judge } from "../../src/contracts/judge.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import { readRollouts } from "../../src/store/index.js";
import { createFakeJudge } from "../../src/testing.js";
import { parityReward } from "../e2e/tiny-run.js";
import { fakeRun } from "./fake-run.js";

const COUNTS = { grounding: 2, subgoal_setting: 1, backtracking: 0, verification: 0 };
const steps = { phases: [{ maxTokens: 300, steps: 2 }], update: { miniBatchPrompts: null } };

/** A run of two steps whose reward asks for the judge and gives the parity of a rollout's place. */
async function runWith(behaviours: { readonly judgeShare: number; readonly timeoutMs?: number }, judge: Judge) {
  const over: Partial<ConfigInput> = { ...steps, reward: { actor: "asking", behaviours } };
  const run = await fakeRun(over, parityReward, { actors: { reward: undefined as never, judge } });
  run.system.register("reward", "asking", (need): RewardActor => {
    need("judge");
    return parityReward;
  });
  return run;
}

const answering = (text: string): Judge => ({
  ...createFakeJudge([1]),
  chat: async () => ({ kind: "reply", text }),
});

/** Values of the metrics of the RL steps. */
const ofSteps = (metrics: readonly MetricRecord[]) =>
  metrics.map(({ values }) => values).filter((values) => values["group/kept"] !== undefined);

describe("behaviours of a run", () => {
  it("are in the metrics of each step and in the stored rollouts", async () => {
    const { system, metrics } = await fakeRun(steps, parityReward);
    await system.start();
    const { runDirectory } = await system.done;
    const [values, ...others] = ofSteps(metrics);
    expect(others).toHaveLength(1);
    for (const behaviour of BEHAVIOURS) expect(values?.[`behaviour/${behaviour}_per_response`]).toBe(0);
    expect(values).not.toHaveProperty("behaviour/judge_failed_share");
    const traces = await readRollouts(join(runDirectory, "rollouts"), 1);
    expect(traces.length).toBeGreaterThan(0);
    for (const trace of traces) expect([trace.behaviours, trace.judgedBehaviours]).toEqual([[], null]);
  });

  it("are counted by the reward's judge too, and the counts are stored with the rollouts", async () => {
    const { system, metrics } = await runWith({ judgeShare: 1 }, answering(JSON.stringify(COUNTS)));
    await system.start();
    const { runDirectory } = await system.done;
    for (const values of ofSteps(metrics))
      expect(values).toMatchObject({
        "behaviour/judge_failed_share": 0,
        "behaviour/judged_grounding_per_response": 2,
        "behaviour/grounding_agreement": 0,
        "behaviour/backtracking_agreement": 1,
      });
    const traces = await readRollouts(join(runDirectory, "rollouts"), 2);
    expect(new Set(traces.map(({ judgedBehaviours }) => JSON.stringify(judgedBehaviours)))).toEqual(
      new Set([JSON.stringify(COUNTS)]),
    );
  });

  it("change nothing else: a judge that answers nothing of use, or not at all, leaves the run as it would be", async () => {
    const silent: Judge = { ...createFakeJudge([1]), chat: () => new Promise(() => undefined) };
    const rewards: unknown[] = [];
    for (const [judge, judgeShare] of [
      [answering("no idea"), 1],
      [silent, 1],
      [answering(JSON.stringify(COUNTS)), 0],
    ] as const) {
      const { system, metrics } = await runWith({ judgeShare, timeoutMs: 20 }, judge);
      await system.start();
      await system.done;
      const values = ofSteps(metrics);
      rewards.push(values.map((one) => [one["reward/mean"], one["group/kept"], one["gradient/norm"]]));
      expect(values.map((one) => one["behaviour/judge_failed_share"])).toEqual(
        judgeShare === 0 ? [undefined, undefined] : [1, 1],
      );
    }
    expect(rewards[1]).toEqual(rewards[0]);
    expect(rewards[2]).toEqual(rewards[0]);
  });

  it("cannot be counted by a judge that is not there, or answers no such questions", async () => {
    const none = await fakeRun({ ...steps, reward: { behaviours: { judgeShare: 0.5 } } }, parityReward);
    await expect(none.system.start()).rejects.toThrow(/WEIR_E_CONFIG.*the reward asks no judge/);
    const mute = await runWith({ judgeShare: 0.5 }, createFakeJudge([1]));
    await expect(mute.system.start()).rejects.toThrow(/WEIR_E_CONFIG.*the judge "fake" has no chat\(\)/);
  });
});
