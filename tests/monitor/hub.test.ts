import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { evaluationSchema } from "../../monitor/protocol/records.js";
import {
  announceMonitor,
  describeMachine,
  findMonitor,
  MonitorHub,
  type RunningMonitor,
  replayRun,
  startMonitor,
  stateName,
} from "../../monitor/server/index.js";
import { curriculumMachine } from "../../src/actors/curriculum/machine.js";
import { lifecycleMachine } from "../../src/actors/run/lifecycle.js";
import type { Json } from "../../src/contracts/task.js";
import { RunFolder, writeRollouts } from "../../src/store/index.js";
import { factOf, RESUMED, STARTED, type Told } from "../helpers/facts.js";
import { alert, metric, trace } from "./support.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

/** A short run as its journal tells it: type, step, data. */
const STORY: readonly Told[] = [
  ["run.started", 0, { ...STARTED, plannedSteps: 5 }],
  ["lifecycle.changed", 0, { machine: "lifecycle", value: { operating: "training" } }],
  ["metrics.recorded", 1, { phase: 0, values: { "loss/sft": 2.5 } }],
  [
    "evaluation.finished",
    0,
    { stage: "after_sft", buckets: { "1-120": { n: 10, correct: 5, unscored: 0, meanReward: 0.5 } } },
  ],
  ["phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 120, fromStep: 1 }],
  ["metrics.recorded", 1, { phase: 1, values: { "reward/mean": 0.5 } }],
  ["metrics.recorded", 2, { phase: 1, values: { "reward/mean": 0.6 } }],
  ["alert.raised", 2, { alert: alert(2) }],
  ["checkpoint.written", 2, { step: 2, path: "checkpoints/step-00002" }],
  ["phase.decided", 2, { action: "advance", phase: 1, nextPhase: 2, reason: "its steps are done", evidence: {} }],
  ["phase.entered", 3, { k: 2, minTokens: 120, maxTokens: 240, fromStep: 3 }],
  ["metrics.recorded", 3, { phase: 2, values: { "reward/mean": 0.4 } }],
];

const fact = factOf;

function tell(hub: MonitorHub, story = STORY): void {
  hub.publishRun({ id: "r1" });
  for (const [i, line] of story.entries()) hub.publishFact(fact(i + 1, line));
}

describe("facts in the monitor", () => {
  it("become metrics, bands, marks, alerts, states and evaluations", () => {
    const hub = new MonitorHub();
    tell(hub);
    expect(hub.run).toMatchObject({
      id: "r1",
      seed: 7,
      status: "running",
      step: 3,
      phase: 2,
      phases: [
        { k: 1, minTokens: 0, maxTokens: 120, fromStep: 1, toStep: 2 },
        { k: 2, minTokens: 120, maxTokens: 240, fromStep: 3, toStep: null },
      ],
      checkpoints: [{ step: 2, path: "checkpoints/step-00002" }],
      evaluations: [{ stage: "after_sft", step: 0, buckets: { "1-120": { n: 10, correct: 5 } } }],
    });
    expect(hub.metrics.records().map((record) => [record.phase, record.step])).toEqual([
      [0, 1],
      [1, 1],
      [1, 2],
      [2, 3],
    ]);
    expect(hub.channel("alerts").entries()).toHaveLength(1);
    expect(stateName(hub.lifecycle)).toBe("operating.training");
    expect(hub.machineStates).toMatchObject([
      { machine: "lifecycle", since: 10_002 },
      { machine: "curriculum", value: "inPhase", since: 10_005 },
    ]);
  });

  it("have the scores of an evaluation's benchmarks, with a line in the log", () => {
    const hub = new MonitorHub();
    const ruler = {
      items: 2,
      responses: 8,
      scored: 6,
      scoreOverAll: 0.375,
      scoreOverScored: 0.5,
      passAt: [{ k: 4, value: 1 }],
    };
    const qasper = { ...ruler, scored: 0, scoreOverAll: 0, scoreOverScored: null, passAt: [] };
    tell(hub, [["evaluation.finished", 3, { stage: "rl", buckets: {}, benchmarks: { ruler, qasper } }]]);
    expect(hub.run?.evaluations).toEqual([{ stage: "rl", step: 3, buckets: {}, benchmarks: { ruler, qasper } }]);
    expect(() => evaluationSchema.array().parse(hub.run?.evaluations)).not.toThrow();
    const text = 'held-out evaluation "rl" at step 3, ruler 0.500, qasper without a score';
    expect(hub.channel("logs").entries().at(-1)?.data).toMatchObject({ text });
  });

  it("a resume takes bands and marks beyond the checkpoint away and leaves a mark of its own", () => {
    const hub = new MonitorHub();
    tell(hub, [
      ...STORY,
      ["checkpoint.written", 4, { step: 4, path: "x" }],
      ["run.resumed", 2, { ...RESUMED, step: 2, reason: "the engine ended" }],
    ]);
    expect(hub.run).toMatchObject({ step: 2, resumes: [{ step: 2 }], checkpoints: [{ step: 2 }] });
    // The second phase was entered at the end of step 2, before its checkpoint.
    expect(hub.run?.phases.map((band) => [band.k, band.toStep])).toEqual([
      [1, 2],
      [2, null],
    ]);
    tell(hub, [["run.resumed", 1, { ...RESUMED, step: 1 }]]);
    expect(hub.run?.phases.map((band) => [band.k, band.toStep])).toEqual([[1, null]]);
  });

  it.each([
    ["paused", "paused"],
    [{ operating: "warmup" }, "running"],
    ["recovering", "running"],
    ["failed", "failed"],
    ["completed", "completed"],
  ])("the lifecycle value %j makes the run %s", (value, status) => {
    const hub = new MonitorHub();
    hub.publishFact(fact(1, ["lifecycle.changed", 0, { machine: "lifecycle", value: value as Json }]));
    expect(hub.run?.status).toBe(status);
  });

  it("say in the log which option changed, which part was replaced, and what the guard did not commit", () => {
    const hub = new MonitorHub();
    const judged = {
      rule: null,
      scale: null,
      kl: null,
      stage: "rl",
      miniBatch: 2,
      reason: "the gradient is not finite",
      gradNorm: null,
      loss: 1,
    } as const;
    tell(hub, [
      ["config.changed", 1, { path: "optimiser.learningRate", old: 0.001, new: 0.002 }],
      [
        "part.replaced",
        1,
        {
          kind: "loss",
          from: { kind: "dapo", source: "built-in" },
          to: { kind: "mine", source: "own", file: { file: "parts.ts", sha256: "ab" } },
        },
      ],
      ["guard.judged", 2, { ...judged, verdict: "commit", reason: "finite" }],
      ["guard.judged", 3, { ...judged, verdict: "skip" }],
      ["guard.judged", 0, { ...judged, stage: "warmup", verdict: "rollback" }],
    ]);
    const lines = hub.channel("logs").entries();
    expect(lines.map((entry) => (entry.data as { text: string }).text)).toEqual([
      "option optimiser.learningRate: 0.001 is now 0.002",
      'the loss part "dapo" was replaced by "mine" of parts.ts at step 1',
      "the guard's verdict on step 3, mini-batch 2: skip (the gradient is not finite)",
      "the guard's verdict on warm-up step 0, mini-batch 2: rollback (the gradient is not finite)",
    ]);
  });

  it("unknown facts and what cannot be sent do no harm", () => {
    const hub = new MonitorHub();
    hub.publishFact(fact(1, ["something.else" as "run.started", 0, STARTED]));
    hub.publishAlert({ ...alert(1), value: 1n as unknown as number });
    expect(hub.refusedPublications).toBe(1);
  });
});

describe("statecharts in the monitor", () => {
  it("are drawn from the machines that really run", () => {
    const chart = describeMachine(lifecycleMachine.definition);
    expect(chart.states.map((state) => state.key)).toEqual(
      expect.arrayContaining(["operating", "paused", "recovering", "draining", "completed", "stopped", "failed"]),
    );
    const operating = chart.states.find((state) => state.key === "operating");
    expect(operating).toMatchObject({ type: "compound", initial: "deciding" });
    expect(operating?.states.map((state) => state.key)).toContain("training");
    expect(chart.states.find((state) => state.key === "paused")?.on).toMatchObject({
      STOP: ["stopped", "draining"],
    });
    expect(describeMachine(curriculumMachine.definition).states.map((state) => [state.key, state.type])).toEqual([
      ["waiting", "atomic"],
      ["inPhase", "atomic"],
      ["finished", "final"],
    ]);
  });
});

describe("a past run", () => {
  async function runFolder(): Promise<string> {
    const root = await mkdtemp(join(tmpdir(), "weir-monitor-"));
    cleanups.push(() => rm(root, { recursive: true, force: true }));
    const config = {
      model: { path: "models/tiny" },
      run: { seed: 7 },
      phases: [
        { maxTokens: 120, steps: 2 },
        { maxTokens: 240, steps: 3 },
      ],
    };
    const folder = await RunFolder.create({ root, id: "r1", seed: 7, config, dataset: {} });
    for (const [type, step, data] of STORY) folder.append(type, step, data as never);
    await writeRollouts(join(folder.directory, "rollouts"), 1, [trace("t-1")]);
    await writeRollouts(join(folder.directory, "rollouts"), 2, [
      trace("t-2", { step: 2, reward: null, outcome: { kind: "abstained", reason: "no answer" } }),
    ]);
    await folder.close();
    return folder.directory;
  }

  it("looks as it did live: the journal goes through the same mapping, and the rollouts are there", async () => {
    const directory = await runFolder();
    const hub = await replayRun(directory);
    const live = new MonitorHub();
    tell(live);
    const { startedAt: _, ...shown } = hub.run ?? { startedAt: 0 };
    expect(shown).toMatchObject({
      id: "r1",
      live: false,
      seed: 7,
      model: "models/tiny",
      plannedSteps: 5,
      step: 3,
      phase: 2,
    });
    expect(hub.run?.phases).toEqual(live.run?.phases);
    expect(hub.metrics.records().map(({ step, phase, values }) => ({ step, phase, values }))).toEqual(
      live.metrics.records().map(({ step, phase, values }) => ({ step, phase, values })),
    );
    expect(
      hub
        .channel("traces")
        .entries()
        .map((entry) => (entry.data as { id: string }).id),
    ).toEqual(["t-1", "t-2"]);
    expect(hub.traces.get("t-2")?.outcome).toEqual({ kind: "abstained", reason: "no answer" });
    expect(
      hub.traces
        .get("t-1")
        ?.tokens.map((token) => token.text)
        .join(""),
    ).toBe("Therefore, the answer is Lima.");
  });

  it("a folder that is no run is named", async () => {
    await expect(replayRun(tmpdir())).rejects.toMatchObject({ code: "WEIR_E_FILE_MISSING" });
  });

  it("a live run's monitor is found by its folder, and only while it answers", async () => {
    const directory = await runFolder();
    const monitor = await startMonitor({ source: new MonitorHub() });
    const withdraw = await announceMonitor(directory, monitor.url);
    expect(await findMonitor(directory)).toMatchObject({ url: monitor.url, pid: process.pid });
    await monitor.close();
    expect(await findMonitor(directory)).toBeNull();
    await withdraw();
    expect(await findMonitor(directory)).toBeNull();
  });
});

describe("the hub over HTTP", () => {
  async function serve(hub: MonitorHub): Promise<RunningMonitor> {
    const monitor = await startMonitor({ source: hub });
    cleanups.push(() => monitor.close());
    return monitor;
  }
  const json = async (monitor: RunningMonitor, path: string) =>
    (await fetch(new URL(path, monitor.url))).json() as Promise<Record<string, Json>>;

  it("answers about runs, metrics, alerts and traces", async () => {
    const hub = new MonitorHub();
    tell(hub);
    for (let i = 1; i <= 5; i++) hub.publishTrace(trace(`t-${i}`, { step: i }));
    const monitor = await serve(hub);
    expect(await json(monitor, "/v2/runs")).toMatchObject([{ id: "r1" }]);
    expect(await json(monitor, "/v2/runs/r1")).toMatchObject({ id: "r1", step: 3 });
    expect(await json(monitor, "/v2/runs/r1/metrics?from=2&to=3")).toMatchObject({
      total: 2,
      records: [{ step: 2 }, { step: 3 }],
    });
    expect(await json(monitor, "/v2/alerts?since=0")).toMatchObject({ seq: 1, alerts: [{ id: "alert-2" }] });
    expect(await json(monitor, "/v2/alerts?since=1")).toMatchObject({ alerts: [] });
    expect(await json(monitor, "/v2/traces?limit=2")).toMatchObject({ traces: [{ id: "t-5" }, { id: "t-4" }] });
    expect(await json(monitor, "/v2/traces/t-3")).toMatchObject({ id: "t-3", prompt: "Which city is it?" });
    for (const path of ["/v2/runs/other", "/v2/traces/none", "/v2/secrets"])
      expect((await fetch(new URL(path, monitor.url))).status).toBe(404);
  });

  it("thins long curves but keeps their last point", async () => {
    const hub = new MonitorHub();
    hub.publishRun({ id: "r1" });
    for (let i = 1; i <= 1_000; i++) hub.publishMetric(metric(i));
    const { total, records } = await json(await serve(hub), "/v2/runs/r1/metrics?points=50");
    expect(total).toBe(1_000);
    expect((records as { step: number }[]).length).toBeLessThanOrEqual(51);
    expect((records as { step: number }[]).at(-1)?.step).toBe(1_000);
  });

  it("answers 304 to a known ETag", async () => {
    const hub = new MonitorHub();
    hub.publishRun({ id: "r1" });
    const monitor = await serve(hub);
    const first = await fetch(new URL("/v2/runs", monitor.url));
    const etag = first.headers.get("etag") ?? "";
    expect((await fetch(new URL("/v2/runs", monitor.url), { headers: { "if-none-match": etag } })).status).toBe(304);
    hub.publishRun({ step: 1 });
    expect((await fetch(new URL("/v2/runs", monitor.url), { headers: { "if-none-match": etag } })).status).toBe(200);
  });

  it("is ready while the run works, not once it is over", async () => {
    const hub = new MonitorHub();
    const monitor = await serve(hub);
    const status = async () => (await fetch(new URL("/readyz", monitor.url))).status;
    expect(await status()).toBe(503);
    hub.publishLifecycle({ machine: "lifecycle", value: { operating: "training" } });
    expect(await status()).toBe(200);
    hub.publishLifecycle({ machine: "lifecycle", value: "completed" });
    expect(await status()).toBe(503);
  });

  it("gives the metrics of a user's parts to Prometheus under one family each, the name as a label", async () => {
    const hub = new MonitorHub();
    tell(hub);
    hub.publishMetric(metric(4, { "reward/parts/cited": 0.5, "custom/answer/characters": 17, "custom/tools": 2 }));
    const lines = (await (await fetch(new URL("/metrics", (await serve(hub)).url))).text()).split("\n");
    expect(lines).toEqual(
      expect.arrayContaining([
        "# TYPE weir_reward_parts gauge",
        'weir_reward_parts{name="cited"} 0.5',
        "# TYPE weir_custom gauge",
        'weir_custom{name="answer/characters"} 17',
        'weir_custom{name="tools"} 2',
      ]),
    );
  });

  it("speaks Prometheus: base names, buckets and queues as labels, counters ending in _total", async () => {
    const hub = new MonitorHub();
    tell(hub);
    hub.publishMetric(
      metric(4, { "reward/mean": 0.75, "accuracy/bucket_1": 0.5, "accuracy/bucket_2": 0.25, "time/step_seconds": 2 }),
    );
    hub.publishPipeline([
      { name: "rollouts", bound: 8, depth: 3, highWater: 4, waitingProducers: 0, waitingConsumers: 0, passed: 9 },
    ]);
    const text = await (await fetch(new URL("/metrics", (await serve(hub)).url))).text();
    const lines = text.split("\n");
    expect(lines).toEqual(
      expect.arrayContaining([
        "# TYPE weir_reward_mean gauge",
        "weir_reward_mean 0.75",
        'weir_accuracy_bucket{bucket="1"} 0.5',
        'weir_accuracy_bucket{bucket="2"} 0.25',
        "weir_time_step_seconds 2",
        "weir_step 4",
        "weir_alerts_total 1",
        'weir_queue_depth{queue="rollouts"} 3',
        'weir_queue_bound{queue="rollouts"} 8',
      ]),
    );
    for (const line of lines.filter((one) => one !== "" && !one.startsWith("#")))
      expect(line).toMatch(/^[a-z_][a-z0-9_]*(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?[0-9.e+-]+$/);
  });
});
