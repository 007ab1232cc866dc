/** Whole runs whose sampler and trainer are on servers: connections, losses, and what is checked before anything is trained. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { counterKey } from "../../src/algorithms/random.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact } from "../../src/contracts/fact.js";
import { endStates, parityReward } from "../e2e/tiny-run.js";
import { fakeRun } from "./fake-run.js";
import { type ServerScript, scriptedServer } from "./scripted-server.js";

const SERVED: Partial<ConfigInput> = {
  phases: [{ maxTokens: 300, steps: 3 }],
  update: { miniBatchPrompts: null },
  optimiser: { learningRate: 1e-3, maxGradNorm: null },
};

async function servedRun(script: ServerScript = {}, over: Partial<ConfigInput> = {}) {
  const server = scriptedServer(script);
  const { trainer, sampler } = server;
  const engine = () => Promise.reject(new Error("no part of the run is built on the embedded engine"));
  const { system, alerts, metrics } = await fakeRun({ ...SERVED, ...over }, parityReward, {
    actors: { trainer, sampler, engine },
  });
  const facts: Fact[] = [];
  const states: string[] = [];
  system.facts$.subscribe((fact) => facts.push(fact));
  system.state$.subscribe(({ lifecycle }) => {
    if (states.at(-1) !== lifecycle) states.push(lifecycle);
  });
  const of = (type: Fact["type"]) => facts.filter((fact) => fact.type === type);
  return { ...server, system, alerts, metrics, states, of };
}

const report = (given: unknown) => given as Readonly<Record<string, unknown>>;

describe("a run without an embedded engine", () => {
  it("connects its parts before anything else, the trainer first, and journals calls of the trainer", async () => {
    const run = await servedRun();
    await run.system.start();
    const done = await run.system.done;
    expect(run.calls.slice(0, 3)).toEqual(["trainer.connect", "sampler.connect", "adopt 0"]);
    expect([run.counts.get("trainer.connect"), run.counts.get("sampler.connect")]).toEqual([1, 1]);
    expect(run.of("trainer.called").map(({ data }) => (data as { call: string }).call)).toEqual(
      Array.from({ length: 3 }, () => ["forward_backward", "optim_step"]).flat(),
    );
    expect(run.of("trainer.called").map(({ data }) => (data as { number: number }).number)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(report(done.report)).toMatchObject({ engine: null, updates: { rl: 3 } });
    expect(run.states).not.toContain("recovering");
  });

  it("judges each batch by its rehearsal: the standard guard is in use, and a batch that is skipped is not sent", async () => {
    const run = await servedRun();
    let skipped: Promise<void> | null = null;
    run.system.facts$.subscribe((fact) => {
      if (fact.type === "step.committed" && fact.step === 1) skipped = run.system.skipBatch({ reason: "it looks odd" });
    });
    await run.system.start();
    await run.system.done;
    await skipped;
    const started = run.of("run.started")[0]?.data as { parts: { guard: { kind: string } } };
    expect(started.parts.guard.kind).toBe("standard");
    expect(run.of("guard.judged").map(({ data }) => data)).toMatchObject([{ verdict: "skip", rule: "skip_batch" }]);
    expect([run.counts.get("rehearse"), run.counts.get("forwardBackward"), run.state.steps]).toEqual([3, 2, 2]);
  });

  it("gives no entropy where the sampler has none", async () => {
    const run = await servedRun();
    await run.system.start();
    await run.system.done;
    const names = run.metrics.flatMap(({ values }) => Object.keys(values));
    expect(names).toContain("reward/mean");
    expect(names.filter((name) => name.startsWith("entropy/"))).toEqual([]);
  });
});

describe("a server that goes away", () => {
  it("in a step: the run pauses, goes on by itself from the last checkpoint, and applies nothing twice", async () => {
    // The second optimiser step is applied, and its answer is lost.
    const away = (call: string, count: number) => (call === "optimStep" && count === 2 ? "WEIR_E_UNREACHABLE" : null);
    const run = await servedRun({ fault: away });
    await run.system.start();
    const { runDirectory, report: given } = await run.system.done;
    const wanted = run.states.filter((state) => ["paused", "recovering", "training"].includes(state));
    expect(wanted.filter((state, at) => state !== wanted[at - 1])).toEqual([
      "training",
      "paused",
      "recovering",
      "training",
    ]);
    expect(run.alerts.filter(({ rule }) => rule === "unreachable")).toMatchObject([
      { level: "error", text: expect.stringContaining("goes on by itself once the server answers") },
    ]);
    expect([run.counts.get("trainer.connect"), run.counts.get("optimStep"), run.state.steps]).toEqual([3, 4, 3]);
    expect(report(given)).toMatchObject({ steps: { rl: 3 }, updates: { rl: 3 } });
    expect([...(await endStates(runDirectory)).values()]).not.toContain("dropped:aborted");
  });

  it("in an evaluation: the run evaluates again, with the policy adopted again, and nothing is restored", async () => {
    const away = (call: string, count: number) =>
      call === "sample for evaluation" && count === 1 ? "WEIR_E_UNREACHABLE" : null;
    const run = await servedRun({ fault: away }, { evaluation: { initial: true, tasksPerBucket: 4 } });
    await run.system.start();
    await run.system.done;
    expect(run.states).toContain("paused");
    expect(run.of("run.resumed")).toEqual([]);
    expect(run.calls.filter((call) => call === "adopt 0")).toHaveLength(2);
    expect(run.state.steps).toBe(3);
  });

  it("before the run has begun: start() says so, and no run folder stays", async () => {
    const run = await servedRun({ fault: (call) => (call === "sampler.connect" ? "WEIR_E_UNREACHABLE" : null) });
    await expect(run.system.start()).rejects.toMatchObject({ code: "WEIR_E_UNREACHABLE" });
    expect(run.system.runDirectory).toBeNull();
  });

  it("and stays away: a run that is stopped then ends at once, without a last checkpoint", async () => {
    let gone = false;
    const run = await servedRun({
      fault: (call, count) => {
        gone ||= call === "optimStep" && count === 2;
        return gone ? "WEIR_E_UNREACHABLE" : null;
      },
    });
    run.system.state$.subscribe(({ lifecycle }) => {
      if (lifecycle === "paused") void run.system.stop();
    });
    await run.system.start();
    expect(await run.system.done).toMatchObject({ status: "stopped" });
    expect(run.calls.slice(run.calls.lastIndexOf("optimStep"))).not.toContain("saveState");
  });
});

describe("a server that has lost the run's model", () => {
  const lost = (times: number) => (call: string, count: number) =>
    call === "rehearse" && count > 1 && count <= 1 + times ? "WEIR_E_REMOTE_STATE" : null;

  it("has the run go back to its last checkpoint", async () => {
    const run = await servedRun({ fault: lost(1) });
    await run.system.start();
    const { report: given } = await run.system.done;
    expect(run.states).toContain("recovering");
    expect(run.states).not.toContain("paused");
    expect(run.of("run.resumed")).toHaveLength(1);
    expect(report(given)).toMatchObject({ updates: { rl: 3 } });
    expect(run.state.steps).toBe(3);
  });

  it("again and again ends the run with its error", async () => {
    const run = await servedRun({ fault: lost(99) }, { engine: { backend: "cpu", maxRestarts: 2, restartDelayMs: 0 } });
    await run.system.start();
    await expect(run.system.done).rejects.toMatchObject({ code: "WEIR_E_REMOTE_STATE" });
    expect(run.counts.get("loadState")).toBe(2);
  });
});

describe("servers that fail now and then", () => {
  const CODES = ["WEIR_E_UNREACHABLE", "WEIR_E_REMOTE_STATE"] as const;
  const CALLS = [
    ...["rehearse", "forwardBackward", "optimStep", "saveState"],
    ...["adopt 1", "adopt 2", "sample for training", "sample for evaluation"],
  ];
  /** Three calls that are carried out and fail all the same. */
  const drawn = (seed: number) =>
    new Map(
      [0, 1, 2].map((at) => {
        const key = (what: string) => counterKey(seed, what, at);
        const call = `${CALLS[key("call") % CALLS.length]} ${1 + (key("count") % 3)}`;
        return [call, CODES[key("code") % CODES.length] ?? null] as const;
      }),
    );

  it.each([
    [1, 0],
    [2, 0],
    [3, 0],
    [4, 0],
    [5, 0],
    [6, 1],
    [7, 1],
    [8, 1],
    [9, 1],
    [10, 1],
  ])("at random (seed %i, lag %i) lose nothing and apply nothing twice", async (seed, maxLag) => {
    const faults = drawn(seed);
    let fired = 0;
    const fault = (call: string, count: number) => {
      const code = faults.get(`${call} ${count}`) ?? null;
      if (code !== null) fired++;
      return code;
    };
    const run = await servedRun(
      { fault },
      {
        async: { maxLag },
        update: { miniBatchPrompts: null, correction: { importance: maxLag > 0 ? "token" : "none" } },
        phases: [{ maxTokens: 300, steps: 4 }],
        evaluation: { initial: true, tasksPerBucket: 4, everySteps: 2 },
        checkpoint: { everySteps: 2 },
        engine: { backend: "cpu", maxRestarts: 3, restartDelayMs: 0 },
      },
    );
    await run.system.start();
    const { runDirectory, report: given } = await run.system.done;
    expect(report(given)).toMatchObject({ steps: { rl: 4 }, updates: { rl: 4 }, policy: { n: 4 } });
    expect(run.state.steps).toBe(4);
    expect(fired).toBeGreaterThan(0);
    expect(run.states.filter((state) => state === "paused" || state === "recovering").length).toBeGreaterThanOrEqual(
      fired,
    );
    const journal = (await readFile(join(runDirectory, "journal.ndjson"), "utf8")).trim().split("\n");
    const committed = journal.map((line) => JSON.parse(line) as Fact).filter(({ type }) => type === "step.committed");
    expect(committed.map(({ step }) => step)).toEqual([1, 2, 3, 4]);
    const trained = [...(await endStates(runDirectory)).values()].filter((end) => end === "trained");
    expect(trained.length).toBeGreaterThan(0);
  });
});

describe("before anything is trained, sampler and trainer", () => {
  it("are compared on the responses of the trial batch", async () => {
    const run = await servedRun({ drawnLogprob: -1.05 });
    await run.system.start();
    await run.system.done;
    const [first] = run.metrics;
    expect(first).toMatchObject({ step: 0, values: { mismatch_abs: expect.closeTo(0.05, 9) } });
  });

  it("that do not have the same weights end the run", async () => {
    const run = await servedRun({ drawnLogprob: -1.2 });
    await run.system.start();
    await expect(run.system.done).rejects.toMatchObject({
      code: "WEIR_E_MISMATCH",
      message: expect.stringContaining("differ by 0.2 nats on average"),
    });
    expect([run.counts.get("rehearse"), run.counts.get("forwardBackward")]).toEqual([undefined, undefined]);
  });

  it("that compute in float32 may differ by rounding alone", async () => {
    const exact = { sampler: { precision: "float32" }, trainer: { precision: "float32" } } as const;
    const wrong = await servedRun({ ...exact, drawnLogprob: -1.05 });
    await wrong.system.start();
    await expect(wrong.system.done).rejects.toMatchObject({
      code: "WEIR_E_MISMATCH",
      message: expect.stringMatching(/limit 0\.001, where the sampler computes in float32 and the trainer in float32/),
    });
    const lower = await servedRun({ ...exact, sampler: { precision: "bfloat16" }, drawnLogprob: -1.05 });
    await lower.system.start();
    expect(await lower.system.done).toMatchObject({ status: "completed" });
  });

  it("have the same limit while they train", async () => {
    const drift = async (precision: "float32" | "bfloat16") => {
      const script = { sampler: { precision }, trainer: { precision }, drawnLogprob: -1 };
      const run = await servedRun(script, { phases: [{ maxTokens: 300, steps: 10 }] });
      run.system.facts$.subscribe(({ type, step }) => {
        if (type === "step.committed" && step === 8) script.drawnLogprob = -1.005;
      });
      await run.system.start();
      await run.system.done.catch(() => undefined);
      const judged = run.of("guard.judged").flatMap(({ data }) => (data as { rule: string | null }).rule ?? []);
      return [...judged, ...run.alerts.map(({ rule, threshold }) => `alarm ${rule} ${threshold}`)];
    };
    expect(await drift("float32")).toEqual(expect.arrayContaining(["mismatch", "alarm mismatch 0.001"]));
    expect(await drift("bfloat16")).toEqual([]);
  });

  it("whose log-probs are not of the same kind are compared on responses at temperature 1 from the whole vocabulary", async () => {
    const rollout = { groupSize: 4, promptsPerStep: 3, promptsPerCall: 2, maxTokens: 6, temperature: 0.7, topP: 0.9 };
    const run = await servedRun({ sampler: { logprobBasis: "processed" } }, { rollout });
    await run.system.start();
    await run.system.done;
    const compared = run.samplings.filter(({ params }) => params.temperature === 1);
    expect(compared).toMatchObject([{ params: { topP: 1, topK: 0, maxTokens: 6 }, policy: { exactly: 0 } }]);
    expect(run.metrics[0]).toMatchObject({ step: 0, values: { mismatch_abs: 0 } });
    const wrong = await servedRun({ sampler: { logprobBasis: "processed" }, drawnLogprob: -2 }, { rollout });
    await wrong.system.start();
    await expect(wrong.system.done).rejects.toMatchObject({ code: "WEIR_E_MISMATCH" });
  });
});
