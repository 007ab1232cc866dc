/** What the cockpit shows, before it is drawn: alarms, heat, search, comparison, export, estimates, addresses. */
import { describe, expect, it } from "vitest";
import type { GuardEvent } from "../../monitor/client/index.js";
import { alarmSpan, alarmsOf, contributionShares } from "../../monitor/web/alarms.js";
import { chartData, type Track } from "../../monitor/web/chart-data.js";
import { type ChartSpec, chartSpecs } from "../../monitor/web/charts.js";
import { ComparedTables } from "../../monitor/web/compared.js";
import { optionRows } from "../../monitor/web/config-diff.js";
import { metricsCsv } from "../../monitor/web/csv.js";
import { remainingMs, roughDuration } from "../../monitor/web/eta.js";
import { hottest, MEASURES, type Measure, measureForMetric, roundUp, shadeClass } from "../../monitor/web/heat.js";
import { definitionOf, nameTest, searchedSpecs, unitOf } from "../../monitor/web/metric-search.js";
import { MetricTable } from "../../monitor/web/metric-table.js";
import { readFragment, type View, writeFragment } from "../../monitor/web/view.js";
import type { MetricName } from "../../src/contracts/metrics.js";
import type { TraceToken } from "../../src/contracts/trace.js";
import { alert, metric } from "./support.js";

const tableOf = (...rows: readonly (readonly [number, Record<string, number>])[]): MetricTable => {
  const table = new MetricTable();
  for (const [step, values] of rows) table.add(metric(step, values));
  return table;
};

describe("alarms", () => {
  const told = (id: string, state: "raised" | "updated" | "ended", fromStep: number, toStep: number, worst: number) =>
    ({
      kind: "alarm",
      step: toStep,
      time: toStep,
      id,
      state,
      rule: "kl_limit",
      metric: "kl/update",
      value: worst,
      worst,
      fromStep,
      toStep,
    }) as const;
  const back = (fromStep: number, toStep: number): GuardEvent => ({
    ...{ kind: "rollback", step: toStep, time: 0, fromStep, toStep, reason: "", rule: null, undone: 0, count: 1 },
    by: { kind: "guard", name: "" },
  });

  it("last from the step that raised them to the last that showed them, with the worst value", () => {
    const [ended, active] = alarmsOf(
      [alert(9), alert(20)],
      [
        told("alert-9", "raised", 9, 9, 0.7),
        told("alert-9", "updated", 10, 12, 0.9),
        told("alert-9", "ended", 9, 13, 0.9),
        told("alert-20", "raised", 20, 20, 0.6),
      ],
    );
    expect([ended?.fromStep, ended?.toStep, ended?.state, ended?.worst]).toEqual([9, 13, "ended", 0.9]);
    expect([active?.fromStep, active?.toStep, active?.state]).toEqual([20, 20, "active"]);
    expect(ended && alarmSpan(ended)).toBe("steps 9–13");
    expect(active && alarmSpan(active)).toBe("step 20, active");
  });

  it("are undone with the steps that raised them; others go on", () => {
    const events = [told("alert-9", "raised", 9, 9, 0.7), told("alert-5", "raised", 5, 5, 0.7), back(10, 7)];
    expect(
      alarmsOf([alert(5), alert(9)], [...events, told("alert-5", "updated", 5, 8, 1)]).map((one) => one.state),
    ).toEqual(["active", "undone"]);
  });

  it("of a run that recorded no ends have none, and one that is told twice stands once", () => {
    expect(alarmsOf([alert(9), alert(9)], [told("alert-9", "raised", 9, 9, 0.7)]).map((one) => one.state)).toEqual([
      null,
    ]);
  });

  it("compare culprits with the first; a contribution that is not a number counts nothing", () => {
    const of = (contribution: number) => ({ rolloutId: "r", contribution, tokenIndex: 0 });
    expect(contributionShares([of(-4), of(2), of(Number.NaN)])).toEqual([1, 0.5, 0]);
    expect(contributionShares([of(0)])).toEqual([0]);
  });
});

describe("the heat-map", () => {
  const token = (change: Partial<TraceToken>): TraceToken => ({
    ...{ text: "a", id: 1, logprob: -1, entropy: null, weight: null, advantage: null, ratio: null },
    ...{ klOld: null, klRef: null, lossShare: null },
    ...change,
  });
  const measure = (id: string): Measure => MEASURES.find((one) => one.id === id) as Measure;

  it("shades upwards from 0, both ways around a middle, and marks what is not known", () => {
    expect([0, -1, 1.5, 3, 9].map((value) => shadeClass(measure("entropy"), value, 3))).toEqual([
      "h0",
      "h0",
      "h4",
      "h8",
      "h8",
    ]);
    expect([-2, -1, 0, 1, 2].map((value) => shadeClass(measure("advantage"), value, 2))).toEqual([
      "m8",
      "m4",
      "h0",
      "h4",
      "h8",
    ]);
    // A ratio of 2 is as far up as one of 1/2 is down.
    expect([0.5, 1, 2].map((value) => shadeClass(measure("ratio"), value, Math.log(2)))).toEqual(["m8", "h0", "h8"]);
    expect(shadeClass(measure("klOld"), null, 1)).toBe("na");
    expect(shadeClass(measure("ratio"), 0, 1)).toBe("m8");
  });

  it("has a round scale that holds every token, and never one of width 0", () => {
    expect(measure("klOld").full([0.31, 0.002])).toBe(0.5);
    expect(measure("lossShare").full([-2.1, 0.1])).toBe(5);
    expect(measure("advantage").full([0, 0])).toBe(0.001);
    expect(measure("ratio").full([0])).toBeCloseTo(Math.log(1.05), 12);
    expect([0.00013, 1, 2.01, 7, 60].map(roundUp)).toEqual([0.0002, 1, 5, 10, 100]);
  });

  it("finds the hottest tokens by size, leaving out those without a value", () => {
    const tokens = [token({ advantage: 0.1 }), token({}), token({ advantage: -3 }), token({ advantage: 2 })];
    expect(hottest(measure("advantage"), tokens)).toEqual([2, 3, 0]);
  });

  it("opens for an alarm with the quantity that raised it", () => {
    const names = [
      "kl/update",
      "kl/ref_se",
      "entropy/mean",
      "ratio/max",
      "gradient/norm",
      "advantage/max_abs",
      "mismatch_abs",
    ];
    expect(names.map(measureForMetric)).toEqual([
      "klOld",
      "klRef",
      "entropy",
      "ratio",
      "lossShare",
      "advantage",
      "surprise",
    ]);
  });
});

describe("the search for metrics", () => {
  const names: MetricName[] = ["kl/ref", "kl/lag_0", "kl/lag_1", "lag/mean", "custom/kl", "reward/mean"];
  const board = chartSpecs([]);

  it("takes a regular expression, or what is none as a part of a name", () => {
    expect(names.filter(nameTest("^kl/lag_\\d"))).toEqual(["kl/lag_0", "kl/lag_1"]);
    expect(names.filter(nameTest("KL/R"))).toEqual(["kl/ref"]);
    expect(["a(b", "ab"].filter(nameTest("a(b"))).toEqual(["a(b"]);
  });

  it("shows the board's charts that fit, then one chart for each further metric, with its unit", () => {
    const { specs, total } = searchedSpecs("kl/", board, names);
    expect(specs.map((spec) => spec.id)).toEqual(["kl", "metric-kl/lag_0", "metric-kl/lag_1"]);
    expect([total, specs[1]?.unit, unitOf("reward/mean"), unitOf("custom/kl")]).toEqual([3, "nats", "", ""]);
    expect(definitionOf("kl/lag_7")?.name).toBe("kl/lag_<k>");
    const many = Array.from({ length: 100 }, (_, i): MetricName => `custom/x${i}`);
    expect([searchedSpecs("custom/x", [], many).specs.length, searchedSpecs("custom/x", [], many).total]).toEqual([
      60, 100,
    ]);
  });
});

describe("several runs in one chart", () => {
  const spec: ChartSpec = {
    id: "r",
    title: "r",
    unit: "",
    track: "training",
    series: [{ metric: "reward/mean", label: "mean", colour: 3 }],
  };
  const track = (id: string, index: number, table: MetricTable, startedAt = 1_000): Track => ({
    id,
    index,
    table,
    startedAt,
    undone: false,
  });
  const plain = { smoothing: 0, x: "step" } as const;

  it("stand at their own x; a point that only another has is no gap, a missing value is", () => {
    const a = track("a", 0, tableOf([1, { "reward/mean": 1 }], [2, { "loss/total": 0 }], [3, { "reward/mean": 3 }]));
    const b = track("b", 1, tableOf([2, { "reward/mean": 20 }], [4, { "reward/mean": 40 }]));
    const data = chartData(spec, [a, b], plain);
    expect(data.x).toEqual([1, 2, 3, 4]);
    expect(data.series.map(({ values }) => values)).toEqual([
      [1, null, 3, undefined],
      [undefined, 20, undefined, 40],
    ]);
    expect([data.rowAt(b, 3), data.rowAt(b, 0), data.rowAt(a, 2)]).toEqual([1, null, 2]);
    // One metric: the colour tells runs apart.
    expect(data.series.map(({ colour }) => colour)).toEqual([0, 1]);
  });

  it("count minutes from their own beginnings", () => {
    const a = track("a", 0, tableOf([1, { "reward/mean": 1 }]), 1_001);
    const b = track("b", 1, tableOf([1, { "reward/mean": 2 }]), 1_001 - 60_000);
    expect(chartData(spec, [a, b], { smoothing: 0, x: "minutes" }).x).toEqual([0, 1]);
  });

  it("one run alone keeps the chart's colours and its columns as they are", () => {
    const table = tableOf([1, { "reward/mean": 1 }]);
    const data = chartData(spec, [track("a", 0, table)], plain);
    expect([data.x, data.series[0]?.values, data.series[0]?.colour]).toEqual([[1], [1], 3]);
  });

  it("a step that is trained again takes its row, and what was undone stays as rows of its own", () => {
    const table = tableOf(
      [1, { "reward/mean": 1 }],
      [2, { "reward/mean": 2, "loss/total": 5 }],
      [3, { "reward/mean": 3 }],
    );
    table.add(metric(2, { "reward/mean": 20, "kl/ref": 1 }));
    expect([table.steps, table.column("reward/mean"), table.column("loss/total")]).toEqual([
      [1, 2],
      [1, 20],
      [null, null],
    ]);
    expect(table.replacedRows((step) => step > 1)?.column("reward/mean")).toEqual([2, 3]);
    expect(table.replacedRows((step) => step > 3)).toBeNull();
    // The last step again: most of its names come back. Held-out results of that step only add to it.
    table.add(metric(2, { "heldout/bucket_1": 0.5 }));
    expect(table.column("reward/mean")).toEqual([1, 20]);
    table.add(metric(2, { "reward/mean": 21, "kl/ref": 1 }));
    expect([table.column("reward/mean"), table.column("heldout/bucket_1")]).toEqual([
      [1, 21],
      [null, null],
    ]);
  });

  it("a compared run's last block replaces what it was before", () => {
    const run = { id: "b", startedAt: 5 } as never;
    const block = (steps: number[]) => ({
      steps,
      phases: steps.map(() => 1),
      times: steps,
      columns: { "reward/mean": steps },
    });
    const tables = new ComparedTables();
    const config = { resolved: null, changes: [] };
    const head = { part: "run", run, config } as const;
    tables.take({
      kind: "snapshot",
      seq: 2,
      items: [head, { part: "block", run: "b", block: 0, records: block([1, 2]) }],
    });
    tables.take({ kind: "delta", seq: 3, items: [{ part: "block", run: "b", block: 0, records: block([1, 2, 3]) }] });
    expect(tables.views.map((view) => [view.run.id, view.training.steps])).toEqual([["b", [1, 2, 3]]]);
  });
});

describe("exports, estimates and options", () => {
  it("CSV has a row per run and step, quotes what needs it, and leaves out what the zoom does not show", () => {
    const runs = [{ id: 'a,"1"', table: tableOf([1, { "reward/mean": 0.5 }], [2, { "loss/total": -1 }]) }];
    expect(metricsCsv(runs, ["reward/mean", "loss/total"], null)).toBe(
      'run,step,phase,time_ms,reward/mean,loss/total\r\n"a,""1""",1,1,1001,0.5,\r\n"a,""1""",2,1,1002,,-1\r\n',
    );
    expect(metricsCsv(runs, ["loss/total"], [1.5, 3]).split("\r\n").length).toBe(3);
  });

  it("the time left is the steps left at the median pace of the last twenty", () => {
    const run = { status: "running", live: true, step: 4, plannedSteps: 10 } as const;
    // 1 s, 1 s and one of 30 s with an evaluation.
    expect(remainingMs(run, [1, 2, 3, 4], [0, 1_000, 2_000, 32_000])).toBe(6_000);
    expect(remainingMs({ ...run, live: false }, [1, 2], [0, 1])).toBeNull();
    expect(remainingMs({ ...run, status: "paused" }, [1, 2], [0, 1])).toBeNull();
    expect(remainingMs({ ...run, step: 10 }, [1, 2], [0, 1])).toBeNull();
    expect(remainingMs(run, [4], [0])).toBeNull();
    expect([400, 80_000, 720_000, 12_000_000, 190_000_000].map(roughDuration)).toEqual([
      "1 s",
      "80 s",
      "12 min",
      "3 h 20 min",
      "2 d 4 h",
    ]);
  });

  it("options are compared by path, with those that a resume changed", () => {
    const change = { path: "run.seed", old: 1, new: 3, step: 4, time: 0 };
    const rows = optionRows([
      { resolved: { run: { seed: 1 }, phases: [{ steps: 2 }], names: ["a", "b"] }, changes: [change] },
      { resolved: { run: { seed: 3 }, phases: [{ steps: 5 }], names: ["a", "b"] }, changes: [] },
    ]);
    expect(rows).toEqual([
      { path: "names", values: ['["a","b"]', '["a","b"]'], changedAt: [], differs: false },
      { path: "phases.0.steps", values: ["2", "5"], changedAt: [], differs: true },
      { path: "run.seed", values: ["3", "3"], changedAt: [4], differs: false },
    ]);
  });

  it("the address says what is shown, and what it says wrongly is not", () => {
    const view: Omit<View, "theme"> = {
      ...{
        smoothing: 0.3,
        x: "minutes",
        logY: true,
        robust: true,
        range: [2.5, 14],
        trace: "s14-q0-g1",
        traceStep: 14,
      },
      ...{
        token: 5,
        shade: "klOld",
        alarm: "14-kl_limit-kl/update",
        find: "^kl/",
        pins: ["kl/ref", "custom/a&b"],
        hidden: ["b"],
      },
    };
    expect(readFragment(new URLSearchParams(writeFragment(view)))).toEqual(view);
    const wrong = readFragment(new URLSearchParams("zoom=9~3&token=-1&step=x&smooth=7&x=years"));
    expect([wrong.range, wrong.token, wrong.traceStep, wrong.smoothing, wrong.x]).toEqual([
      null,
      null,
      null,
      0.6,
      "step",
    ]);
    expect(writeFragment(readFragment(new URLSearchParams("")))).toBe("");
  });
});
