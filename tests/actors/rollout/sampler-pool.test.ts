import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WeirError } from "../../../src/errors.js";
import { settled } from "../../helpers/virtual-time.js";
import { Stage } from "./scripted-members.js";

/** A pool whose members run and hold version 1. */
async function running(members: number, over: ConstructorParameters<typeof Stage>[1] = {}): Promise<Stage> {
  const stage = new Stage(members, over);
  await stage.pool.start();
  const adopted = stage.adopt(1);
  await settled();
  for (let slot = 0; slot < members; slot++) stage.loaded(slot);
  await adopted;
  return stage;
}

const states = (stage: Stage) => stage.pool.actors().map(({ state }) => state);
const versions = (stage: Stage) => stage.pool.actors().map(({ policyVersion }) => policyVersion);
const crashed = () => new WeirError("WEIR_E_ENGINE_CRASHED", "killed by SIGKILL");

describe("requests to a pool", () => {
  it("go to a free member each, and wait in order where none is free", async () => {
    const stage = await running(2);
    const replies = ["a", "b", "c", "d"].map((id) => stage.ask(id));
    await settled();
    expect(stage.atWork()).toEqual(["0:a", "1:b"]);
    expect(await stage.pool.load({ signal: new AbortController().signal })).toMatchObject({ running: 2, waiting: 2 });
    stage.answer(1);
    await replies[1];
    await settled();
    expect(stage.atWork()).toEqual(["0:a", "1:c"]);
    stage.answer(0);
    stage.answer(1);
    await settled();
    stage.answer(0);
    expect((await Promise.all(replies)).map(({ sequences }) => sequences[0]?.[0]?.tokenIds)).toEqual(
      Array.from({ length: 4 }, () => [7]),
    );
    expect(stage.pool.actors().map(({ handled }) => handled)).toEqual([2, 2]);
    await stage.pool.dispose();
  });

  it("are refused for a version that was never adopted or was released, and served for one that is still known", async () => {
    const stage = await running(2);
    await expect(stage.ask("a", { exactly: 2 })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    await expect(stage.ask("b", { atLeast: 2 })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    const adopted = stage.adopt(2);
    await settled();
    stage.loaded(0);
    stage.loaded(1);
    await adopted;
    const old = stage.ask("c", { exactly: 1 });
    await settled();
    // One of them goes back to version 1 for it.
    expect(stage.loads.map(({ on, policy }) => `${on.slot}:${policy.version.n}`)).toEqual(["0:1"]);
    stage.loaded(0);
    await settled();
    expect(versions(stage)).toEqual([1, 2]);
    stage.answer(0);
    expect((await old).sequences[0]?.[0]?.spans[0]?.version).toBe(1);
    await stage.pool.release(1, { signal: new AbortController().signal });
    await expect(stage.ask("d", { exactly: 1 })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    const newest = stage.ask("e", { atLeast: 1 });
    await settled();
    expect(stage.atWork()).toEqual(["1:e"]);
    stage.answer(1);
    await newest;
    await stage.pool.dispose();
  });

  it("end with their signal: at once while they wait, with their sampler's end while they are at work", async () => {
    const stage = await running(1);
    const [first, second] = [new AbortController(), new AbortController()];
    const working = stage.ask("a", null, first.signal);
    const waiting = stage.ask("b", null, second.signal);
    await settled();
    second.abort(new Error("not wanted"));
    await expect(waiting).rejects.toThrow("not wanted");
    first.abort(new Error("not wanted either"));
    await expect(working).rejects.toThrow("not wanted either");
    expect(states(stage)).toEqual(["waitingForInput"]);
    expect(stage.time.pending).toBe(0);
    await stage.pool.dispose();
  });

  it("end with their deadline while no member is free", async () => {
    const stage = await running(1);
    stage.deaf = true;
    const working = stage.ask("a");
    await settled();
    const waiting = stage.ask("b");
    // The member is lost twice by its call's deadline, each time with 5 s at work.
    await stage.time.advance(5_100);
    stage.loaded(0);
    await stage.time.advance(5_200);
    stage.loaded(0);
    await stage.time.advance(1_699);
    expect(states(stage)).toEqual(["running"]);
    await stage.time.advance(1);
    await expect(working).rejects.toThrow("sampling a took longer than its deadline of 12000 ms");
    await expect(waiting).rejects.toThrow("sampling b took longer than its deadline of 12000 ms");
    await stage.pool.dispose();
    expect(stage.time.pending).toBe(0);
  });
});

describe("a publication to a pool", () => {
  it("reaches each member as soon as its call is finished, while others go on", async () => {
    const stage = await running(2);
    const replies = [stage.ask("a"), stage.ask("b"), stage.ask("c", { exactly: 2 })];
    await expect(replies[2]).rejects.toThrow("WEIR_E_POLICY_VERSION");
    const adopted = stage.adopt(2);
    await settled();
    expect(stage.loads).toEqual([]);
    stage.answer(0);
    await settled();
    expect(stage.loads.map(({ on }) => on.slot)).toEqual([0]);
    stage.loaded(0);
    const next = stage.ask("d", { atLeast: 2 });
    await settled();
    // The second member still draws from version 1.
    expect(stage.atWork()).toEqual(["1:b", "0:d"]);
    expect(versions(stage)).toEqual([2, 1]);
    stage.answer(1);
    await settled();
    stage.loaded(1);
    await adopted;
    expect(versions(stage)).toEqual([2, 2]);
    stage.answer(0);
    expect((await next).sequences[0]?.[0]?.spans[0]?.version).toBe(2);
    expect((await replies[1])?.sequences[0]?.[0]?.spans[0]?.version).toBe(1);
    await stage.pool.dispose();
  });

  it("keeps a member from new calls until it has loaded: also from those that it could answer before", async () => {
    const stage = await running(1, { perMember: 2 });
    const first = stage.ask("a");
    await settled();
    const adopted = stage.adopt(2);
    const [any, old] = [stage.ask("b"), stage.ask("c", { exactly: 1 })];
    await settled();
    expect(stage.atWork()).toEqual(["0:a"]);
    stage.answer(0);
    await settled();
    expect([stage.atWork(), stage.loads.length]).toEqual([[], 1]);
    stage.loaded(0);
    await adopted;
    await settled();
    expect(stage.atWork()).toEqual(["0:b"]);
    stage.answer(0);
    await settled();
    // It goes back for the old one; what it holds until then is no longer drawn from.
    const newest = stage.ask("d", { atLeast: 2 });
    await settled();
    expect([stage.atWork(), stage.loads.map(({ policy }) => policy.version.n)]).toEqual([[], [1]]);
    stage.loaded(0);
    await settled();
    stage.answer(0);
    await settled();
    stage.loaded(0);
    await settled();
    stage.answer(0);
    const drawn = await Promise.all([first, any, old, newest]);
    expect(drawn.map(({ sequences }) => sequences[0]?.[0]?.spans[0]?.version)).toEqual([1, 2, 1, 2]);
    await stage.pool.dispose();
  });

  it("takes the place of one that is still under way, and both resolve", async () => {
    const stage = await running(2);
    const [second, third] = [stage.adopt(2), stage.adopt(3)];
    await settled();
    // Both members were idle and load version 2 already.
    expect(stage.loads.map(({ policy }) => policy.version.n)).toEqual([2, 2]);
    stage.loaded(0);
    stage.loaded(1);
    await settled();
    expect(stage.loads.map(({ policy }) => policy.version.n)).toEqual([3, 3]);
    stage.loaded(0);
    stage.loaded(1);
    await Promise.all([second, third]);
    expect(versions(stage)).toEqual([3, 3]);
    await stage.pool.dispose();
  });

  it("with abort draws calls in work again from the new policy, but those that want the old one", async () => {
    const stage = await running(2);
    const replies = [stage.ask("any", { atLeast: 1 }), stage.ask("old", { exactly: 1 })];
    await settled();
    const adopted = stage.adopt(2, "abort");
    await settled();
    expect(stage.calls.find(({ request }) => request.id === "any")?.signal.aborted).toBe(true);
    expect(stage.calls.find(({ request }) => request.id === "old")?.signal.aborted).toBe(false);
    stage.calls.splice(0, 1);
    stage.loaded(0);
    await settled();
    expect(stage.atWork().sort()).toEqual(["0:any", "1:old"]);
    stage.answer(0);
    stage.answer(1);
    await settled();
    stage.loaded(1);
    await adopted;
    const drawn = await Promise.all(replies);
    expect(drawn.map(({ sequences }) => sequences[0]?.[0]?.spans[0]?.version)).toEqual([2, 1]);
    await stage.pool.dispose();
  });

  it("with keep loads at once where members can go on in the middle of a sequence, and waits where not", async () => {
    for (const tokenVersions of [true, false]) {
      const stage = new Stage(1);
      stage.capabilities = { tokenVersions };
      await stage.pool.start();
      const reply = stage.ask("a");
      await settled();
      const adopted = stage.adopt(1, "keep");
      await settled();
      expect(stage.loads.map(({ inFlight }) => inFlight)).toEqual(tokenVersions ? ["keep"] : []);
      stage.answer(0);
      await settled();
      stage.loaded(0);
      await Promise.all([reply, adopted]);
      await stage.pool.dispose();
    }
  });

  it("that no member can read is refused, and the one before stays", async () => {
    const stage = await running(2);
    const adopted = stage.adopt(2);
    await settled();
    const fault = new WeirError("WEIR_E_POLICY_VERSION", "other weights");
    stage.take(stage.loads, 0).reject(fault);
    await expect(adopted).rejects.toThrow("other weights");
    stage.loaded(1);
    await settled();
    const replies = [stage.ask("a", { atLeast: 1 }), stage.ask("b", { exactly: 1 })];
    await settled();
    expect(stage.atWork()).toEqual(["0:a"]);
    stage.loaded(1);
    await settled();
    stage.answer(0);
    stage.answer(1);
    await Promise.all(replies);
    await expect(stage.ask("c", { exactly: 2 })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    await stage.pool.dispose();
  });

  it("of an older number, after a rollback, makes what is newer unusable", async () => {
    const stage = await running(1);
    for (const n of [2, 3]) {
      const adopted = stage.adopt(n);
      await settled();
      stage.loaded(0);
      await adopted;
    }
    const back = stage.adopt(2);
    await settled();
    stage.loaded(0);
    await back;
    await expect(stage.ask("a", { exactly: 3 })).rejects.toThrow("WEIR_E_POLICY_VERSION");
    const reply = stage.ask("b", { exactly: 2 });
    await settled();
    stage.answer(0);
    await reply;
    await stage.pool.dispose();
  });
});

describe("a member that is lost", () => {
  it("has its call drawn again by another one, is closed, and comes back with the newest policy", async () => {
    const stage = await running(2);
    const reply = stage.ask("a");
    await settled();
    stage.calls.pop();
    const [first] = stage.incarnations;
    first?.exit("killed by SIGKILL");
    await settled();
    expect(stage.atWork()).toEqual(["1:a"]);
    expect(first?.closed).toBe(true);
    expect(stage.changes).toEqual(["sampler-1 restarting 1 killed by SIGKILL"]);
    expect(states(stage)).toEqual(["restarting", "running"]);
    stage.answer(1);
    await reply;
    await stage.time.advance(99);
    expect(stage.incarnations).toHaveLength(2);
    await stage.time.advance(1);
    expect(stage.incarnations).toHaveLength(3);
    // It does not work before it has loaded what the others hold.
    expect(states(stage)).toEqual(["restarting", "waitingForInput"]);
    stage.loaded(0);
    await settled();
    expect(states(stage)).toEqual(["waitingForInput", "waitingForInput"]);
    expect(versions(stage)).toEqual([1, 1]);
    expect(stage.changes.at(-1)).toBe("sampler-1 running 1 -");
    await stage.pool.dispose();
  });

  it("counts as lost when a call fails with an engine error or outlasts its deadline, and not for the request's own fault", async () => {
    const stage = await running(1);
    const refused = stage.ask("a");
    await settled();
    stage.take(stage.calls, 0).reject(new WeirError("WEIR_E_ENGINE_REQUEST", "no such token"));
    await expect(refused).rejects.toThrow("no such token");
    expect(stage.changes).toEqual([]);
    const again = stage.ask("b");
    await settled();
    stage.take(stage.calls, 0).reject(crashed());
    await stage.time.advance(100);
    stage.loaded(0);
    await settled();
    expect(stage.atWork()).toEqual(["0:b"]);
    stage.deaf = true;
    // 5 s are the most that a member may take for a call.
    await stage.time.advance(5_000);
    expect(states(stage)).toEqual(["restarting"]);
    await stage.time.advance(200);
    stage.loaded(0);
    await settled();
    stage.calls.splice(0, stage.calls.length - 1);
    stage.answer(0);
    await again;
    expect(stage.changes.map((one) => one.split(" ").slice(0, 3).join(" "))).toEqual([
      "sampler-1 restarting 1",
      "sampler-1 running 1",
      "sampler-1 restarting 2",
      "sampler-1 running 2",
    ]);
    await stage.pool.dispose();
  });

  it("is given up after maxRestarts without a finished call, and the pool says why once none is left", async () => {
    const stage = await running(2);
    stage.failing = (_, slot) => slot === 0;
    stage.incarnations[0]?.exit("out of memory");
    await stage.time.advance(100 + 200);
    expect(states(stage)).toEqual(["failed", "waitingForInput"]);
    expect(stage.changes).toEqual([
      "sampler-1 restarting 1 out of memory",
      "sampler-1 restarting 2 no such model",
      "sampler-1 failed 2 no such model",
    ]);
    const reply = stage.ask("a");
    await settled();
    stage.answer(1);
    await reply;
    stage.failing = () => true;
    stage.incarnations[1]?.exit("out of memory too");
    const [waiting, adopted] = [stage.ask("b"), stage.adopt(2)];
    await stage.time.advance(100 + 200);
    await expect(waiting).rejects.toThrow("WEIR_E_SAMPLERS_LOST");
    await expect(adopted).rejects.toThrow("sampler-2: no such model");
    await expect(stage.ask("c")).rejects.toThrow("WEIR_E_SAMPLERS_LOST");
    await stage.pool.dispose();
    expect(stage.time.pending).toBe(0);
  });

  it("forgets its losses with each finished call", async () => {
    const stage = await running(1);
    for (let loss = 0; loss < 6; loss++) {
      stage.incarnations.at(-1)?.exit("killed");
      await stage.time.advance(100);
      stage.loaded(0);
      await settled();
      const reply = stage.ask(`r${loss}`);
      await settled();
      stage.answer(0);
      await reply;
    }
    expect(stage.pool.actors()[0]).toMatchObject({ state: "waitingForInput", restarts: 6, handled: 6 });
    await stage.pool.dispose();
  });

  it("does not take more than three others with it by one request", async () => {
    const stage = await running(4);
    const reply = stage.ask("poison");
    for (let loss = 0; loss < 3; loss++) {
      await settled();
      stage.calls.splice(0, 1)[0]?.reject(crashed());
    }
    await expect(reply).rejects.toThrow("WEIR_E_ENGINE_CRASHED");
    await stage.pool.dispose();
  });

  it("while it loads a policy does not hold up the others", async () => {
    const stage = await running(2);
    const adopted = stage.adopt(2);
    await settled();
    stage.loads[0]?.on.exit("killed while loading");
    stage.take(stage.loads, 0);
    stage.loaded(1);
    await adopted;
    expect(states(stage)).toEqual(["restarting", "waitingForInput"]);
    expect(versions(stage)).toEqual([null, 2]);
    await stage.pool.dispose();
  });

  it("by a load that hangs is started again", async () => {
    const stage = await running(1);
    const adopted = stage.adopt(2);
    await stage.time.advance(2_000);
    expect(states(stage)).toEqual(["restarting"]);
    stage.loads.splice(0);
    await stage.time.advance(100);
    stage.loaded(0);
    await adopted;
    expect(versions(stage)).toEqual([2]);
    await stage.pool.dispose();
  });
});

describe("the end of a pool", () => {
  it("rejects what waits, cancels what is in work, closes every member and leaves no timer", async () => {
    const stage = await running(2);
    const calls = ["a", "b", "c"].map((id) => stage.ask(id));
    await settled();
    const adopted = stage.adopt(2);
    await stage.pool.dispose();
    for (const call of calls) await expect(call).rejects.toThrow("WEIR_E_STATE");
    await expect(adopted).rejects.toThrow("WEIR_E_STATE");
    expect(stage.incarnations.every(({ closed }) => closed)).toBe(true);
    expect(stage.time.pending).toBe(0);
    expect(states(stage)).toEqual(["stopped", "stopped"]);
    await expect(stage.ask("d")).rejects.toThrow("WEIR_E_STATE");
  });

  it("closes a member that was starting, once it has started", async () => {
    let closed = 0;
    let launch: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      launch = resolve;
    });
    const stage = new Stage(1, {
      start: async () => {
        await gate;
        return {
          exited: new Promise(() => undefined),
          pid: null,
          sampler: {} as never,
          close: async () => {
            closed += 1;
          },
        };
      },
    });
    const started = stage.pool.start();
    const disposed = stage.pool.dispose();
    await expect(started).rejects.toThrow("WEIR_E_STATE");
    launch();
    await disposed;
    expect(closed).toBe(1);
    expect(stage.time.pending).toBe(0);
  });
});

it("whatever is lost at whatever moment, every request and publication ends, and nothing is left", async () => {
  const event = fc.oneof(
    { weight: 3, arbitrary: fc.constant({ kind: "ask" as const }) },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constant("adopt" as const), mode: fc.constantFrom("wait", "abort", "keep") }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("exit" as const), slot: fc.nat(2) }) },
    { weight: 1, arbitrary: fc.constant({ kind: "cancel" as const }) },
    { weight: 4, arbitrary: fc.record({ kind: fc.constant("answer" as const), slot: fc.nat(2), crash: fc.boolean() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.nat(3_000) }) },
  );
  await fc.assert(
    fc.asyncProperty(fc.boolean(), fc.array(event, { maxLength: 25 }), async (deaf, events) => {
      const stage = new Stage(3);
      stage.deaf = deaf;
      const ends: Promise<unknown>[] = [];
      const cancels: AbortController[] = [];
      let version = 0;
      for (const one of events) {
        if (one.kind === "ask") {
          const cancel = new AbortController();
          cancels.push(cancel);
          ends.push(stage.ask(`r${ends.length}`, version === 0 ? null : { atLeast: version - 1 }, cancel.signal));
        } else if (one.kind === "adopt") ends.push(stage.adopt(++version, one.mode as "wait"));
        else if (one.kind === "exit") stage.incarnations.findLast(({ slot }) => slot === one.slot)?.exit("killed");
        else if (one.kind === "cancel") cancels.shift()?.abort(new Error("cancelled"));
        else if (one.kind === "pass") await stage.time.advance(one.ms);
        else {
          const from = [...stage.calls, ...stage.loads].find(({ on }) => on.slot === one.slot);
          stage.calls.splice(0, stage.calls.length, ...stage.calls.filter((other) => other !== from));
          stage.loads.splice(0, stage.loads.length, ...stage.loads.filter((other) => other !== from));
          if (one.crash) from?.reject(crashed());
          else from?.resolve();
        }
        await settled();
        for (const { busy } of stage.pool.actors()) expect(busy).toBeLessThanOrEqual(1);
      }
      // Nothing is answered from here on: deadlines end it.
      await stage.time.advance(120_000);
      const left = await Promise.race([
        Promise.allSettled(ends).then(() => "all ended"),
        settled().then(() => "some wait"),
      ]);
      expect(left).toBe("all ended");
      await stage.pool.dispose();
      expect(stage.time.pending).toBe(0);
      expect(stage.incarnations.every(({ closed }) => closed)).toBe(true);
    }),
    { numRuns: 400 },
  );
}, 120_000);
