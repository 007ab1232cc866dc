/** Findings about a run that learns nothing. */
import { describe, expect, it } from "vitest";
import type { Group } from "../../src/contracts/group.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import {
  FRESH_STALL,
  idleCauseOf,
  type StallObservation,
  stallFindings,
} from "../../src/streams/telemetry/stall-detector.js";
import { exampleRollout, exampleTask, scored } from "../../src/testing.js";

const OPTIONS = { noUpdateSteps: 3, equalRewardSteps: 2, unscoredShare: 0.5 };
const failed: RewardOutcome = { kind: "failed", code: "WEIR_E_JUDGE", reason: "down" };

function group(outcomes: readonly (number | RewardOutcome)[], source = "musique"): Group {
  const task = exampleTask({ source });
  const members = outcomes.map((given) => {
    const outcome = typeof given === "number" ? scored(given) : given;
    return { rollout: exampleRollout(task, "x"), outcome, reward: outcome.kind === "scored" ? outcome.value : null };
  });
  return { id: "g", task, phase: 1, visit: 0, carried: false, sequence: 0, members };
}

/** Finds what stands out, step after step. */
function stalls() {
  let state = FRESH_STALL;
  return (observation: StallObservation) => {
    const { found, state: next } = stallFindings(observation, state, OPTIONS);
    state = next;
    return found;
  };
}

const observation = (groups: readonly Group[], rest: Partial<StallObservation> = {}): StallObservation => ({
  groups,
  idleSteps: 0,
  idleCause: null,
  correctAt: 1,
  ...rest,
});

describe("a run that learns nothing", () => {
  it("is raised after the configured number of steps without an update, with cause and remedy", () => {
    const find = stalls();
    const mixed = [group([0, 1])];
    const at = (step: number) => find(observation(mixed, { idleSteps: step, idleCause: "non_finite" }));
    expect([at(1), at(2)]).toEqual([[], []]);
    expect(at(3)).toMatchObject([
      { metric: "update/idle_steps", level: "error", rule: "no_update", value: 3, threshold: 3 },
    ]);
    expect(at(4)[0]?.text).toMatch(/4 consecutive RL steps: .*not finite.*lower optimiser\.learningRate/);
    expect(find(observation(mixed))).toEqual([]);
  });

  it("is raised when every reward is the same for some steps, wrong or right", () => {
    const wrong = stalls();
    expect(wrong(observation([group([0, 0]), group([0])]))).toEqual([]);
    expect(wrong(observation([group([0, 0])]))).toMatchObject([
      { rule: "equal_rewards", level: "warn", text: expect.stringMatching(/reward 0: no response stands out/) },
    ]);
    const right = stalls();
    right(observation([group([0.8, 0.8])], { correctAt: 0.5 }));
    const [alert] = right(observation([group([0.8])], { correctAt: 0.5 }));
    expect(alert?.text).toMatch(/reward 0\.8: all are correct/);
  });

  it("restarts the count of equal rewards at another reward, and keeps it over a step without a score", () => {
    const find = stalls();
    const rules = (...outcomes: (number | RewardOutcome)[]) =>
      find(observation([group(outcomes)])).map(({ rule }) => rule);
    expect(rules(1, 1)).toEqual([]);
    expect(rules(0, 0)).toEqual([]);
    expect(rules(failed, failed)).toEqual(["unscored"]);
    expect(rules(0, 0)).toEqual(["equal_rewards"]);
    expect(rules(0, 1)).toEqual([]);
    expect(rules(1, 1)).toEqual([]);
  });

  it("is told when half of a step's responses could not be scored, with outcomes and data sources", () => {
    const find = stalls();
    const half = [group([0, 1]), group([failed, failed], "triviaqa")];
    const [alert] = find(observation(half));
    expect(alert).toMatchObject({ rule: "unscored", metric: "reward/scored_share", value: 0.5, threshold: 0.5 });
    expect(alert?.text).toMatch(/2 of 4 responses \(50 %\).*failed with WEIR_E_JUDGE 2.*triviaqa 2/);
    expect(find(observation([group([0, 1, 1]), group([failed, 0], "triviaqa")]))).toEqual([]);
  });
});

describe("the cause of a step without an update", () => {
  const step = { dropped: [], kept: [], refused: 0, skipped: 0, rejected: false, learningRate: 1e-3 } as const;
  it("is what became of most groups, or of the optimiser steps", () => {
    expect(idleCauseOf({ ...step, dropped: ["zero_variance", "zero_variance", "group_too_small"] })).toBe(
      "equal_rewards",
    );
    expect(idleCauseOf({ ...step, dropped: ["group_too_small", "group_too_small", "zero_variance"] })).toBe("unscored");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], refused: 1 })).toBe("non_finite");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], skipped: 1 })).toBe("guard");
    expect(idleCauseOf({ ...step, kept: [{ group: group([1, 1]) }] })).toBe("equal_rewards");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], rejected: true })).toBe("rejected");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }] })).toBe("no_gradient");
    expect(idleCauseOf({ ...step, kept: [{ group: group([0, 1]) }], learningRate: 0 })).toBe("zero_rate");
  });
});
