/** What still runs after a run was stopped at once: calls of parts, timers, handles of the process. */
import { describe, expect, it } from "vitest";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Sampler } from "../../src/contracts/sampler.js";
import type { Trainer } from "../../src/contracts/trainer.js";
import { createFakeEngine } from "../../src/testing.js";
import { endStates } from "../e2e/tiny-run.js";
import { fakeRun, rewardOf } from "./fake-run.js";

const PLACES = ["sampling", "rewards", "update", "publish", "paused", "evaluation"] as const;
type Place = (typeof PLACES)[number];

const LIMIT_MS = 1_000;

/** Kinds of handles and timers that keep the process alive, with their number. */
function handles(): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

/** Calls at work; those at the place of the stop last until their signal aborts. */
function recorder(place: Place) {
  const running = new Set<string>();
  let reached: () => void = () => undefined;
  let lastEnd = 0;
  let calls = 0;
  const there = new Promise<void>((resolve) => {
    reached = resolve;
  });
  return {
    running,
    there,
    lastEnd: () => lastEnd,
    during: async <T>(at: Place, signal: AbortSignal, work: () => Promise<T>): Promise<T> => {
      const name = `${at} ${calls++}`;
      running.add(name);
      try {
        if (at !== place) return await work();
        // A timer of the part's own, which it clears when it is told to end.
        const timer = setTimeout(() => undefined, 60_000);
        const aborted = new Promise<never>((_, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true }),
        );
        reached();
        return await aborted.finally(() => clearTimeout(timer));
      } finally {
        running.delete(name);
        lastEnd = performance.now();
      }
    },
  };
}

const configOf = (place: Place, maxLag: number): Partial<ConfigInput> => ({
  phases: [{ maxTokens: 300, steps: 50 }],
  evaluation: { initial: place === "evaluation", tasksPerBucket: 4 },
  async: { maxLag },
  update: { miniBatchPrompts: 2, microBatchTokens: 512, correction: { importance: maxLag > 0 ? "token" : "none" } },
});

async function runUntil(place: Place, maxLag: number) {
  const { running, there, lastEnd, during } = recorder(place);
  const engine = createFakeEngine();
  let training = false;
  const sampler: Partial<Sampler> = {
    sample: (request, options) =>
      // Preflight samples too, before anything is trained.
      request.purpose === "evaluation" || (request.purpose === "training" && training)
        ? during(request.purpose === "training" ? "sampling" : "evaluation", options.signal, () =>
            engine.sampler.sample(request, options),
          )
        : engine.sampler.sample(request, options),
  };
  const trainer: Partial<Trainer> = {
    forwardBackward: (batch, options) =>
      during("update", options.signal, () => engine.trainer.forwardBackward(batch, options)),
    optimStep: async (config, options) => {
      training = true;
      return engine.trainer.optimStep(config, options);
    },
    publish: (request) =>
      training
        ? during("publish", request.signal, () => engine.trainer.publish(request))
        : engine.trainer.publish(request),
  };
  // Preflight asks for rewards too, before the first step.
  const reward = rewardOf(({ rollout }, signal) =>
    !rollout.id.startsWith("s0-") ? during("rewards", signal, async () => rollout.sampleIndex % 2) : 0,
  );
  const { system } = await fakeRun(configOf(place, maxLag), reward, {
    actors: {
      engine: async () => ({
        ...engine,
        sampler: { ...engine.sampler, ...sampler },
        trainer: { ...engine.trainer, ...trainer },
      }),
    },
  });
  return { system, running, there, lastEnd };
}

describe.each([0, 2])("a run of lag bound %i that is stopped at once", (maxLag) => {
  it.each(PLACES)("in the middle of %s leaves nothing at work", async (place) => {
    const uncaught: unknown[] = [];
    const note = (error: unknown) => uncaught.push(error);
    process.on("unhandledRejection", note);
    const { system, running, there, lastEnd } = await runUntil(place, maxLag);
    const before = handles();
    const paused = new Promise<void>((resolve) =>
      system.state$.subscribe(({ lifecycle }) => {
        if (lifecycle === "paused") resolve();
      }),
    );
    if (place === "paused")
      system.facts$.subscribe(({ type }) => {
        if (type === "step.committed") system.pause();
      });
    await system.start();
    await (place === "paused" ? paused : there);
    const asked = performance.now();
    const { status, runDirectory } = await system.stop({ abort: true });
    expect(status).toBe("stopped");
    expect([...running]).toEqual([]);
    expect(lastEnd() - asked).toBeLessThan(LIMIT_MS);
    const stopped = performance.now();
    const more = () => Object.entries(handles()).filter(([kind, count]) => count > (before[kind] ?? 0));
    while (more().length > 0 && performance.now() - stopped < LIMIT_MS) await new Promise((go) => setImmediate(go));
    expect(more()).toEqual([]);
    // The first evaluation comes before anything is issued.
    if (place !== "evaluation") expect((await endStates(runDirectory)).size).toBeGreaterThan(0);
    process.off("unhandledRejection", note);
    expect(uncaught).toEqual([]);
  });
});
