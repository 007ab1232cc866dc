/** Runs that sample in processes of their own. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import type { Engine } from "../../src/contracts/engine.js";
import { WeirError } from "../../src/errors.js";
import { startEngine } from "../../src/model/engine/host.js";
import { createFakePolicyStore } from "../../src/testing.js";
import { fakeRun } from "../actors/fake-run.js";
import { actorChanges, type Done, drawn, run, shaOf } from "./engines-run.js";
import { comparableFacts, endStates, parityReward } from "./tiny-run.js";

describe("a run with two sampler engines", () => {
  let one: Done;
  beforeAll(async () => {
    one = await run(0);
  });

  it("draws the same sequences as the trainer's own engine, evaluates alike and ends with the same weights", async () => {
    const two = await run(2);
    expect(drawn(two)).toEqual(drawn(one));
    expect(await endStates(two.result.runDirectory)).toEqual(await endStates(one.result.runDirectory));
    expect(await comparableFacts(two.result.runDirectory)).toEqual(await comparableFacts(one.result.runDirectory));
    expect(shaOf(two.result)).toBe(shaOf(one.result));
  });

  it("goes on when one of them is killed: it comes back, and the run ends with the same weights", async () => {
    const engines: Engine[] = [];
    const folders: string[] = [];
    let killed = false;
    const killing = await run(
      2,
      {},
      {
        engine: async (modelDir, options, signal) => {
          const engine = await startEngine({ modelDir, options, ...(signal ? { signal } : {}) });
          engines.push(engine);
          const { adopt } = engine.sampler;
          const sampler: Engine["sampler"] = {
            ...engine.sampler,
            adopt: (policy, how) => {
              folders.push(dirname(policy.artifact.uri));
              return adopt(policy, how);
            },
          };
          return { ...engine, sampler };
        },
        reward: {
          ...parityReward,
          handle: (input, options) => {
            if (!killed && input.rollout.id.startsWith("s2-")) {
              killed = true;
              // The first engine is the trainer's.
              process.kill(engines[1]?.info.pid as number, "SIGKILL");
            }
            return parityReward.handle(input, options);
          },
        },
      },
    );
    expect(killed).toBe(true);
    expect(shaOf(killing.result)).toBe(shaOf(one.result));
    expect(await endStates(killing.result.runDirectory)).toEqual(await endStates(one.result.runDirectory));
    const changes = await actorChanges(killing.result.runDirectory);
    expect(changes).toEqual([
      { actor: expect.stringMatching(/^sampler-[12]$/), state: "restarting", reason: expect.any(String), restarts: 1 },
      { actor: expect.stringMatching(/^sampler-[12]$/), state: "running", reason: null, restarts: 1 },
    ]);
    expect(engines).toHaveLength(4);
    // Published weights lay in one place, in memory where there is any, and a place in memory is gone.
    const [place = "", ...others] = [...new Set(folders)];
    expect(others).toEqual([]);
    if (!place.startsWith(killing.result.runDirectory)) expect(existsSync(place)).toBe(false);
    for (const { info } of engines) expect(() => process.kill(info.pid, 0)).toThrow("ESRCH");
  });
});

describe("a run with overlap and a sampler engine", () => {
  const overlap = {
    async: { maxLag: 2 },
    update: { miniBatchPrompts: 2, microBatchTokens: 512, correction: { importance: "token" as const } },
    dynamicSampling: { maxRounds: 20 },
  };

  it.each([
    ["the trainer", 0],
    ["the sampler", 1],
  ])("goes on when %s's process is killed, and has every rollout in one end state", async (_, victim) => {
    const engines: Engine[] = [];
    let killed = false;
    const { result } = await run(1, overlap, {
      engine: async (modelDir, options, signal) => {
        const engine = await startEngine({ modelDir, options, ...(signal ? { signal } : {}) });
        engines.push(engine);
        return engine;
      },
      reward: {
        ...parityReward,
        handle: (input, options) => {
          if (!killed && input.rollout.id.startsWith("s4-")) {
            killed = true;
            process.kill(engines[victim]?.info.pid as number, "SIGKILL");
          }
          return parityReward.handle(input, options);
        },
      },
    });
    expect(killed).toBe(true);
    expect(result.status).toBe("completed");
    expect(engines).toHaveLength(3);
    const ends = [...(await endStates(result.runDirectory)).values()];
    expect(ends.filter((end) => end === "trained")).toHaveLength(6 * 3 * 4);
  });
});

describe("a run without room for its next policy", () => {
  it("is paused before the step with an alert that says what to do, and goes on where it was", async () => {
    let full = false;
    const store = createFakePolicyStore();
    const { system, alerts } = await fakeRun({}, parityReward, {
      actors: {
        policyStore: {
          ...store,
          assertRoom: async () => {
            if (full) throw new WeirError("WEIR_E_POLICY_BUDGET", "the next policy does not fit; free room");
          },
        },
      },
    });
    const states: string[] = [];
    system.facts$.subscribe(({ type, step }) => {
      if (type === "step.committed" && step === 2) full = true;
    });
    const paused = new Promise<void>((resolve) => {
      system.state$.subscribe(({ lifecycle }) => {
        states.push(lifecycle);
        if (lifecycle === "paused") resolve();
      });
    });
    await system.start();
    await paused;
    await new Promise((resolve) => setImmediate(resolve));
    expect(alerts.filter(({ rule }) => rule === "policy_budget")).toMatchObject([
      { level: "error", step: 2, text: expect.stringContaining("WEIR_E_POLICY_BUDGET: the next policy does not fit") },
    ]);
    full = false;
    system.resume();
    const { status, runDirectory } = await system.done;
    expect(status).toBe("completed");
    expect(states.filter((state) => state === "paused")).toHaveLength(1);
    // Six steps of three groups of four at least, each rollout with one end.
    expect((await endStates(runDirectory)).size).toBeGreaterThanOrEqual(72);
  });
});
