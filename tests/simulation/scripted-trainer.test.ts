import { beforeEach, describe, expect, it } from "vitest";
import type { PolicyBatch, Trainer } from "../../src/contracts/trainer.js";
import { ScriptedCalls } from "../../src/simulation/calls.js";
import { FaultPlan } from "../../src/simulation/faults.js";
import { GroundTruth } from "../../src/simulation/ground-truth.js";
import { Draws } from "../../src/simulation/latency.js";
import { MemoryFiles } from "../../src/simulation/memory-store.js";
import { ScriptedEngine } from "../../src/simulation/scripted-engine.js";
import { createScriptedTrainer } from "../../src/simulation/scripted-trainer.js";
import { VirtualTime } from "../../src/simulation/virtual-time.js";
import { smallRun } from "./small-run.js";

const { signal } = new AbortController();
let time: VirtualTime;
let truth: GroundTruth;
let trainer: Trainer;

beforeEach(() => {
  time = new VirtualTime();
  truth = new GroundTruth(() => time.now());
  const draws = new Draws(1, "test", 0);
  const calls = new ScriptedCalls({
    ...{ time, draws, truth, faults: new FaultPlan(draws, 0) },
    onCall: () => undefined,
    trace: () => undefined,
  });
  const engine = new ScriptedEngine("trainer", time, null, true);
  trainer = createScriptedTrainer({
    ...{ config: smallRun(), calls, truth, engine, files: new MemoryFiles(), maxLag: () => 1 },
  });
});

async function whenDone<T>(work: Promise<T>): Promise<T> {
  let over = false;
  const end = () => {
    over = true;
  };
  work.then(end, end);
  await time.run(() => over);
  return work;
}

/** One update on responses of the first token ids given, and a publication. */
async function update(...tokenIds: readonly number[][]): Promise<void> {
  const completions = tokenIds.map((ids) => ({
    tokenIds: ids,
    advantages: ids.map(() => 1),
    oldLogprobs: null,
    refLogprobs: null,
  }));
  const batch = { groups: [{ promptIds: [1], completions }], denominators: { tokens: 4, sequences: 1 } } as never;
  await whenDone(trainer.forwardBackward(batch as PolicyBatch, { signal }));
  await whenDone(trainer.optimStep({} as never, { signal }));
  await whenDone(trainer.publish({ signal, as: "handle", folder: null }));
}

function drawn(version: number, outcome: "scored" | "abstained" = "scored"): number[] {
  const identity = truth.identities[version];
  if (identity === undefined) throw new Error(`version ${version} is not published yet`);
  const ids = truth.drawn([{ identity, tokens: 10 }], 10, 1);
  truth.scored(`r${ids[0]}`, ids, outcome);
  return ids;
}

describe("the scripted trainer", () => {
  it("takes what was scored and is not older than the bound, and counts its tokens by lag", async () => {
    const old = drawn(0);
    await update(drawn(0));
    await update(old, drawn(1));
    expect(truth.violations).toEqual([]);
    expect(truth.lags).toEqual([20, 10]);
    expect(truth.applied).toBe(2);
  });

  it("I13: finds tokens that are too old", async () => {
    const old = drawn(0);
    await update(drawn(0));
    await update(drawn(1));
    await update(old);
    expect(truth.violations).toMatchObject([
      { invariant: "I13", text: "rollout r0 has tokens 2 versions old, async.maxLag is 1" },
    ]);
  });

  it("I1: finds a response without a score", async () => {
    await update(drawn(0, "abstained"));
    expect(truth.violations).toMatchObject([
      { invariant: "I1", text: "the trainer was given a response whose reward is abstained" },
    ]);
  });

  it("I2: finds a response that is trained on in two updates", async () => {
    const twice = drawn(0);
    await update(twice);
    await update(twice);
    expect(truth.violations).toMatchObject([
      { invariant: "I2", text: "rollout r0 was trained on at version 0 and again at 1" },
    ]);
  });

  it("I13: finds tokens of weights that a rollback has undone", async () => {
    await whenDone(trainer.saveState("saved", { signal }));
    await update(drawn(0));
    const undone = drawn(1);
    await whenDone(trainer.loadState("saved", { signal }));
    await update(drawn(0));
    await update(undone);
    expect(truth.violations[0]).toMatchObject({
      invariant: "I13",
      text: `rollout r${undone[0]} has tokens of version 1, which is not one that version 1 comes from`,
    });
  });
});
