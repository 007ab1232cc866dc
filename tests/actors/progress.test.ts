import { describe, expect, it } from "vitest";
import { freshProgress, type Progress, planOf } from "../../src/actors/run/progress.js";
import { warmupPadding, warmupRows, warmupSteps } from "../../src/actors/run/warmup.js";

const workload = { warmupSteps: 2, trainingSteps: 7, heldoutTasks: 5, evaluation: { initial: true } };
const buckets = { "1-9": { n: 5, correct: 1, unscored: 0, meanReward: 0.2 } };

describe("the plan of a run", () => {
  it("leads from preflight over warm-up and phases to the end", () => {
    let progress: Progress = freshProgress;
    const next = () => planOf(progress, workload).next;
    expect(next()).toBe("preflight");
    progress = { ...progress, preflightDone: true };
    expect(next()).toBe("evaluate");
    progress = { ...progress, heldout: { before: buckets } };
    expect(next()).toBe("warmup");
    progress = { ...progress, warmupStep: 2, checkpointDue: true };
    expect(planOf(progress, workload)).toEqual({ next: "evaluate", checkpoint: true });
    progress = { ...progress, heldout: { ...progress.heldout, sft: buckets }, checkpointDue: false };
    expect(next()).toBe("step");
    progress = { ...progress, step: 7, dueEvaluation: "step-7" };
    expect(next()).toBe("evaluate");
    progress = { ...progress, dueEvaluation: null, trainingDone: true };
    expect(next()).toBe("evaluate");
    progress = { ...progress, heldout: { ...progress.heldout, rl: buckets } };
    expect(next()).toBe("finish");
    expect(planOf({ ...progress, finished: true }, workload).next).toBe("complete");
  });

  it("leaves out what there is no data for", () => {
    const bare = { warmupSteps: 0, trainingSteps: 1, heldoutTasks: 0, evaluation: { initial: true } };
    expect(planOf({ ...freshProgress, preflightDone: true }, bare).next).toBe("step");
    expect(planOf({ ...freshProgress, preflightDone: true, trainingDone: true }, bare).next).toBe("finish");
  });
});

describe("a run without an RL stage", () => {
  it("ends after its warm-up and the evaluation of that", () => {
    const sftOnly = { ...workload, trainingSteps: 0 };
    const done = { ...freshProgress, preflightDone: true, warmupStep: 2, heldout: { before: buckets } };
    expect(planOf(done, sftOnly).next).toBe("evaluate");
    expect(planOf({ ...done, heldout: { ...done.heldout, sft: buckets } }, sftOnly).next).toBe("finish");
  });
});

describe("the rows of the warm-up", () => {
  const plan = { rows: 10, batchRows: 4, epochs: 2, seed: 3 };

  it("cover every row once per epoch, in an order that depends on seed and epoch only", () => {
    expect(warmupSteps(plan)).toBe(5);
    const all = Array.from({ length: 5 }, (_, step) => warmupRows(plan, step)).flat();
    expect([...all.slice(0, 10)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect([...all.slice(10)].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(all.slice(0, 10)).not.toEqual(all.slice(10));
    expect(warmupRows(plan, 3)).toEqual(warmupRows(plan, 3));
    expect(warmupRows({ ...plan, seed: 4 }, 0)).not.toEqual(warmupRows(plan, 0));
  });

  it("need no step without rows and at least one with any", () => {
    expect(warmupSteps({ ...plan, rows: 0 })).toBe(0);
    expect(warmupSteps({ ...plan, rows: 1, epochs: 0.1 })).toBe(1);
  });
});

it("counts as padding of a warm-up step what was computed and is no row's input", () => {
  const row = (length: number, weight: number) => ({
    tokenIds: new Array<number>(length).fill(1),
    lossMask: new Array<number>(length).fill(weight),
  });
  // Inputs of 4 and 8 tokens in 16 places; a row without a target is not computed.
  expect(warmupPadding([row(5, 1), row(9, 0.1), row(30, 0)], 16)).toBe(0.25);
  expect(warmupPadding([row(5, 1)], 0)).toBe(0);
});
