/** The guard of a run, and what its journal says of it: the same states from the journalled verdicts. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { replayGuard } from "../../src/actors/guard/guard-replay.js";
import type { Fact, FactData, FactType } from "../../src/contracts/fact.js";
import { readFacts } from "../../src/store/journal.js";
import { parityReward } from "../e2e/tiny-run.js";
import { fakeRun } from "./fake-run.js";

const MAX_ROLLBACKS = 3;

/** A run of the default guard in which the gradient is steep in the steps given. */
async function runWith(steep: readonly number[]) {
  let calls = 0;
  const gradientNorm = async () => (steep.includes(++calls) ? 900 : 1 + 0.01 * (calls % 5));
  const { system, alerts } = await fakeRun(
    { phases: [{ maxTokens: 300, steps: 20 }], update: { miniBatchPrompts: null } },
    parityReward,
    { trainer: { gradientNorm } },
  );
  await system.start();
  const { runDirectory } = await system.done;
  return { facts: [...readFacts(join(runDirectory, "journal.ndjson"))], alerts };
}

const of = <T extends FactType>(facts: readonly Fact[], type: T) =>
  facts.filter((fact): fact is Fact & { readonly type: T } => fact.type === type) as unknown as {
    readonly step: number;
    readonly data: FactData[T];
  }[];

describe("the guard of a run that names none", () => {
  it("skips a steep gradient, raises the alarm and ends it, and journals its statechart", async () => {
    const { facts, alerts } = await runWith([12]);
    expect(of(facts, "guard.judged").map(({ step, data }) => `${step} ${data.verdict} ${data.rule}`)).toEqual([
      "12 skip gradient_spike",
    ]);
    expect(alerts.filter(({ rule }) => rule === "gradient_spike")).toHaveLength(1);
    const ended = of(facts, "alert.ended").filter(({ data }) => data.rule === "gradient_spike");
    expect(ended.map(({ step, data }) => [step, data.fromStep, data.toStep, data.worst])).toEqual([[13, 12, 12, 900]]);
    expect(replayGuard(facts, MAX_ROLLBACKS)).toEqual({
      told: [
        { step: 12, state: "suspicious" },
        { step: 14, state: "watching" },
      ],
      replayed: [
        { step: 12, state: "suspicious" },
        { step: 14, state: "watching" },
      ],
    });
  });

  it("gives no verdict but commit where nothing is odd", async () => {
    const { facts } = await runWith([]);
    expect(of(facts, "guard.judged")).toEqual([]);
    expect(replayGuard(facts, MAX_ROLLBACKS)).toEqual({ told: [], replayed: [] });
  });
});

describe("a journal", () => {
  let seq = 0;
  const fact = <T extends FactType>(type: T, step: number, data: FactData[T]): Fact =>
    ({ schema_version: 1, seq: ++seq, type, step, time: 0, data }) as unknown as Fact;
  const judged = (step: number, verdict: "skip" | "rollback") =>
    fact("guard.judged", step, {
      ...{ stage: "rl", miniBatch: 0, verdict, reason: "too far", rule: "kl_limit" },
      ...{ scale: null, kl: 9, gradNorm: 1, loss: 0 },
    });
  const calm = (step: number) => fact("metrics.recorded", step, { phase: 1, values: { "group/kept": 1 } });
  const told = (step: number, value: string) => fact("lifecycle.changed", step, { machine: "guard", value });

  it("gives the states of skips, rollbacks and calm steps again", () => {
    const { replayed } = replayGuard(
      [
        ...[calm(1), judged(2, "skip"), told(2, "?")],
        ...[judged(3, "rollback"), told(3, "?")],
        ...[calm(2), calm(3), calm(4), told(4, "?")],
        ...[judged(5, "rollback"), judged(5, "rollback"), judged(5, "rollback"), told(5, "?")],
        ...[judged(5, "rollback"), told(5, "?")],
      ],
      MAX_ROLLBACKS,
    );
    expect(replayed.map(({ state }) => state)).toEqual(["suspicious", "cooling", "watching", "cooling", "exhausted"]);
  });

  it("that tells other states than its verdicts give is found out", () => {
    const replay = replayGuard([calm(1), told(1, "exhausted")], MAX_ROLLBACKS);
    expect(replay).toEqual({ told: [{ step: 1, state: "exhausted" }], replayed: [{ step: 1, state: "watching" }] });
  });

  it("moves no statechart by the warm-up, held-out numbers and other machines", () => {
    const warm = { ...judged(4, "skip").data, stage: "warmup" } as FactData["guard.judged"];
    const { replayed } = replayGuard(
      [
        fact("guard.judged", 0, warm),
        fact("metrics.recorded", 3, { phase: 0, values: { "group/kept": 1 } }),
        fact("metrics.recorded", 3, { phase: 1, values: { "heldout/bucket_1": 1 } }),
        fact("lifecycle.changed", 3, { machine: "lifecycle", value: "training" }),
        told(3, "watching"),
      ],
      MAX_ROLLBACKS,
    );
    expect(replayed).toEqual([{ step: 3, state: "watching" }]);
  });
});
