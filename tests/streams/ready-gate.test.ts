/** Work is held while a part says that it cannot take any, and goes on by itself. */
import { describe, expect, it } from "vitest";
import type { Readiness, ReadinessState } from "../../src/contracts/readiness.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import { ReadyGate } from "../../src/streams/ready-gate.js";
import { MOST_TRIES, scoreRollout } from "../../src/streams/scoring.js";
import { exampleRollout, exampleTask, scored } from "../../src/testing.js";
import { SwitchedReadiness } from "../helpers/readiness.js";
import { settled, VirtualTime } from "../helpers/virtual-time.js";

const { signal } = new AbortController();

function gateOf(readiness: () => Readiness | undefined) {
  const time = new VirtualTime();
  const gate = new ReadyGate({ readiness, time });
  const told: boolean[] = [];
  gate.onChange(({ ready }) => told.push(ready));
  let passed = 0;
  const pass = () => void gate.opened(signal).then(() => passed++);
  return { time, gate, told, pass, passed: () => passed };
}

describe("a gate", () => {
  it("is open where a part tells nothing of its readiness", async () => {
    const { gate, told } = gateOf(() => undefined);
    expect(gate.isOpen).toBe(true);
    await gate.opened(signal);
    expect(told).toEqual([]);
  });

  it("holds those who come, lets them go on at once when the part is ready, and tells each change once", async () => {
    const part = new SwitchedReadiness();
    const { time, gate, told, pass, passed } = gateOf(() => part);
    expect(gate.isOpen).toBe(true);
    part.away("no answer");
    for (let i = 0; i < 3; i++) pass();
    await time.advance(2_500);
    expect([passed(), told, gate.isOpen]).toEqual([0, [false], false]);
    part.back();
    await settled();
    expect([passed(), told, gate.isOpen]).toEqual([3, [false, true], true]);
    expect(gate.heldMs).toBe(2_500);
    part.away("again");
    await time.advance(500);
    expect(gate.heldMs).toBe(3_000);
    expect(told).toEqual([false, true, false]);
  });

  it("finds out within a second that another part has taken the place, or that a part did not call back", async () => {
    const first = new SwitchedReadiness();
    let part: Readiness | undefined = first;
    const { time, pass, passed } = gateOf(() => part);
    first.away("for ever");
    pass();
    await time.advance(900);
    expect(passed()).toBe(0);
    const silent: { now: ReadinessState } = { now: { ready: false, code: "x", reason: "y", forMs: 0 } };
    part = { state: () => silent.now, onChange: () => () => undefined };
    await time.advance(1_000);
    expect(passed()).toBe(0);
    // Nothing listens to the part that was replaced.
    expect(first.listeners).toBe(0);
    silent.now = { ready: true };
    await time.advance(1_000);
    expect(passed()).toBe(1);
  });

  it("lets nobody wait whose signal aborts, and leaves no timer and no listener behind", async () => {
    const part = new SwitchedReadiness();
    const { time, gate } = gateOf(() => part);
    part.away("no answer");
    const own = new AbortController();
    const waiting = gate.opened(own.signal);
    own.abort(new Error("enough"));
    await expect(waiting).rejects.toThrow("enough");
    expect(time.pending).toBe(0);
    gate.rest();
    expect(part.listeners).toBe(0);
  });
});

describe("scoring", () => {
  const failed: RewardOutcome = { kind: "failed", code: "WEIR_E_JUDGE", reason: "away" };
  const input = { task: exampleTask(), rollout: exampleRollout(exampleTask(), "x") };

  /** Scores with a reward that gives these outcomes in turn; `before` is called before each. */
  function scoring(outcomes: readonly (RewardOutcome | null)[], before: (n: number) => void, readiness: Readiness) {
    const time = new VirtualTime();
    const asked: number[] = [];
    const gate = new ReadyGate({ readiness: () => readiness, time });
    const reward = () => ({
      ...{ kind: "own", specificationVersion: 1 as const, readiness },
      handle: async () => {
        asked.push(time.now());
        before(asked.length);
        const outcome = outcomes[Math.min(asked.length, outcomes.length) - 1];
        return outcome ?? new Promise<RewardOutcome>(() => undefined);
      },
    });
    const done = scoreRollout(input, { reward, timeoutMs: 5_000, time, gate }, signal);
    return { time, asked, done };
  }

  it("does not count waiting for a reward that is not ready as its time", async () => {
    const part = new SwitchedReadiness();
    part.away("no answer");
    const { time, asked, done } = scoring([scored(1)], () => undefined, part);
    await time.advance(60_000);
    expect(asked).toEqual([]);
    part.back();
    expect(await done).toEqual(scored(1));
  });

  it("asks again for a response whose reward went away while it was asked; a failure of its own stands", async () => {
    const part = new SwitchedReadiness();
    const { time, asked, done } = scoring([failed, null, scored(0.5)], (n) => n < 3 && part.away("no answer"), part);
    await settled();
    expect(asked).toHaveLength(1);
    part.back();
    await settled();
    expect(asked).toHaveLength(2);
    // The second try hangs until its deadline.
    await time.advance(5_000);
    part.back();
    expect(await done).toEqual(scored(0.5));
    const own = scoring([failed, scored(1)], () => undefined, new SwitchedReadiness());
    expect(await own.done).toEqual(failed);
  });

  it("lets the last outcome stand after many tries, so that one response cannot hold a run for ever", async () => {
    const part = new SwitchedReadiness();
    const { asked, done } = scoring([failed], () => part.away("brought down"), part);
    let over = false;
    void done.then(() => {
      over = true;
    });
    for (let n = 1; n < MOST_TRIES; n++) {
      await settled();
      expect(over).toBe(false);
      part.back();
    }
    await settled();
    expect(await done).toEqual(failed);
    expect(asked).toHaveLength(MOST_TRIES);
  });
});
