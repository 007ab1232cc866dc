/** The channels that the cockpit reads: the guard's timeline, the configuration, other runs, and traces with their numbers. */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { comparedRunSchema, guardEventSchema } from "../../monitor/protocol/index.js";
import type { GuardEvent, TracePart } from "../../monitor/protocol/records.js";
import { MonitorHub, replayRun, startMonitor } from "../../monitor/server/index.js";
import { traceParts } from "../../monitor/server/trace-store.js";
import { tracesToShow } from "../../src/actors/run/traces.js";
import { openTarget } from "../../src/cli/monitor-target.js";
import { RunFolder, writeRollouts } from "../../src/store/index.js";
import { cockpitRun, measuredTrace, SPIKE } from "../helpers/cockpit.js";
import { factOf, RESUMED, STARTED, type Told } from "../helpers/facts.js";
import { metric, RawClient, trace } from "./support.js";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const clean of cleanups.splice(0).reverse()) await clean();
});

async function place(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `weir-${name}-`));
  cleanups.push(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

const eventsOf = (hub: MonitorHub): readonly GuardEvent[] =>
  hub
    .channel("guard")
    .entries()
    .map((entry) => entry.data as GuardEvent);

/** What a guarded run tells, in its order. */
const STORY: readonly Told[] = [
  ["run.started", 0, STARTED],
  ["phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 100, fromStep: 1 }],
  ["metrics.recorded", 1, { phase: 1, values: { "reward/mean": 0.1 } }],
  ["metrics.recorded", 2, { phase: 1, values: { "reward/mean": 0.2 } }],
  [
    "guard.judged",
    2,
    {
      stage: "rl",
      miniBatch: 0,
      verdict: "commit",
      reason: "",
      rule: null,
      scale: null,
      kl: 0.01,
      gradNorm: 1,
      loss: 0,
    },
  ],
  [
    "guard.judged",
    3,
    {
      stage: "rl",
      miniBatch: 0,
      verdict: "shrink",
      reason: "KL",
      rule: "kl_limit",
      scale: 0.5,
      kl: 0.2,
      gradNorm: null,
      loss: null,
    },
  ],
  ["phase.entered", 3, { k: 2, minTokens: 100, maxTokens: 200, fromStep: 3 }],
  ["metrics.recorded", 3, { phase: 2, values: { "reward/mean": 0.3 } }],
  ["checkpoint.written", 3, { step: 3, path: "checkpoints/step-00003" }],
  ["alert.raised", 3, { alert: { ...SPIKE, step: 3, value: Number.NaN } }],
  ["alert.updated", 4, { id: SPIKE.id, rule: SPIKE.rule, metric: SPIKE.metric, value: 0.4, worst: 0.9, steps: 2 }],
  ["alert.ended", 5, { id: SPIKE.id, rule: SPIKE.rule, metric: SPIKE.metric, fromStep: 3, toStep: 4, worst: 0.9 }],
  ["guard.prepared", 4, { maskNegatives: true, entropyCoefficient: null, reason: "entropy" }],
  ["batch.saved", 4, { path: "batches/step-4-0", miniBatch: 0, reason: "kl_limit", replayable: false }],
  ["knob.turned", 4, { path: "async.maxLag", old: 2, new: 1, by: { kind: "program", name: "" }, reason: null }],
  [
    "run.rolledBack",
    2,
    {
      fromStep: 4,
      toStep: 2,
      reason: "KL",
      rule: "kl_limit",
      by: { kind: "guard", name: "kl_limit" },
      undone: 8,
      count: 1,
    },
  ],
];

function told(hub: MonitorHub, story: readonly Told[] = STORY, from = 0): MonitorHub {
  for (const [i, line] of story.entries()) hub.publishFact(factOf(from + i + 1, line));
  return hub;
}

describe("the guard's timeline", () => {
  it("has an event for each fact of guard, alarms, knobs and rollbacks, but for commits; each as the protocol says", () => {
    const events = eventsOf(told(new MonitorHub()));
    for (const event of events) expect(guardEventSchema.parse(event)).toEqual(event);
    expect(events.map((event) => (event.kind === "alarm" ? event.state : event.kind))).toEqual([
      ...["verdict", "raised", "updated", "ended", "prepared", "batch", "knob", "rollback"],
    ]);
    expect(events[0]).toEqual({
      ...{ kind: "verdict", step: 3, time: 10_006, stage: "rl", miniBatch: 0, verdict: "shrink", reason: "KL" },
      ...{ rule: "kl_limit", scale: 0.5, kl: 0.2, gradNorm: null, loss: null },
    });
    const alarm = { kind: "alarm", id: SPIKE.id, rule: SPIKE.rule, metric: SPIKE.metric } as const;
    expect(events.slice(1, 4)).toEqual([
      { ...alarm, step: 3, time: 10_010, state: "raised", value: null, worst: null, fromStep: 3, toStep: 3 },
      { ...alarm, step: 4, time: 10_011, state: "updated", value: 0.4, worst: 0.9, fromStep: 3, toStep: 4 },
      { ...alarm, step: 5, time: 10_012, state: "ended", value: null, worst: 0.9, fromStep: 3, toStep: 4 },
    ]);
  });

  it("is the same for a run read back from its journal", async () => {
    const folder = await RunFolder.create({
      root: await place("story"),
      id: "story",
      seed: 1,
      config: {},
      dataset: {},
    });
    for (const [type, step, data] of STORY) folder.append(type, step, data as never);
    await folder.close();
    const without = (events: readonly GuardEvent[]) => events.map(({ time: _, ...event }) => event);
    const past = await replayRun(folder.directory);
    expect(without(eventsOf(past))).toEqual(without(eventsOf(told(new MonitorHub()))));
    expect(past.run?.rollbacks?.map(({ fromStep, toStep }) => [fromStep, toStep])).toEqual([[4, 2]]);
  });

  it("a rollback takes the run back to its step, its phase and its marks, and keeps a mark of its own", () => {
    const hub = told(new MonitorHub());
    const bands = () => hub.run?.phases.map((band) => [band.k, band.toStep]);
    // The second phase was entered at the end of step 2, to which the run goes back.
    expect([hub.run?.step, hub.run?.phase, bands()]).toEqual([
      2,
      2,
      [
        [1, 2],
        [2, null],
      ],
    ]);
    expect([hub.run?.checkpoints, hub.run?.rollbacks]).toEqual([[], [{ fromStep: 4, toStep: 2, time: 10_016 }]]);
    const by = { kind: "operator", name: "" } as const;
    told(hub, [["run.rolledBack", 1, { fromStep: 2, toStep: 1, reason: "", rule: null, by, undone: 0, count: 2 }]], 90);
    expect([hub.run?.step, hub.run?.phase, bands(), hub.run?.rollbacks?.length]).toEqual([1, 1, [[1, null]], 2]);
  });

  it("does not repeat what a resumed run tells again, and tells what is new", () => {
    const hub = told(new MonitorHub());
    const before = eventsOf(hub).length;
    told(hub, [["run.resumed", 2, RESUMED], ...STORY.slice(4, 9)], 50);
    expect(eventsOf(hub).length).toBe(before);
    told(hub, [["guard.prepared", 9, { maskNegatives: false, entropyCoefficient: 0.1, reason: "entropy" }]], 60);
    told(hub, [["guard.prepared", 9, { maskNegatives: false, entropyCoefficient: 0.1, reason: "entropy" }]], 61);
    expect(eventsOf(hub).length).toBe(before + 2);
  });

  it("masks secrets in reasons", () => {
    const hub = new MonitorHub();
    hub.secrets.add("sk-secret-key");
    told(hub, [
      ["guard.prepared", 1, { maskNegatives: false, entropyCoefficient: null, reason: "judge said sk-secret-key" }],
    ]);
    expect(eventsOf(hub)[0]).toMatchObject({ reason: "judge said •••" });
  });
});

describe("the configuration", () => {
  it("is one value with what resumes changed, without secrets", () => {
    const hub = new MonitorHub();
    hub.secrets.add("sk-secret-key");
    hub.publishConfig({ judge: { header: "Bearer sk-secret-key" }, seed: 1 });
    told(hub, [["config.changed", 4, { path: "seed", old: 1, new: 2 }]]);
    hub.settle();
    expect(
      hub
        .channel("config")
        .entries()
        .map((entry) => entry.data),
    ).toEqual([
      {
        resolved: { judge: { header: "Bearer •••" }, seed: 1 },
        changes: [{ path: "seed", old: 1, new: 2, step: 4, time: 10_001 }],
      },
    ]);
  });
});

describe("other runs", () => {
  it("come as their state and blocks of records; what is new rewrites the last block only", () => {
    const [own, other] = [new MonitorHub(), new MonitorHub()];
    own.compareWith(other);
    own.settle();
    expect(own.channel("compare").seq).toBe(0);
    other.publishRun({ id: "other" });
    for (let step = 1; step <= 300; step++) other.publishMetric(metric(step));
    own.settle();
    const keys = () =>
      own
        .channel("compare")
        .entries()
        .map((entry) => entry.key);
    expect(keys()).toEqual(["other", "other 0", "other 1"]);
    own.settle();
    expect(own.channel("compare").seq).toBe(3);
    other.publishMetric(metric(301));
    own.settle();
    expect([keys(), own.channel("compare").seq]).toEqual([["other 0", "other", "other 1"], 5]);
    const last = comparedRunSchema.parse(own.channel("compare").entries().at(-1)?.data);
    expect(last.part === "block" && last.records.steps).toEqual(Array.from({ length: 45 }, (_, i) => 257 + i));
  });

  it("two of one name, or too many, are refused with what to do", async () => {
    const folders: string[] = [];
    for (const id of ["a", "b"]) {
      const folder = await RunFolder.create({ root: await place("same"), id, seed: 1, config: {}, dataset: {} });
      await folder.close();
      folders.push(folder.directory);
    }
    const [a = "", b = ""] = folders;
    await expect(openTarget(a, {}, true, [b, b])).rejects.toThrow(/is the second "b"; leave it out/);
    const many = Array.from({ length: 17 }, () => b);
    await expect(openTarget(a, {}, true, many)).rejects.toMatchObject({ code: "WEIR_E_USAGE" });
  });
});

describe("a trace", () => {
  it("comes with every number per token, the columns that nothing is known of empty, and its group", async () => {
    const { hub } = cockpitRun();
    const monitor = await startMonitor({ source: hub });
    cleanups.push(() => monitor.close());
    const client = await RawClient.open(monitor);
    client.subscribe("trace/s14-q0-g1");
    await client.next("snapshot", (message) => message.last);
    const [head, , tokens] = client.items("trace/s14-q0-g1") as TracePart[];
    expect(head?.part === "head" && head.group.map(({ id, reward }) => [id, reward])).toEqual([
      ["s14-q0-g0", 0],
      ["s14-q0-g1", 1],
      ["s14-q0-g2", 0],
      ["s14-q0-g3", 0],
    ]);
    if (tokens?.part !== "tokens") throw new Error("expected tokens");
    expect([
      tokens.klOld[5],
      tokens.ratios[5],
      tokens.lossShares[5],
      tokens.advantages[0],
      tokens.klRef.length,
    ]).toEqual([0.31, 1.62, 0.021, 1.4, 10]);
    expect(tokens.weights).toEqual([]);
  });

  it("keeps the place of a value whose neighbours are not known, and small shares of the loss", () => {
    const given = trace("t");
    const tokens = given.tokens.map((token, i) => ({
      ...token,
      klRef: i === 2 ? 1 / 3 : null,
      lossShare: 1.234567e-7,
    }));
    const [, , part] = traceParts({ ...given, tokens }, []);
    expect(part?.part === "tokens" && [part.klRef, part.lossShares[0]]).toEqual([
      [null, null, 0.33333, null],
      1.2346e-7,
    ]);
  });

  it("of a culprit is always shown, beyond the limit of a step too (I15)", () => {
    const traces = [1, 2, 3, 4].map((n) => trace(`t${n}`, { advantage: n === 4 ? null : 1 }));
    expect(tracesToShow(traces, 2, new Set(["t4"])).map(({ id }) => id)).toEqual(["t1", "t2", "t4"]);
    expect(tracesToShow(traces, 2, new Set()).map(({ id }) => id)).toEqual(["t1", "t2"]);
  });

  it("that a rollback has undone is found where its shard was set aside, with its group, the newest first", async () => {
    const folder = await place("undone");
    const rollouts = join(folder, "rollouts");
    for (const n of [1, 2]) {
      await mkdir(join(rollouts, `rolledback-${n}`), { recursive: true });
      await writeRollouts(
        join(rollouts, `rolledback-${n}`),
        14,
        [0, 1].map((g) => measuredTrace(14, 0, g, n)),
      );
    }
    await writeRollouts(rollouts, 14, [measuredTrace(14, 5, 0, 0)]);
    const hub = new MonitorHub();
    hub.useFolder(folder);
    const found = await hub.findTrace("s14-q0-g1", null);
    expect(found?.tokens.findIndex((token) => (token.klOld ?? 0) > 0.3)).toBe(2);
    expect(found && (await hub.groupOf(found)).map(({ id }) => id)).toEqual(["s14-q0-g0", "s14-q0-g1"]);
    expect(await hub.findTrace("s14-q9-g0", null)).toBeNull();
  });
});
