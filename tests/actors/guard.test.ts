/** The guard between gradient and optimiser step: its verdicts, and what becomes of a run. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { guardedStep } from "../../src/actors/guard/guard.js";
import { checkedPart } from "../../src/actors/parts/checked-parts.js";
import type { Evidence, Guard, KlMeasure, Verdict } from "../../src/contracts/guard.js";
import type { OptimiserConfig, PolicyMetrics } from "../../src/contracts/trainer.js";
import { WeirError } from "../../src/errors.js";
import { createFakeTrainer } from "../../src/testing.js";
import { endStates, parityReward } from "../e2e/tiny-run.js";
import { TEST_OPTIMISER } from "../helpers/engines.js";
import { demonstrations, fakeRun } from "./fake-run.js";

const { signal } = new AbortController();
/** Of a guard without rules. */
const UNRULED = { rule: null, scale: null, kl: null } as const;

function guardOf(judge: (evidence: Evidence) => Verdict, over: Partial<Guard> = {}): Guard {
  return { kind: "test", specificationVersion: 1, judge, ...over };
}

interface GuardFact {
  readonly type: string;
  readonly step: number;
  readonly data: Readonly<Record<string, unknown>>;
}

async function facts(directory: string, type: string): Promise<GuardFact[]> {
  const lines = (await readFile(join(directory, "journal.ndjson"), "utf8")).trim().split("\n");
  return lines.map((line) => JSON.parse(line) as GuardFact).filter((fact) => fact.type === type);
}

describe("a guarded step", () => {
  const base = {
    stage: "rl",
    step: 1,
    phase: 1,
    miniBatch: 0,
    policy: { n: 0, sha256: "" },
    groups: [],
  } as const;
  /** KL of a step that leaves this share of the weights' change. */
  const moved = (share: number) => ({ k3: 0.4 * share ** 2, k1: 0.1, standardError: null, max: 1, tokens: 9 });
  interface Over {
    readonly gradNorm?: number;
    readonly trial?: boolean;
    readonly revises?: boolean;
    readonly kl?: (share: number) => KlMeasure;
  }
  const run = async (
    guard: Guard,
    gradient: () => Promise<Partial<PolicyMetrics>>,
    { gradNorm = 2, trial = false, revises = true, kl = moved }: Over = {},
  ) => {
    const calls: string[] = [];
    let share = 0;
    const fake = createFakeTrainer();
    const trainer = {
      ...fake,
      capabilities: { ...fake.capabilities, revisesSteps: revises },
      gradientNorm: async () => gradNorm,
      discardGradients: async () => void calls.push("discard"),
      optimStep: async ({ learningRate }: OptimiserConfig, { revisable = false }) => {
        share = learningRate / TEST_OPTIMISER.learningRate;
        calls.push(revisable ? "trial" : share === 1 ? "step" : `step ${share}`);
        return { applied: true, gradNorm, gradNormByTensor: null };
      },
      reviseStep: async (left: number) => {
        share = left;
        calls.push(`revise ${left}`);
      },
    };
    const outcome = guardedStep<PolicyMetrics>(
      trainer,
      guard,
      {
        base,
        optimiser: TEST_OPTIMISER,
        gradient: async () => (await gradient()) as PolicyMetrics,
        rehearsal: null,
        policyOf: () => null,
        valuesOf: () => ({ "reward/mean": 0.5 }),
        measure: async () => {
          calls.push("measure");
          return kl(share);
        },
        trial,
      },
      signal,
    );
    return { outcome, calls };
  };

  it("shows the guard the numbers before anything is applied, and carries out its verdict", async () => {
    const seen: Evidence[] = [];
    const commit = await run(
      guardOf((evidence) => {
        seen.push(evidence);
        return { action: "commit" };
      }),
      async () => ({ loss: 0.5, tokens: 9 }),
    );
    await commit.outcome;
    expect(commit.calls).toEqual(["step", "measure"]);
    expect(seen).toEqual([
      expect.objectContaining({ loss: 0.5, gradNorm: 2, tokens: 9, nonFinite: [], policyVersion: 0, step: 1 }),
    ]);
    expect(seen[0]).toMatchObject({ trial: null, values: { "reward/mean": 0.5 } });
    const skip = await run(
      guardOf(() => ({ action: "skip", reason: "not today" })),
      async () => ({ loss: 0.5, tokens: 9 }),
    );
    expect(await skip.outcome).toMatchObject({
      step: { committed: false, judged: { verdict: { reason: "not today" } } },
    });
    expect(skip.calls).toEqual(["discard"]);
    const back = await run(
      guardOf(() => ({ action: "rollback", reason: "too far" })),
      async () => ({ loss: 0.5, tokens: 9 }),
    );
    expect(await back.outcome).toMatchObject({
      step: { committed: false, judged: { verdict: { action: "rollback", reason: "too far" } } },
    });
    expect(back.calls).toEqual(["discard"]);
  });

  it("makes a step smaller without a trial by its rate, and says so", async () => {
    const shrink = guardOf(() => ({ action: "shrink", scale: 0.25, reason: "large", rule: "gradient_spike" }));
    const { outcome, calls } = await run(shrink, async () => ({ loss: 0.5, tokens: 9 }));
    expect(await outcome).toMatchObject({
      step: { committed: true, kl: { k3: 0.025 }, judged: { verdict: { scale: 0.25 }, evidence: { trial: null } } },
    });
    expect(calls).toEqual(["step 0.25", "measure"]);
  });

  describe("with a trial", () => {
    const finite = async () => ({ loss: 0.5, tokens: 9 });
    const cases: readonly (readonly [Verdict, readonly string[], number | null])[] = [
      [{ action: "commit" }, ["trial", "measure", "revise 1"], 0.4],
      [{ action: "shrink", scale: 0.5, reason: "KL" }, ["trial", "measure", "revise 0.5", "measure"], 0.1],
      [{ action: "skip", reason: "KL" }, ["trial", "measure", "revise 0"], 0.4],
      [{ action: "rollback", reason: "KL" }, ["trial", "measure", "revise 0"], 0.4],
    ];
    it.each(cases)(
      "$action: judges what the step did, and leaves what the verdict says",
      async (verdict, expected, k3) => {
        const seen: Evidence[] = [];
        const guard = guardOf((evidence) => {
          seen.push(evidence);
          return verdict;
        });
        const { outcome, calls } = await run(guard, finite, { trial: true });
        const { step } = await outcome;
        expect(calls).toEqual(expected);
        expect(seen).toEqual([expect.objectContaining({ trial: moved(1), nonFinite: [] })]);
        expect(step.kl?.k3).toBeCloseTo(k3 as number, 12);
        expect(step.committed).toBe(verdict.action === "commit" || verdict.action === "shrink");
        expect(step.judged?.verdict ?? { action: "commit" }).toEqual(verdict);
      },
    );

    it("I7: undoes a step after which the policy is not finite, whatever the guard says", async () => {
      const kl = () => ({ ...moved(1), k3: Number.NaN });
      const { outcome, calls } = await run(
        guardOf(() => ({ action: "commit" })),
        finite,
        { trial: true, kl },
      );
      expect(await outcome).toMatchObject({
        step: { committed: false, judged: { evidence: { nonFinite: ["trial"], trial: null } } },
      });
      expect(calls).toEqual(["trial", "measure", "revise 0"]);
    });

    it("judges before the step where the trainer cannot revise it, and tries nothing that is not finite", async () => {
      const always = guardOf(() => ({ action: "commit" }));
      const plain = await run(always, finite, { trial: true, revises: false });
      await plain.outcome;
      expect(plain.calls).toEqual(["step", "measure"]);
      const odd = await run(always, finite, { trial: true, gradNorm: Number.NaN });
      await odd.outcome;
      expect(odd.calls).toEqual(["discard"]);
    });
  });

  describe("of a trainer that cannot throw a gradient away", () => {
    const rehearsing = async (
      verdict: Verdict,
      found: { readonly rehearsed?: number; readonly gradient?: number } = {},
    ) => {
      const calls: string[] = [];
      const fake = createFakeTrainer();
      const pass = (what: string, loss: number) => async () => {
        calls.push(what);
        if (Number.isFinite(loss)) return { loss, tokens: 9 } as PolicyMetrics;
        throw new WeirError("WEIR_E_NON_FINITE", "loss is NaN", { metric: "pgLoss" });
      };
      const seen: Evidence[] = [];
      const outcome = guardedStep<PolicyMetrics>(
        {
          ...fake,
          capabilities: { ...fake.capabilities, discardsGradients: false, revisesSteps: false },
          gradientNorm: () => Promise.reject(new Error("there is none")),
          discardGradients: () => Promise.reject(new Error("it cannot")),
          optimStep: async ({ learningRate }: OptimiserConfig) => {
            calls.push(`step ${learningRate / TEST_OPTIMISER.learningRate}`);
            return { applied: true, gradNorm: 3, gradNormByTensor: null };
          },
        },
        guardOf((evidence) => {
          seen.push(evidence);
          return verdict;
        }),
        {
          ...{ base, optimiser: TEST_OPTIMISER, policyOf: () => null, valuesOf: () => ({}), trial: true },
          gradient: pass("gradient", found.gradient ?? 0.5),
          rehearsal: pass("rehearsal", found.rehearsed ?? 0.5),
          measure: async () => {
            calls.push("measure");
            return moved(1);
          },
        },
        signal,
      );
      return { outcome, calls, seen };
    };

    it("judges a forward pass, and computes the gradient only of what is applied", async () => {
      const commit = await rehearsing({ action: "commit" });
      expect(await commit.outcome).toMatchObject({
        metrics: { loss: 0.5 },
        step: { committed: true, reply: { gradNorm: 3 }, kl: { k3: 0.4 }, judged: null },
      });
      expect(commit.calls).toEqual(["rehearsal", "gradient", "step 1", "measure"]);
      expect(commit.seen).toMatchObject([{ loss: 0.5, gradNorm: null, trial: null, nonFinite: [] }]);
      const shrink = await rehearsing({ action: "shrink", scale: 0.5, reason: "large" });
      expect(await shrink.outcome).toMatchObject({ step: { committed: true, judged: { verdict: { scale: 0.5 } } } });
      expect(shrink.calls).toEqual(["rehearsal", "gradient", "step 0.5", "measure"]);
    });

    it.each(["skip", "rollback"] as const)("sends nothing on %s", async (action) => {
      const { outcome, calls } = await rehearsing({ action, reason: "odd" });
      expect(await outcome).toMatchObject({
        metrics: { loss: 0.5 },
        step: { committed: false, judged: { verdict: { action } } },
      });
      expect(calls).toEqual(["rehearsal"]);
    });

    it("I7: sends nothing where the rehearsal is not finite, and goes back where only the gradient is not", async () => {
      const odd = await rehearsing({ action: "commit" }, { rehearsed: Number.NaN });
      expect(await odd.outcome).toMatchObject({
        metrics: null,
        step: { committed: false, judged: { evidence: { nonFinite: ["pgLoss"] }, verdict: { action: "skip" } } },
      });
      expect(odd.calls).toEqual(["rehearsal"]);
      const late = await rehearsing({ action: "commit" }, { gradient: Number.NaN });
      await expect(late.outcome).rejects.toMatchObject({ code: "WEIR_E_REMOTE_STATE" });
      expect(late.calls).toEqual(["rehearsal", "gradient"]);
    });
  });

  it("I7: never applies what is not finite, whatever the guard says", async () => {
    const always = guardOf(() => ({ action: "commit" }));
    const norm = await run(always, async () => ({ loss: 0.5, tokens: 9 }), { gradNorm: Number.POSITIVE_INFINITY });
    expect(await norm.outcome).toMatchObject({ step: { committed: false } });
    expect(norm.calls).toEqual(["discard"]);
    const loss = await run(always, async () => {
      throw new WeirError("WEIR_E_NON_FINITE", "loss is NaN", { metric: "pgLoss" });
    });
    const outcome = await loss.outcome;
    expect(outcome.metrics).toBeNull();
    expect(outcome.step).toMatchObject({ judged: { evidence: { nonFinite: ["pgLoss"], loss: null } } });
    expect(loss.calls).toEqual([]);
  });
});

describe("a run with a guard of its own", () => {
  const onePhase = { phases: [{ maxTokens: 300, steps: 3 }], update: { miniBatchPrompts: null } };

  it("skips the updates that it rejects: no weight changes, the groups are saved, ledger and journal say why", async () => {
    const guard = guardOf(({ step, stage }) =>
      stage === "rl" && step === 2 ? { action: "skip", reason: "step 2 looks odd" } : { action: "commit" },
    );
    const { system, metrics } = await fakeRun(onePhase, parityReward, { actors: { guard } });
    await system.start();
    const { runDirectory } = await system.done;
    const skipped = metrics.flatMap(({ values }) => ("guard/skipped" in values ? [values["guard/skipped"]] : []));
    expect(skipped).toEqual([0, 1, 0]);
    const versions = (await facts(runDirectory, "step.committed")).map(({ data }) => data.policyVersion);
    expect(versions).toEqual([1, 1, 2]);
    expect((await facts(runDirectory, "guard.judged")).map(({ data }) => data)).toEqual([
      // The fake's policy never moves, so that the trial step's KL is 0.
      {
        ...UNRULED,
        kl: 0,
        stage: "rl",
        miniBatch: 0,
        verdict: "skip",
        reason: "step 2 looks odd",
        gradNorm: 1,
        loss: 0,
      },
    ]);
    const ends = [...(await endStates(runDirectory)).entries()];
    expect(new Set(ends.filter(([id]) => id.startsWith("s2-")).map(([, end]) => end))).toContain("dropped:guard");
    expect(ends.filter(([id]) => !id.startsWith("s2-")).map(([, end]) => end)).not.toContain("dropped:guard");
  });

  it("goes back to the snapshot before the step: journal and ledger go on, weights get a number of their own", async () => {
    let rejected = 0;
    const guard = guardOf(
      ({ step }) => {
        if (step !== 3 || rejected > 0) return { action: "commit" };
        rejected++;
        return { action: "rollback", rule: "gradient_spike", reason: "the norm jumped" };
      },
      {
        snapshot: () => rejected,
        restore: (state) => {
          rejected = state as number;
        },
      },
    );
    const { system, metrics } = await fakeRun({ ...onePhase, checkpoint: { everySteps: 2 } }, parityReward, {
      actors: { guard },
    });
    const states: string[] = [];
    system.state$.subscribe(({ lifecycle }) => states.push(lifecycle));
    await system.start();
    const { status, runDirectory } = await system.done;
    expect(status).toBe("completed");
    const passed = states.filter((state, i) => state !== states[i - 1]);
    const at = passed.indexOf("rollingBack");
    expect(passed.slice(at, at + 3)).toEqual(["rollingBack", "checkpointing", "training"]);
    expect(await facts(runDirectory, "run.resumed")).toEqual([]);
    const ends = await endStates(runDirectory);
    const undone = [...ends.values()].filter((end) => end === "rolledBack").length;
    expect((await facts(runDirectory, "run.rolledBack")).map(({ data }) => data)).toEqual([
      {
        ...{ fromStep: 3, toStep: 2, reason: "the norm jumped", rule: "gradient_spike" },
        ...{ by: { kind: "guard", name: "gradient_spike" }, undone, count: 1 },
      },
    ]);
    expect(undone).toBeGreaterThanOrEqual(4);
    expect((await facts(runDirectory, "guard.judged")).map(({ data }) => data.verdict)).toEqual(["rollback"]);
    // Version 3 is that of the restored weights.
    expect((await facts(runDirectory, "step.committed")).map(({ data }) => data.policyVersion)).toEqual([1, 2, 4]);
    expect((await facts(runDirectory, "checkpoint.written")).map(({ data }) => data.step)).toEqual([2, 2, 3]);
    expect(metrics.flatMap(({ values }) => values["guard/rollbacks"] ?? [])).toEqual([0, 0, 1]);
    expect(metrics.every(({ values }) => (values["time/snapshot_seconds"] ?? 0) >= 0)).toBe(true);
  });

  it("draws other tasks after a rollback, or with skipBatch off other responses to the same", async () => {
    const drawn = async (skipBatch: boolean) => {
      let rejected = false;
      const batches: string[][] = [];
      const guard = guardOf(({ step, groups }) => {
        if (step !== 2) return { action: "commit" };
        batches.push(groups.map(({ taskId }) => taskId));
        if (rejected) return { action: "commit" };
        rejected = true;
        return { action: "rollback", reason: "once" };
      });
      const over = { ...onePhase, dynamicSampling: { enabled: false }, guard: { afterRollback: { skipBatch } } };
      const { system } = await fakeRun(over, parityReward, { actors: { guard } });
      await system.start();
      await system.done;
      return batches;
    };
    const skipped = await drawn(true);
    expect(skipped).toHaveLength(2);
    expect(skipped[1]?.filter((task) => skipped[0]?.includes(task))).toEqual([]);
    const again = await drawn(false);
    expect(again[1]).toEqual(again[0]);
  });

  it("goes further back each time, then pauses for a person, who lets it go on", async () => {
    let patience = 4;
    const guard = guardOf(({ step }) =>
      step === 3 && patience-- > 0 ? { action: "rollback", reason: "never step 3" } : { action: "commit" },
    );
    const over = {
      ...onePhase,
      dynamicSampling: { enabled: false },
      guard: { maxRollbacks: 2, snapshots: { keep: 3 } },
    };
    const { system, alerts } = await fakeRun(over, parityReward, { actors: { guard } });
    const paused = new Promise<void>((resolve) => {
      system.state$.subscribe(({ lifecycle }) => {
        if (lifecycle === "paused") resolve();
      });
    });
    await system.start();
    await paused;
    const told = await facts(system.runDirectory as string, "run.rolledBack");
    expect(told.map(({ data }) => [data.fromStep, data.toStep, data.count])).toEqual([
      [3, 2, 1],
      [3, 1, 2],
      [3, 0, 3],
    ]);
    expect(alerts.filter(({ rule }) => rule === "rollbacks_exhausted")).toMatchObject([
      { level: "error", value: 3, text: expect.stringContaining("never step 3") },
    ]);
    system.resume();
    const { status, runDirectory } = await system.done;
    expect(status).toBe("completed");
    expect((await facts(runDirectory, "run.rolledBack")).map(({ data }) => data.toStep)).toEqual([2, 1, 0, 2]);
    await endStates(runDirectory);
  });

  it("goes back within the warm-up, too", async () => {
    let rejected = false;
    const guard = guardOf(({ stage, step }) => {
      if (stage !== "warmup" || step !== 2 || rejected) return { action: "commit" };
      rejected = true;
      return { action: "rollback", reason: "the loss jumped" };
    });
    const warmup = { data: [await demonstrations()], batchRows: 2, epochs: 2 };
    const { system } = await fakeRun({ ...onePhase, warmup }, parityReward, { actors: { guard } });
    await system.start();
    const { runDirectory } = await system.done;
    expect((await facts(runDirectory, "run.rolledBack")).map(({ data }) => data)).toMatchObject([
      { fromStep: 0, toStep: 0, undone: 0 },
    ]);
    expect((await facts(runDirectory, "warmup.finished")).map(({ data }) => data)).toMatchObject([{ steps: 4 }]);
  });

  it("judges the warm-up, too, and a run whose every update it skips has trained nothing", async () => {
    const seen = new Set<string>();
    const guard = guardOf(({ stage }) => {
      seen.add(stage);
      return { action: "skip", reason: "no" };
    });
    const warmup = { data: [await demonstrations()], batchRows: 2, epochs: 1 };
    const { system, alerts } = await fakeRun({ ...onePhase, warmup, guard: { noUpdateSteps: 2 } }, parityReward, {
      actors: { guard },
    });
    await system.start();
    await expect(system.done).rejects.toThrow("WEIR_E_NOTHING_TRAINED");
    expect([...seen]).toEqual(["warmup", "rl"]);
    expect(alerts.find(({ rule, step }) => rule === "no_update" && step > 0)?.text).toMatch(
      /the guard skipped every update/,
    );
  });

  it("leaves rollouts as trained that moved the weights in an earlier epoch", async () => {
    const guard = guardOf(({ miniBatch }) =>
      miniBatch === 1 ? { action: "skip", reason: "second epoch" } : { action: "commit" },
    );
    const over = { ...onePhase, update: { miniBatchPrompts: null, epochs: 2 } };
    const { system } = await fakeRun(over, parityReward, { actors: { guard } });
    await system.start();
    const { runDirectory } = await system.done;
    const ends = new Set((await endStates(runDirectory)).values());
    expect(ends).toContain("trained");
    expect(ends).not.toContain("dropped:guard");
  });

  it("journals how it has steps trained where that changes, and goes back to the configuration", async () => {
    const guard = guardOf(() => ({ action: "commit" }), {
      prepare: ({ step }) =>
        step === 2 || step === 3
          ? { maskNegatives: true, entropyCoefficient: 0.01, reason: "entropy is low" }
          : { maskNegatives: false, entropyCoefficient: null, reason: null },
    });
    const { system } = await fakeRun({ ...onePhase, phases: [{ maxTokens: 300, steps: 5 }] }, parityReward, {
      actors: { guard },
    });
    await system.start();
    const { runDirectory } = await system.done;
    expect((await facts(runDirectory, "guard.prepared")).map(({ step, data }) => [step, data])).toEqual([
      [2, { maskNegatives: true, entropyCoefficient: 0.01, reason: "entropy is low" }],
      [4, { maskNegatives: false, entropyCoefficient: null, reason: "as the configuration says" }],
    ]);
    // Half of each group is left out of the loss in the steps between.
    const ends = [...(await endStates(runDirectory)).entries()].filter(([, end]) => end === "dropped:rejected");
    expect(new Set(ends.map(([id]) => id.slice(0, 2)))).toEqual(new Set(["s2", "s3"]));
  });

  it("is refused where it prepares what cannot be trained", async () => {
    const guard = guardOf(() => ({ action: "commit" }), { prepare: () => ({ maskNegatives: "yes" }) as never });
    const { system } = await fakeRun(onePhase, parityReward, { actors: { guard } });
    await system.start();
    await expect(system.done).rejects.toThrow(/WEIR_E_PART: the guard part "test" gave .* from prepare\(\)/);
  });

  it("is given up where it does not answer in time (I5)", async () => {
    const guard: Guard = { kind: "deaf", specificationVersion: 1, judge: () => new Promise(() => undefined) };
    const checked = checkedPart({ part: "guard", name: "deaf" }, guard, () => undefined, -4_990);
    await expect(checked.judge({} as Evidence, { signal })).rejects.toThrow(/WEIR_E_PART.*did not answer judge/);
    const stop = new AbortController();
    const waiting = checkedPart({ part: "guard", name: "deaf" }, guard, () => undefined).judge({} as Evidence, stop);
    stop.abort(new Error("stopped"));
    await expect(waiting).rejects.toThrow("stopped");
  });

  it("is refused where it breaks its contract", async () => {
    const guard = guardOf(() => ({ action: "perhaps" }) as never);
    const { system } = await fakeRun(onePhase, parityReward, { actors: { guard } });
    await system.start();
    await expect(system.done).rejects.toThrow(/WEIR_E_PART: the guard part "test" gave .*perhaps/);
    const half = guardOf(() => ({ action: "commit" }), { snapshot: () => null });
    const other = await fakeRun(onePhase, parityReward, { actors: { guard: half } });
    await expect(other.system.start()).rejects.toThrow(/only one of snapshot\(\) and restore\(\)/);
  });
});
