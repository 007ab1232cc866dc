/** The supervision tree of a run: what it shows of the run and of its engine, also when the engine is lost. */
import { describe, expect, it } from "vitest";
import { RunActor } from "../../src/actors/run/run-actor.js";
import type { ActorStatus } from "../../src/contracts/actor-status.js";
import type { FactData } from "../../src/contracts/fact.js";
import { WeirError } from "../../src/errors.js";
import { parityReward } from "../e2e/tiny-run.js";
import { fakeRun } from "./fake-run.js";

const onePhase = { phases: [{ maxTokens: 300, steps: 2 }], engine: { restartDelayMs: 0 } };

describe("the run as the root of the tree", () => {
  it.each([
    ["preflight", "running", 1],
    ["training", "running", 1],
    ["paused", "waitingForInput", 0],
    ["recovering", "restarting", 1],
    ["rollingBack", "restarting", 1],
    ["draining", "draining", 1],
    ["completed", "stopped", 0],
    ["stopped", "stopped", 0],
    ["failed", "failed", 0],
  ])("%s is shown as %s", (lifecycle, state, busy) => {
    const node = new RunActor();
    expect(node.status(0)).toMatchObject({ name: "run", parent: null, state: "starting", busy: 0 });
    node.enter(lifecycle, null);
    expect(node.status(7)).toMatchObject({ state, busy, handled: 7 });
  });

  it("counts recoveries and says why, until it runs again", () => {
    const node = new RunActor();
    node.enter("recovering", new Error("the engine ended"));
    expect(node.status(0)).toMatchObject({ restarts: 1, detail: "the engine ended" });
    node.enter("training", new Error("the engine ended"));
    node.enter("rollingBack", "the guard asked for it");
    expect(node.status(0)).toMatchObject({ restarts: 2, detail: "the guard asked for it" });
    node.enter("training", null);
    expect(node.status(0)).toMatchObject({ state: "running", restarts: 2, detail: null });
  });
});

describe("the tree of a run", () => {
  it("shows an engine that is lost as restarting with the reason, then at work again; the journal has both", async () => {
    let calls = 0;
    const { system } = await fakeRun(onePhase, parityReward, {
      trainer: {
        gradientNorm: async () => {
          if (++calls === 1) throw new WeirError("WEIR_E_ENGINE_CRASHED", "the engine process was killed", {});
          return 1;
        },
      },
    });
    const told: FactData["actor.changed"][] = [];
    const seen = new Map<string, ActorStatus[]>();
    system.facts$.subscribe((fact) => {
      if (fact.type === "actor.changed") told.push(fact.data as FactData["actor.changed"]);
    });
    system.actors$.subscribe((actors) => {
      for (const one of actors) seen.set(one.name, [...(seen.get(one.name) ?? []), one]);
    });
    await system.start();
    await system.done;
    expect(told).toMatchObject([
      // The stage that met the loss is given up; the run's lifecycle brings the engine back.
      { actor: "update", state: "failed", restarts: 0 },
      { actor: "engine", state: "restarting", restarts: 1 },
      { actor: "engine", state: "running", restarts: 1, reason: null },
    ]);
    for (const { reason } of told.slice(0, 2)) expect(reason).toContain("the engine process was killed");
    const engine = seen.get("engine")?.at(-1);
    expect(engine).toMatchObject({ parent: "run", state: "stopped", restarts: 1, busy: 0, detail: null });
    // The call that failed is the one that was given up.
    expect(engine?.dropped).toBe(1);
    expect(engine?.handled).toBeGreaterThan(4);
    expect(seen.get("run")?.at(-1)).toMatchObject({ parent: null, state: "stopped", restarts: 1, handled: 2 });
  });

  it("is told with every queue in one reading, the last one after the end", async () => {
    const { system } = await fakeRun(onePhase, parityReward);
    const trees: (readonly ActorStatus[])[] = [];
    const queues: (readonly [string, number])[][] = [];
    system.actors$.subscribe((actors) => trees.push(actors));
    system.gauges$.subscribe((gauges) => queues.push(gauges.map(({ name, passed }) => [name, passed])));
    await system.start();
    await system.done;
    const stages = ["advantage", "batch", "filter", "group", "publish", "reward", "rollout", "tasks", "update"];
    expect(
      trees
        .at(-1)
        ?.map(({ name }) => name)
        .sort(),
    ).toEqual(["engine", "run", ...stages].sort());
    expect(new Set(trees.at(-1)?.map(({ state }) => state))).toEqual(new Set(["stopped"]));
    expect(trees.at(-1)?.find(({ name }) => name === "update")?.handled).toBe(2);
    expect(queues.at(-1)).toContainEqual(["updates", 2]);
  });
});
