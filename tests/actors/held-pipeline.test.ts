/** A pipeline whose reward takes no work for a while: nothing is issued or scored, nothing is lost, and it goes on by itself. */
import { describe, expect, it } from "vitest";
import type { ConfigInput } from "../../src/config/schema.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import { scored } from "../../src/testing.js";
import { SwitchedReadiness } from "../helpers/readiness.js";
import { settled } from "../helpers/virtual-time.js";
import { createRig } from "./pipeline-rig.js";

const lagged: Partial<ConfigInput> = { async: { maxLag: 2 }, update: { correction: { importance: "token" } } };

/** A rig whose reward goes away at its n-th call, which fails, and every call until it is back. */
function awayAt(call: number, config: Partial<ConfigInput>) {
  const part = new SwitchedReadiness();
  let calls = 0;
  const reward: RewardActor = {
    ...{ kind: "judged", specificationVersion: 1, readiness: part },
    handle: async ({ rollout }) => {
      calls++;
      if (calls === call) part.away("no answer");
      return part.state().ready
        ? scored(rollout.sampleIndex % 2)
        : { kind: "failed", code: "WEIR_E_JUDGE", reason: "no answer" };
    },
  };
  const rig = createRig({ config, parts: { reward } });
  return { rig, part, calls: () => calls };
}

describe.each([
  ["without lag", {}],
  ["with lag", lagged],
] as const)("a reward that goes away in the middle of a step: %s", (_, config) => {
  it("has nothing issued meanwhile, and every response is scored once it is back: the run is as without the outage", async () => {
    const calm = awayAt(Number.POSITIVE_INFINITY, config);
    const { rig, part, calls } = awayAt(6, config);
    await Promise.all([calm.rig.step(), rig.step()]);
    const [expected, step] = [calm.rig.step(), rig.step()];
    await expected;
    await rig.time.advance(600_000);
    const drawn = rig.requests.length;
    const before = calls();
    await rig.time.advance(600_000);
    // What was drawn waits for its reward, and nothing more is drawn.
    expect([rig.requests.length, calls()]).toEqual([drawn, before]);
    expect(rig.pipeline.gate.isOpen).toBe(false);
    expect(rig.open()).toBeGreaterThan(0);
    part.back();
    const { kept, batch } = await step;
    expect(batch.dropped).toEqual([]);
    expect(kept.map(({ group, samples }) => [group.id, samples.map(({ reward }) => reward)])).toEqual(
      (await expected).kept.map(({ group, samples }) => [group.id, samples.map(({ reward }) => reward)]),
    );
    expect(rig.pipeline.gate.heldMs).toBe(1_200_000);
    await rig.pipeline.halt("aborted");
    await calm.rig.pipeline.halt("aborted");
    expect(rig.open()).toBe(0);
    // Not one failure is left: each attempt is the first.
    const seeds = (of: typeof rig) => of.requests.flatMap(({ prompts }) => prompts.flatMap((one) => one.seeds));
    const shared = Math.min(seeds(rig).length, seeds(calm.rig).length);
    expect(seeds(rig).slice(0, shared)).toEqual(seeds(calm.rig).slice(0, shared));
    expect([...rig.ends().values()]).not.toContain("reward_failed");
  });

  it("ends at once when it is halted, with every rollout ended and nothing left behind", async () => {
    const { rig, part } = awayAt(2, config);
    const own = new AbortController();
    const step = rig.step(own.signal);
    await settled();
    expect(rig.pipeline.gate.isOpen).toBe(false);
    own.abort(new Error("stop"));
    await expect(step).rejects.toThrow("stop");
    expect([rig.open(), rig.time.pending, part.listeners]).toEqual([0, 0, 0]);
  });
});

describe("a reward that was never ready", () => {
  it("has the first task issued once it is, also where another part has taken its place", async () => {
    const part = new SwitchedReadiness();
    part.away("starting");
    const own: RewardActor = {
      ...{ kind: "judged", specificationVersion: 1, readiness: part },
      handle: async ({ rollout }) => scored(rollout.sampleIndex % 2),
    };
    const rig = createRig({ parts: { reward: own } });
    const step = rig.step();
    await rig.time.advance(5_000);
    expect(rig.requests).toEqual([]);
    const { readiness: _, ...another } = own;
    rig.current.parts = { ...rig.current.parts, reward: another };
    await rig.time.advance(1_000);
    expect((await step).kept).toHaveLength(2);
  });
});
