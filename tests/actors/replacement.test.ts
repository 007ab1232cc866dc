/** Parts that are replaced while a run is under way. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createTrainingSystem, type TrainingSystem } from "../../src/actors/run/training-system.js";
import { configOfRun } from "../../src/cli/commands/train.js";
import type { AdvantageActor } from "../../src/contracts/advantage.js";
import type { Guard } from "../../src/contracts/guard.js";
import type { Sampler } from "../../src/contracts/sampler.js";
import { readRunRecord, writeRunRecord } from "../../src/store/run-record.js";
import { createFakeEngine, createFakeJudge, createFakeSampler } from "../../src/testing.js";
import { parityReward } from "../e2e/tiny-run.js";
import { fakeRun, rewardOf } from "./fake-run.js";

const onePhase = { phases: [{ maxTokens: 300, steps: 4 }], update: { miniBatchPrompts: null } };

const advantage = (kind: string, over: Partial<AdvantageActor> = {}): AdvantageActor => ({
  kind,
  specificationVersion: 1,
  handle: ({ rewards }) => rewards.map((reward) => reward - 0.5),
  ...over,
});

/** Does `act` once step `step` has been committed. */
function afterStep(system: TrainingSystem, step: number, act: () => void): void {
  const subscription = system.facts$.subscribe((fact) => {
    if (fact.type !== "step.committed" || fact.step !== step) return;
    subscription.unsubscribe();
    act();
  });
}

async function replaced(directory: string) {
  const lines = (await readFile(join(directory, "journal.ndjson"), "utf8")).trim().split("\n");
  return lines.map((line) => JSON.parse(line)).filter(({ type }) => type === "part.replaced");
}

describe("replace()", () => {
  it("puts a part in use at the next safe point, journals it, and gives up the old one", async () => {
    let disposed = 0;
    const old = { ...parityReward, dispose: () => void disposed++ };
    const { system } = await fakeRun(onePhase, old);
    const seen: number[] = [];
    const next = rewardOf(({ rollout }) => {
      seen.push(rollout.tokenIds.length);
      return rollout.sampleIndex % 2;
    });
    let done: Promise<void> | null = null;
    afterStep(system, 2, () => {
      done = system.replace("reward", next);
    });
    await system.start();
    const { runDirectory } = await system.done;
    await done;
    expect(seen.length).toBeGreaterThan(0);
    expect(disposed).toBe(1);
    const [fact, ...others] = await replaced(runDirectory);
    expect(others).toEqual([]);
    expect(fact).toMatchObject({
      step: 2,
      data: { kind: "reward", from: { kind: "parity", source: "own" }, to: { kind: "given", source: "own" } },
    });
  });

  it("by name is still in use after a resume; a name that is gone is remarked", async () => {
    const { system: first } = await fakeRun(onePhase, parityReward);
    afterStep(first, 1, () => void first.replace("advantage", "rloo").then(() => first.stop()));
    await first.start();
    const { runDirectory } = await first.done;
    const record = await readRunRecord(runDirectory);
    const [order] = record.orders;
    expect(order).toMatchObject({
      order: { type: "replace", kind: "advantage", name: "rloo" },
      by: { kind: "program", name: "" },
    });
    const remarks: string[] = [];
    const config = await configOfRun(runDirectory, []);
    /** Which advantage part a resumed run trains with. */
    const resumed = async (stopAfter: number) => {
      const system = createTrainingSystem(config, {
        ...{ actors: { engine: async () => createFakeEngine(), reward: parityReward }, resume: runDirectory },
        onRemark: (error) => remarks.push(error.message),
      });
      afterStep(system, stopAfter, () => void system.stop());
      await system.start();
      const { parts } = (system as unknown as { run: { context: { parts: Record<string, { kind: string }> } } }).run
        .context;
      await system.done;
      return parts.advantage?.kind;
    };
    expect(await resumed(2)).toBe("rloo");
    expect(remarks).toEqual([]);
    const gone = { ...order, order: { type: "replace", kind: "advantage", name: "gone" } } as NonNullable<typeof order>;
    await writeRunRecord(runDirectory, { ...record, orders: [gone] });
    expect(await resumed(3)).toBe("grpo");
    expect(remarks[0]).toMatch(
      /the run had the advantage part "gone" in place of the configured one, and no part of that name is registered now/,
    );
  });

  it("goes on with the old part where the new one does not fit, and says why", async () => {
    const { system } = await fakeRun(onePhase, parityReward);
    const refusals: Promise<unknown>[] = [];
    const refused = (promise: Promise<void>) =>
      refusals.push(
        promise.then(
          () => "taken",
          (error) => error.message,
        ),
      );
    afterStep(system, 1, () => {
      refused(system.replace("advantage", advantage("pairs", { minGroupSize: 64 })));
      refused(system.replace("advantage", { kind: "x" } as never));
      refused(system.replace("trainer", createFakeEngine().trainer));
      refused(
        system.replace("judge", {
          kind: "j",
          specificationVersion: 1,
          ask: async () => ({ kind: "verdict", value: 1, reply: "" }),
        }),
      );
      const fake = createFakeSampler();
      const deaf: Sampler = { ...fake, capabilities: { ...fake.capabilities, adopts: [] } };
      refused(system.replace("sampler", deaf));
    });
    await system.start();
    const { status, runDirectory } = await system.done;
    expect(status).toBe("completed");
    expect(await replaced(runDirectory)).toEqual([]);
    const texts = await Promise.all(refusals);
    for (const [at, text] of [
      /WEIR_E_REPLACE: the advantage part cannot be replaced now: the new one does not fit: .*needs at least 64/,
      /WEIR_E_PART: the advantage part "x" lacks handle\(\)/,
      /WEIR_E_REPLACE: the trainer part cannot be replaced now: it holds the run's weights/,
      /WEIR_E_REPLACE: the judge part cannot be replaced now: the reward "parity" asks no judge/,
      /WEIR_E_CAPABILITY: weights cannot get to the sampler/,
    ].entries())
      expect(texts[at]).toMatch(text);
  });

  it("hands state over by snapshot and restore", async () => {
    const counting = (kind: string, start = 0): Guard & { readonly count: () => number } => {
      let count = start;
      return {
        kind,
        specificationVersion: 1,
        judge: () => {
          count++;
          return { action: "commit" };
        },
        snapshot: () => count,
        restore: (state) => {
          count = state as number;
        },
        count: () => count,
      };
    };
    const [first, second] = [counting("first"), counting("second", 100)];
    const { system } = await fakeRun(onePhase, parityReward, { actors: { guard: first } });
    afterStep(system, 2, () => void system.replace("guard", second));
    await system.start();
    await system.done;
    expect([first.count(), second.count()]).toEqual([2, 4]);
  });

  it("lets a new sampler adopt the current policy before it draws", async () => {
    const adopted: number[] = [];
    const fake = createFakeSampler();
    const sampler: Sampler = {
      ...fake,
      kind: "other",
      adopt: async (policy, options) => {
        adopted.push(policy.version.n);
        await fake.adopt(policy, options);
      },
    };
    const { system } = await fakeRun(onePhase, parityReward);
    let done: Promise<void> | null = null;
    afterStep(system, 2, () => {
      done = system.replace("sampler", sampler);
    });
    await system.start();
    await system.done;
    await done;
    expect(adopted).toEqual([2, 3, 4]);
  });

  it("brings the policy store in folders with a sampler that reads no handles", async () => {
    const fake = createFakeSampler();
    const seen: string[] = [];
    const sampler: Sampler = {
      ...fake,
      kind: "other",
      capabilities: { ...fake.capabilities, adopts: ["checkpoint"] },
      adopt: async (policy, options) => {
        seen.push(policy.artifact.uri.split("/").slice(-2).join("/"));
        await fake.adopt(policy, options);
      },
    };
    const { system } = await fakeRun(onePhase, parityReward);
    let done: Promise<void> | null = null;
    afterStep(system, 2, () => {
      done = system.replace("sampler", sampler);
    });
    await system.start();
    const { runDirectory } = await system.done;
    await done;
    expect(seen).toEqual(["policies/v0000002", "policies/v0000003", "policies/v0000004"]);
    expect(await readdir(join(runDirectory, "policies"))).toEqual(["v0000004"]);
  });

  it("takes effect in a paused run, and is refused before the start and after the end", async () => {
    const { system } = await fakeRun(onePhase, parityReward);
    await expect(system.replace("advantage", advantage("early"))).rejects.toThrow("WEIR_E_STATE");
    const paused = new Promise<void>((resolve) => {
      system.state$.subscribe(({ lifecycle }) => {
        if (lifecycle === "paused") resolve();
      });
    });
    afterStep(system, 1, () => system.pause());
    await system.start();
    await paused;
    await system.replace("advantage", advantage("later"));
    system.resume();
    const { runDirectory } = await system.done;
    expect((await replaced(runDirectory)).map(({ data }) => data.to.kind)).toEqual(["later"]);
    await expect(system.replace("advantage", advantage("late"))).rejects.toThrow("WEIR_E_STATE");
  });

  it("is done when a pause begins that was asked for before, and several at once are all kept", async () => {
    const { system } = await fakeRun(onePhase, parityReward);
    const guard: Guard = { kind: "mine", specificationVersion: 1, judge: () => ({ action: "commit" }) };
    let done: Promise<unknown> = Promise.resolve();
    afterStep(system, 1, () => {
      system.pause();
      done = Promise.all([system.replace("guard", guard), system.replace("advantage", advantage("mine"))]).then(() =>
        system.resume(),
      );
    });
    await system.start();
    const { runDirectory } = await system.done;
    await done;
    expect((await replaced(runDirectory)).map(({ data }) => [data.kind, data.to.kind])).toEqual([
      ["guard", "mine"],
      ["advantage", "mine"],
    ]);
    const { parts } = (system as unknown as { run: { context: { parts: Record<string, { kind: string }> } } }).run
      .context;
    expect([parts.guard?.kind, parts.advantage?.kind]).toEqual(["mine", "mine"]);
  });

  it("stays in the journal, once, when the run goes back to before it", async () => {
    let asked = false;
    const guard: Guard = {
      kind: "once",
      specificationVersion: 1,
      judge: ({ step }) => {
        if (step !== 4 || asked) return { action: "commit" };
        asked = true;
        return { action: "rollback", reason: "once" };
      },
    };
    const { system } = await fakeRun({ ...onePhase, checkpoint: { everySteps: 2 } }, parityReward, {
      actors: { guard },
    });
    afterStep(system, 3, () => void system.replace("advantage", advantage("mine")));
    await system.start();
    const { runDirectory } = await system.done;
    expect((await replaced(runDirectory)).map(({ step, data }) => [step, data.from.kind, data.to.kind])).toEqual([
      [3, "grpo", "mine"],
    ]);
  });

  it("refuses a judge that the reward in use does not ask, whatever asked one before", async () => {
    const judge = createFakeJudge([1]);
    const { system } = await fakeRun({ ...onePhase, reward: { actor: "hybrid" } }, parityReward, {
      actors: { reward: undefined as never, judge },
    });
    let refusal: Promise<unknown> = Promise.resolve();
    afterStep(system, 1, () => {
      void system.replace("reward", parityReward).then(() => {
        refusal = system.replace("judge", createFakeJudge([0])).catch((error) => error.message);
      });
    });
    await system.start();
    await system.done.catch(() => undefined);
    expect(await refusal).toMatch(/asks no judge/);
  });

  it("a resumed run keeps its trainer", async () => {
    const first = await fakeRun(onePhase, parityReward);
    afterStep(first.system, 2, () => void first.system.stop());
    await first.system.start();
    const { runDirectory } = await first.system.done;
    const over = { ...onePhase, run: JSON.parse(await readFile(join(runDirectory, "config.json"), "utf8")).config.run };
    const trainer = { ...createFakeEngine().trainer, kind: "other" };
    const other = await fakeRun(over, parityReward, { resume: runDirectory, actors: { trainer } });
    await expect(other.system.start()).rejects.toThrow(/WEIR_E_CONFIG.*trainer.actor.*"engine".*"other"/);
  });

  it("binds the resumed run: it goes on with the part that it ended with, or not at all", async () => {
    const first = await fakeRun(onePhase, parityReward);
    afterStep(first.system, 1, () => void first.system.replace("advantage", advantage("mine")));
    afterStep(first.system, 2, () => void first.system.stop());
    await first.system.start();
    const { runDirectory } = await first.system.done;
    const over = { ...onePhase, run: JSON.parse(await readFile(join(runDirectory, "config.json"), "utf8")).config.run };
    const bare = await fakeRun(over, parityReward, { resume: runDirectory });
    await expect(bare.system.start()).rejects.toThrow(/WEIR_E_ACTOR_MISSING.*advantage part "mine"/);
  });
});
