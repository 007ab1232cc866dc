/** Knobs that are turned, batches that are skipped and parts that are named while a run is under way. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { TrainingSystem } from "../../src/actors/run/training-system.js";
import type { Fact, FactType } from "../../src/contracts/fact.js";
import type { Guard } from "../../src/contracts/guard.js";
import type { PolicyBatch, Trainer } from "../../src/contracts/trainer.js";
import { readFacts } from "../../src/store/journal.js";
import { readRunRecord } from "../../src/store/run-record.js";
import { createFakeEngine } from "../../src/testing.js";
import { endStates, parityReward } from "../e2e/tiny-run.js";
import { fakeRun } from "./fake-run.js";

const onePhase = { phases: [{ maxTokens: 300, steps: 4 }], update: { miniBatchPrompts: null } };
const BY_PROGRAM = { kind: "program", name: "" };

const factsOf = <T extends FactType>(directory: string, type: T): Fact<T>[] =>
  [...readFacts(join(directory, "journal.ndjson"))].filter((fact) => fact.type === type) as Fact[] as Fact<T>[];

/** Does `act` once step `step` has been committed. */
function afterStep(system: TrainingSystem, step: number, act: () => void): void {
  const subscription = system.facts$.subscribe((fact) => {
    if (fact.type !== "step.committed" || fact.step !== step) return;
    subscription.unsubscribe();
    act();
  });
}

const messageOf = (promise: Promise<void>) =>
  promise.then(
    () => "done",
    (error: Error) => error.message,
  );

/** A fake engine that keeps what its trainer was told of loss, optimiser and groups. */
function watchedEngine() {
  const fake = createFakeEngine();
  const { trainer } = fake;
  const rates: number[] = [];
  const batches: PolicyBatch[] = [];
  const watched: Trainer = {
    ...trainer,
    optimStep: (optimiser, ...rest) => {
      rates.push(optimiser.learningRate);
      return trainer.optimStep(optimiser, ...rest);
    },
    forwardBackward: (batch, ...rest) => {
      batches.push(batch);
      return trainer.forwardBackward(batch, ...rest);
    },
  };
  return { actors: { engine: async () => ({ ...fake, trainer: watched }) }, rates, batches };
}

describe("setKnob()", () => {
  it("changes what the next steps do, and journals who turned what from what to what", async () => {
    const { actors, rates, batches } = watchedEngine();
    const { system } = await fakeRun(onePhase, parityReward, { actors });
    const turns: Promise<void>[] = [];
    afterStep(system, 2, () => {
      turns.push(
        system.setKnob("optimiser.learningRate", 5e-4, { reason: "a trial" }),
        system.setKnob("loss.clipHigh", 0.4),
        system.setKnob("loss.entropyCoefficient", -0.5),
        system.setKnob("rollout.temperature", 1.5),
        system.setKnob("rollout.groupSize", 6),
      );
    });
    await system.start();
    const { runDirectory } = await system.done;
    await Promise.all(turns);
    expect(rates).toEqual([1e-3, 1e-3, 5e-4, 5e-4]);
    const seen = batches.map(({ loss, groups }) => [
      loss.settings.clipHigh,
      loss.entropyCoefficient,
      loss.temperature,
      groups[0]?.completions.length,
    ]);
    expect(seen).toEqual([
      [0.28, 0, 1, 4],
      [0.28, 0, 1, 4],
      [0.4, -0.5, 1.5, 6],
      [0.4, -0.5, 1.5, 6],
    ]);
    const facts = factsOf(runDirectory, "knob.turned");
    expect(facts.map(({ step }) => step)).toEqual([2, 2, 2, 2, 2]);
    expect(facts.map(({ data }) => data)).toEqual([
      { path: "optimiser.learningRate", old: 1e-3, new: 5e-4, by: BY_PROGRAM, reason: "a trial" },
      { path: "loss.clipHigh", old: null, new: 0.4, by: BY_PROGRAM, reason: null },
      { path: "loss.entropyCoefficient", old: 0, new: -0.5, by: BY_PROGRAM, reason: null },
      { path: "rollout.temperature", old: 1, new: 1.5, by: BY_PROGRAM, reason: null },
      { path: "rollout.groupSize", old: 4, new: 6, by: BY_PROGRAM, reason: null },
    ]);
    // Each is on the disk, apart from the checkpoints, so that a kill does not lose it.
    const { orders, config } = await readRunRecord(runDirectory);
    expect(orders.map(({ order }) => order)).toHaveLength(5);
    expect(config).toMatchObject({ optimiser: { learningRate: 1e-3 } });
    expect([...(await endStates(runDirectory)).values()].filter((state) => state === "dropped:aborted")).toEqual([]);
  });

  it("takes effect in a paused run at once, and lists the knobs as they are", async () => {
    const { system } = await fakeRun(onePhase, parityReward);
    const paused = new Promise<void>((resolve) => {
      system.state$.subscribe(({ lifecycle }) => lifecycle === "paused" && resolve());
    });
    expect(system.knobs).toEqual([]);
    afterStep(system, 1, () => system.pause());
    await system.start();
    await paused;
    await system.setKnob("optimiser.learningRate", 2e-3);
    const rate = () => system.knobs.find(({ path }) => path === "optimiser.learningRate");
    expect(rate()).toMatchObject({ value: 2e-3, configured: 1e-3 });
    expect(system.state.lifecycle).toBe("paused");
    await system.setKnob("optimiser.learningRate", 1e-3);
    // A knob that has the value already is not turned.
    await system.setKnob("optimiser.learningRate", 1e-3);
    system.resume();
    const { runDirectory } = await system.done;
    expect(factsOf(runDirectory, "knob.turned").map(({ data }) => data.new)).toEqual([2e-3, 1e-3]);
    await expect(system.setKnob("optimiser.learningRate", 1)).rejects.toThrow(/WEIR_E_STATE/);
  });

  it("refuses what the run cannot do, at once, and changes nothing", async () => {
    const { system } = await fakeRun({ ...onePhase, loss: { algorithm: "reinforce" } }, parityReward);
    await expect(system.setKnob("optimiser.learningRate", 1)).rejects.toThrow(/WEIR_E_STATE.*call start\(\) first/);
    const texts: Promise<string>[] = [];
    afterStep(system, 1, () => {
      for (const [path, value] of [
        ["optimiser.learnRate", 1],
        ["optimiser.learningRate", 2],
        ["loss.clipLow", 0.1],
        ["async.maxLag", 2],
        ["loss.klCoefficient", 0.1],
        ["rollout.groupSize", 1],
      ] as const)
        texts.push(messageOf(system.setKnob(path, value)));
    });
    await system.start();
    const { runDirectory } = await system.done;
    const refusals = await Promise.all(texts);
    for (const [at, text] of [
      /WEIR_E_KNOB: there is no knob "optimiser.learnRate"; did you mean "optimiser.learningRate"/,
      /WEIR_E_KNOB: the knob "optimiser.learningRate" cannot be set so: expected a number from 0 to 1, got 2/,
      /WEIR_E_KNOB: the knob "loss.clipLow" cannot be set so: the loss "reinforce" does not read it/,
      /WEIR_E_KNOB: .*trains synchronously/,
      /WEIR_E_KNOB: .*no reference policy/,
      /WEIR_E_CONFIG: option "rollout.groupSize": the advantage "grpo"/,
    ].entries())
      expect(refusals[at]).toMatch(text);
    expect(system.knobs.map(({ path }) => path)).not.toContain("loss.clipLow");
    expect(factsOf(runDirectory, "knob.turned")).toEqual([]);
    expect((await readRunRecord(runDirectory)).orders).toEqual([]);
  });

  it("is refused where the run ends before it could take effect", async () => {
    const { system } = await fakeRun(onePhase, parityReward);
    let text: Promise<string> | null = null;
    afterStep(system, 4, () => {
      void system.stop({ abort: true });
      text = messageOf(system.setKnob("optimiser.learningRate", 1e-5));
    });
    await system.start();
    await system.done;
    expect(await text).toMatch(/WEIR_E_STATE/);
  });
});

describe("a run with overlap", () => {
  it("draws again what was drawn at another temperature, and bounds the lag anew", async () => {
    const { actors, batches } = watchedEngine();
    const { system, metrics } = await fakeRun(
      {
        phases: [{ maxTokens: 300, steps: 8 }],
        update: { miniBatchPrompts: null, correction: { importance: "token" } },
        async: { maxLag: 2 },
      },
      parityReward,
      { actors },
    );
    const turns: Promise<void>[] = [];
    afterStep(system, 4, () => {
      turns.push(system.setKnob("rollout.temperature", 2), system.setKnob("async.maxLag", 1));
    });
    await system.start();
    const { runDirectory } = await system.done;
    await Promise.all(turns);
    expect(batches.map(({ loss }) => loss.temperature)).toEqual([1, 1, 1, 1, 2, 2, 2, 2]);
    const late = metrics.filter(({ step, values }) => step > 4 && values["lag/mean"] !== undefined);
    expect(late.length).toBe(4);
    for (const { values } of late) expect(values["lag/max"]).toBeLessThanOrEqual(1);
    // Every rollout has one end; those in flight at the turn were given up.
    const ends = [...(await endStates(runDirectory)).values()];
    expect(ends.filter((end) => end === "dropped:aborted").length).toBeGreaterThan(0);
    expect(ends.filter((end) => end === "trained").length).toBe(8 * 3 * 4);
  });
});

describe("skipBatch()", () => {
  it("has the next step change no weight, once, and says who wanted it", async () => {
    const { actors, rates } = watchedEngine();
    // A trial step is taken, and then taken back.
    const { system, metrics } = await fakeRun({ ...onePhase, guard: { trial: false } }, parityReward, { actors });
    let done: Promise<void> | null = null;
    afterStep(system, 1, () => {
      done = system.skipBatch({ reason: "it looks odd" });
    });
    await system.start();
    const { runDirectory } = await system.done;
    await done;
    expect(rates).toHaveLength(3);
    const applied = metrics.flatMap(({ values }) => values["update/applied"] ?? []);
    expect(applied).toEqual([1, 0, 1, 1]);
    expect(
      factsOf(runDirectory, "guard.judged").map(({ step, data }) => [step, data.verdict, data.rule, data.reason]),
    ).toEqual([[2, "skip", "skip_batch", "a program had the batch skipped: it looks odd"]]);
  });
});

describe("replace()", () => {
  it("takes the name of a registered part", async () => {
    const { actors, batches } = watchedEngine();
    const { system } = await fakeRun(onePhase, parityReward, { actors });
    const answers: Promise<string>[] = [];
    afterStep(system, 2, () => {
      answers.push(messageOf(system.replace("loss", "gspo")), messageOf(system.replace("loss", "gsp")));
    });
    await system.start();
    const { runDirectory } = await system.done;
    expect(batches.map(({ loss }) => loss.name)).toEqual(["dapo", "dapo", "gspo", "gspo"]);
    expect(factsOf(runDirectory, "part.replaced").map(({ data }) => data)).toEqual([
      { kind: "loss", from: { kind: "dapo", source: "built-in" }, to: { kind: "gspo", source: "built-in" } },
    ]);
    const [taken, refused] = await Promise.all(answers);
    expect(taken).toBe("done");
    expect(refused).toMatch(/WEIR_E_ACTOR_UNKNOWN.*"gsp"; did you mean "gspo"/);
  });
});

describe("a rollback that the guard asks for", () => {
  it("turns learning rate and clip bounds down, each turn journalled as the guard's, and tells what it undid", async () => {
    const { actors, rates, batches } = watchedEngine();
    let asked = 0;
    const guard: Guard = {
      kind: "once",
      specificationVersion: 1,
      judge: ({ step }) =>
        step === 3 && asked++ === 0
          ? { action: "rollback", rule: "kl_limit", reason: "the policy went too far" }
          : { action: "commit" },
    };
    const { system } = await fakeRun(
      { ...onePhase, guard: { trial: false, afterRollback: { learningRate: 0.25, clip: 0.5 } } },
      parityReward,
      { actors: { ...actors, guard } },
    );
    afterStep(system, 2, () => void system.setKnob("loss.entropyCoefficient", 0.1));
    await system.start();
    const { runDirectory } = await system.done;
    const by = { kind: "guard", name: "kl_limit" };
    const reason = "the policy went too far";
    expect(factsOf(runDirectory, "knob.turned").map(({ data }) => data)).toEqual([
      { path: "loss.entropyCoefficient", old: 0, new: 0.1, by: BY_PROGRAM, reason: null },
      { path: "optimiser.learningRate", old: 1e-3, new: 2.5e-4, by, reason },
      { path: "loss.clipLow", old: null, new: 0.1, by, reason },
      { path: "loss.clipHigh", old: null, new: 0.14, by, reason },
    ]);
    // The first try of step 3 was judged before its optimiser step, which was not made.
    expect(rates).toEqual([1e-3, 1e-3, 2.5e-4, 2.5e-4]);
    expect(batches.at(-1)?.loss.settings).toMatchObject({ clipLow: 0.1, clipHigh: 0.14 });
    // The snapshot before step 3 has the turn: it was made after step 2.
    expect(batches.at(-1)?.loss.entropyCoefficient).toBe(0.1);
  });

  it("turns them back once the run has come far enough, but for what somebody has turned since", async () => {
    const run = async (mine: number | null) => {
      const { actors, rates } = watchedEngine();
      let asked = 0;
      const guard: Guard = {
        kind: "once",
        specificationVersion: 1,
        judge: ({ step }) =>
          step === 2 && asked++ === 0
            ? { action: "rollback", rule: "kl_limit", reason: "too far" }
            : { action: "commit" },
      };
      const { system } = await fakeRun(
        { ...onePhase, guard: { trial: false, afterRollback: { learningRate: 0.25, recoverSteps: 2 } } },
        parityReward,
        { actors: { ...actors, guard } },
      );
      if (mine !== null)
        system.facts$.subscribe(({ type }) => {
          if (type === "run.rolledBack") void system.setKnob("optimiser.learningRate", mine);
        });
      await system.start();
      await system.done;
      return rates;
    };
    expect(await run(null)).toEqual([1e-3, 2.5e-4, 2.5e-4, 1e-3]);
    expect(await run(5e-4)).toEqual([1e-3, 5e-4, 5e-4, 5e-4]);
  });
});
