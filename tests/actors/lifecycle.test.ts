import { describe, expect, it } from "vitest";
import { createActor, fromPromise, waitFor } from "xstate";
import { lifecycleMachine, type Plan, type Return } from "../../src/actors/run/lifecycle.js";
import { WeirError } from "../../src/errors.js";

const nothing = () => undefined;
const NO_PIPELINE = { maxRestarts: 0, restartDelayMs: 0, attached: nothing, changed: nothing, failed: nothing };

/** Drives the machine by hand: every piece of work waits in `pending` until the test settles it. */
function drive(maxRecoveries = 2) {
  const pending: { name: string; resolve(plan: Plan): void; reject(error: unknown): void; signal: AbortSignal }[] = [];
  const piece = (name: string) =>
    fromPromise<Plan>(
      ({ signal }) => new Promise((resolve, reject) => pending.push({ name, resolve, reject, signal })),
    );
  const names = [
    "preflight",
    "evaluate",
    "warmup",
    "step",
    "checkpoint",
    "finish",
    "recover",
    "rollBack",
    "drain",
  ] as const;
  const actors = Object.fromEntries(names.map((name) => [name, piece(name)])) as Record<
    (typeof names)[number],
    ReturnType<typeof piece>
  >;
  /** Tries to reach the servers of a run that waits for them. */
  const reconnecting: {
    away: Return;
    resolve(how: Return): void;
    reject(error: unknown): void;
    signal: AbortSignal;
  }[] = [];
  const reconnect = fromPromise<Return, { readonly away: Return | null }>(
    ({ input: { away }, signal }) =>
      new Promise((resolve, reject) => {
        if (away !== null) reconnecting.push({ away, resolve, reject, signal });
      }),
  );
  const actor = createActor(lifecycleMachine.provide({ actors: { ...actors, reconnect } }), {
    input: { plan: { next: "preflight", checkpoint: false }, maxRecoveries, pipeline: NO_PIPELINE },
  });
  actor.start();
  const next = async (name: string) => {
    const piece = pending.shift();
    expect(piece?.name).toBe(name);
    return piece as (typeof pending)[number];
  };
  const settle = async (name: string, plan: Plan) => {
    (await next(name)).resolve(plan);
    await new Promise((resolve) => setImmediate(resolve));
  };
  const fail = async (name: string, error: unknown) => {
    (await next(name)).reject(error);
    await new Promise((resolve) => setImmediate(resolve));
  };
  const answered = async (how?: Return) => {
    const tried = reconnecting.pop();
    tried?.resolve(how ?? tried.away);
    await new Promise((resolve) => setImmediate(resolve));
  };
  return { actor, pending, settle, fail, reconnecting, answered, value: () => actor.getSnapshot().value };
}

const go = (next: Plan["next"], checkpoint = false): Plan => ({ next, checkpoint });
const crashed = new WeirError("WEIR_E_ENGINE_CRASHED", "killed by SIGKILL");

describe("the lifecycle", () => {
  it("goes from preflight through evaluation, warm-up, training and finishing to completed", async () => {
    const run = drive();
    expect(run.value()).toEqual({ operating: "preflight" });
    await run.settle("preflight", go("evaluate"));
    expect(run.value()).toEqual({ operating: "evaluating" });
    await run.settle("evaluate", go("warmup"));
    await run.settle("warmup", go("step", true));
    expect(run.value()).toEqual({ operating: "checkpointing" });
    await run.settle("checkpoint", go("step"));
    expect(run.value()).toEqual({ operating: "training" });
    await run.settle("step", go("finish"));
    await run.settle("finish", go("complete"));
    await waitFor(run.actor, (snapshot) => snapshot.status === "done");
    expect(run.value()).toBe("completed");
  });

  it("pauses at the next safe point, not in the middle of a step, and comes back where it was", async () => {
    const run = drive();
    await run.settle("preflight", go("step"));
    run.actor.send({ type: "PAUSE" });
    expect(run.value()).toEqual({ operating: "training" });
    await run.settle("step", go("step"));
    expect(run.value()).toBe("paused");
    expect(run.pending).toHaveLength(0);
    run.actor.send({ type: "RESUME" });
    expect(run.value()).toEqual({ operating: "training" });
    expect(run.pending.map((piece) => piece.name)).toEqual(["step"]);
  });

  it("pauses on a lack of room for policies, keeps the error, and tries the same step again when it is resumed", async () => {
    const run = drive();
    await run.settle("preflight", go("step"));
    await run.fail("step", new WeirError("WEIR_E_POLICY_BUDGET", "no room"));
    expect(run.value()).toBe("paused");
    expect(run.actor.getSnapshot().context.error).toMatchObject({ code: "WEIR_E_POLICY_BUDGET" });
    run.actor.send({ type: "RESUME" });
    expect(run.value()).toEqual({ operating: "training" });
    expect(run.actor.getSnapshot().context.error).toBe(null);
    await run.settle("step", go("finish"));
    expect(run.value()).toEqual({ operating: "finishing" });
  });

  it("writes a checkpoint on request while paused and stays paused", async () => {
    const run = drive();
    run.actor.send({ type: "PAUSE" });
    await run.settle("preflight", go("step"));
    run.actor.send({ type: "CHECKPOINT" });
    expect(run.value()).toEqual({ operating: "checkpointing" });
    await run.settle("checkpoint", go("step"));
    expect(run.value()).toBe("paused");
  });

  it("drains on stop: the step ends, a last checkpoint is written, then stopped", async () => {
    const run = drive();
    await run.settle("preflight", go("step"));
    run.actor.send({ type: "STOP" });
    expect(run.value()).toEqual({ operating: "training" });
    await run.settle("step", go("step"));
    expect(run.value()).toBe("draining");
    await run.settle("drain", go("complete"));
    expect(run.value()).toBe("stopped");
  });

  it("aborts at once and cancels the work at hand", async () => {
    const run = drive();
    await run.settle("preflight", go("step"));
    const [step] = run.pending;
    run.actor.send({ type: "ABORT" });
    expect(run.value()).toBe("stopped");
    expect(step?.signal.aborted).toBe(true);
  });

  it("recovers from a lost engine a bounded number of times, then fails with the cause", async () => {
    const run = drive(2);
    await run.settle("preflight", go("step"));
    for (let attempt = 0; attempt < 2; attempt++) {
      await run.fail("step", crashed);
      expect(run.value()).toBe("recovering");
      await run.settle("recover", go("step"));
      expect(run.value()).toEqual({ operating: "training" });
    }
    await run.fail("step", crashed);
    expect(run.value()).toBe("failed");
    expect(run.actor.getSnapshot().context.error).toBe(crashed);
  });

  it("forgets earlier losses once a step has been completed", async () => {
    const run = drive(1);
    await run.settle("preflight", go("step"));
    await run.fail("step", crashed);
    await run.settle("recover", go("step"));
    await run.settle("step", go("step"));
    await run.fail("step", crashed);
    expect(run.value()).toBe("recovering");
  });

  it("does not take steps that are done again for progress: an engine that fails at the same step is given up", async () => {
    const run = drive(2);
    const done = (count: number): Plan => ({ next: "step", checkpoint: false, done: count });
    await run.settle("preflight", done(5));
    for (let attempt = 0; attempt < 2; attempt++) {
      // Restored to step 5, it does 6 and 7 and loses its engine in 8.
      await run.settle("step", done(6));
      await run.settle("step", done(7));
      await run.fail("step", crashed);
      expect(run.value()).toBe("recovering");
      await run.settle("recover", done(5));
    }
    await run.settle("step", done(6));
    await run.settle("step", done(7));
    await run.fail("step", crashed);
    expect(run.value()).toBe("failed");
  });

  it("fails on an error that no restart can mend", async () => {
    const run = drive();
    await run.fail("preflight", new WeirError("WEIR_E_JUDGE", "not one response could be scored"));
    expect(run.value()).toBe("failed");
  });
});

describe("a rollback", () => {
  const wish = { type: "ROLL_BACK", to: 3, by: { kind: "operator", name: "browser" }, reason: "it looks odd" } as const;
  const rollback = new WeirError("WEIR_E_ROLLBACK", "too far", { judged: [] });
  const noRoom = new WeirError("WEIR_E_POLICY_BUDGET", "full");
  const training = async () => {
    const run = drive();
    await run.settle("preflight", go("step"));
    return run;
  };

  it("that a person asks for waits for the safe point, and is followed by a checkpoint", async () => {
    const run = await training();
    run.actor.send(wish);
    expect(run.value()).toEqual({ operating: "training" });
    await run.settle("step", go("step"));
    expect(run.value()).toBe("rollingBack");
    expect(run.actor.getSnapshot().context.rollback).toMatchObject({ to: 3, reason: "it looks odd", error: null });
    await run.settle("rollBack", go("step", true));
    expect(run.value()).toEqual({ operating: "checkpointing" });
    expect(run.actor.getSnapshot().context.rollback).toBeNull();
    await run.settle("checkpoint", go("step"));
    expect(run.value()).toEqual({ operating: "training" });
  });

  it("leaves a paused run paused", async () => {
    const run = await training();
    run.actor.send({ type: "PAUSE" });
    await run.settle("step", go("step"));
    run.actor.send(wish);
    expect(run.value()).toBe("rollingBack");
    await run.settle("rollBack", go("step", true));
    await run.settle("checkpoint", go("step"));
    expect(run.value()).toBe("paused");
  });

  it("pauses the run where the guard has used up its rollbacks", async () => {
    const run = await training();
    await run.fail("step", rollback);
    expect(run.value()).toBe("rollingBack");
    expect(run.actor.getSnapshot().context.rollback).toMatchObject({ by: { kind: "guard" }, error: rollback });
    await run.settle("rollBack", { ...go("step", true), pause: true });
    await run.settle("checkpoint", go("step"));
    expect(run.value()).toBe("paused");
    run.actor.send({ type: "RESUME" });
    expect(run.value()).toEqual({ operating: "training" });
  });

  it("that finds no room is tried again on RESUME, and until then nothing of the half step is kept", async () => {
    const run = await training();
    await run.fail("step", rollback);
    await run.fail("rollBack", noRoom);
    expect(run.value()).toBe("paused");
    run.actor.send({ type: "CHECKPOINT" });
    expect(run.value()).toBe("paused");
    run.actor.send(wish);
    expect(run.value()).toBe("rollingBack");
    // The guard's own wish stands.
    expect(run.actor.getSnapshot().context.rollback?.by.kind).toBe("guard");
    await run.fail("rollBack", noRoom);
    run.actor.send({ type: "STOP" });
    await waitFor(run.actor, (snapshot) => snapshot.status === "done");
    expect(run.value()).toBe("stopped");
    expect(run.pending).toHaveLength(0);
  });

  it("is forgotten with the engine where the guard asked for it, and done after the recovery where a person did", async () => {
    const guarded = await training();
    await guarded.fail("step", rollback);
    await guarded.fail("rollBack", crashed);
    expect(guarded.value()).toBe("recovering");
    await guarded.settle("recover", go("step"));
    expect(guarded.value()).toEqual({ operating: "training" });
    const asked = await training();
    asked.actor.send(wish);
    await asked.fail("step", crashed);
    await asked.settle("recover", go("step"));
    expect(asked.value()).toBe("rollingBack");
  });
});

describe("a run whose server cannot be reached", () => {
  const away = new WeirError("WEIR_E_UNREACHABLE", "http://127.0.0.1:1 cannot be reached");
  const training = async (maxRecoveries?: number) => {
    const run = drive(maxRecoveries);
    await run.settle("preflight", go("step"));
    return run;
  };

  it("pauses with the error, and does the same piece of work again once the server answers", async () => {
    const run = await training();
    await run.settle("step", go("evaluate"));
    await run.fail("evaluate", away);
    expect(run.value()).toBe("paused");
    expect(run.actor.getSnapshot().context).toMatchObject({ error: away, away: "retry" });
    await run.answered();
    expect(run.value()).toEqual({ operating: "evaluating" });
    expect(run.actor.getSnapshot().context).toMatchObject({ error: null, away: null });
    await run.settle("evaluate", go("step"));
    expect(run.value()).toEqual({ operating: "training" });
  });

  it.each(["step", "warmup"] as const)(
    "goes on from the last checkpoint after a %s, which may have been applied, however often that happens",
    async (work) => {
      const run = drive(0);
      await run.settle("preflight", go(work));
      for (let time = 0; time < 3; time++) {
        await run.fail(work, away);
        expect(run.actor.getSnapshot().context).toMatchObject({ away: "restore", recoveries: 0 });
        await run.answered();
        expect(run.value()).toBe("recovering");
        await run.settle("recover", go(work));
        expect(run.actor.getSnapshot().context).toMatchObject({ error: null, away: null });
      }
      expect(run.pending.map(({ name }) => name)).toEqual([work]);
    },
  );

  it("restores where the pipeline broke meanwhile, and waits again where the server goes away while it restores", async () => {
    const run = await training();
    await run.settle("step", go("evaluate"));
    await run.fail("evaluate", away);
    await run.answered("restore");
    expect(run.value()).toBe("recovering");
    await run.fail("recover", away);
    expect(run.value()).toBe("paused");
    expect(run.reconnecting.map((one) => one.away)).toEqual(["restore"]);
  });

  it("asks at once on RESUME, stays paused where a person paused it, and remembers a rollback", async () => {
    const run = await training();
    await run.fail("step", away);
    const [first] = run.reconnecting;
    run.actor.send({ type: "PAUSE" });
    run.actor.send({ type: "RESUME" });
    expect(first?.signal.aborted).toBe(true);
    expect(run.reconnecting).toHaveLength(2);
    run.actor.send({ type: "PAUSE" });
    run.actor.send({ type: "ROLL_BACK", by: { kind: "operator", name: "" }, reason: "odd" });
    expect(run.value()).toBe("paused");
    await run.answered();
    await run.settle("recover", go("step"));
    expect(run.value()).toBe("rollingBack");
    await run.settle("rollBack", go("step"));
    expect(run.value()).toBe("paused");
    expect(run.reconnecting).toHaveLength(1);
  });

  it("writes no last checkpoint when it is stopped, paused or in work", async () => {
    const paused = await training();
    await paused.fail("step", away);
    paused.actor.send({ type: "STOP" });
    expect(paused.value()).toBe("stopped");
    const working = await training();
    working.actor.send({ type: "STOP" });
    await working.fail("step", away);
    expect(working.value()).toBe("stopped");
    const draining = await training();
    draining.actor.send({ type: "STOP" });
    await draining.settle("step", go("step"));
    await draining.fail("drain", away);
    expect(draining.value()).toBe("stopped");
    expect([paused, working, draining].flatMap((run) => run.pending)).toEqual([]);
  });

  it("fails where the server answers with a refusal", async () => {
    const run = await training();
    await run.fail("step", away);
    run.reconnecting[0]?.reject(new WeirError("WEIR_E_REMOTE", "another base model"));
    await waitFor(run.actor, (snapshot) => snapshot.status === "done");
    expect(run.value()).toBe("failed");
  });

  it("restores a bounded number of times where the server has lost its state", async () => {
    const run = await training(1);
    const lost = new WeirError("WEIR_E_REMOTE_STATE", "the model is gone");
    await run.fail("step", lost);
    expect(run.value()).toBe("recovering");
    await run.settle("recover", go("step"));
    await run.fail("step", lost);
    expect(run.value()).toBe("failed");
  });
});
