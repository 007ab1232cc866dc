import { describe, expect, it } from "vitest";
import type { TraceSummary } from "../../monitor/client/index.js";
import { summarise } from "../../monitor/server/trace-store.js";
import { alertNumbers } from "../../monitor/web/alert-numbers.js";
import { benchmarkCharts, chartSpecs, ownChartSpecs } from "../../monitor/web/charts.js";
import { formatBytes, formatDuration, formatNumber } from "../../monitor/web/format.js";
import { MetricTable, positionOfStep, smooth } from "../../monitor/web/metric-table.js";
import { EMPTY_QUERY, selectTraces } from "../../monitor/web/trace-filter.js";
import type { MetricName } from "../../src/contracts/metrics.js";
import { isMetricName } from "../../src/streams/telemetry/metrics.js";
import { metric, trace } from "./support.js";

describe("what the page draws", () => {
  it("only metrics of the registry", () => {
    const specs = chartSpecs([
      { k: 1, label: "≤120" },
      { k: 2, label: "≤240" },
    ]);
    const names = specs.flatMap((spec) =>
      spec.series.flatMap((series) => [series.metric, series.spread ?? series.metric]),
    );
    expect(names.filter((name) => !isMetricName(name))).toEqual([]);
    expect(names).toContain("heldout/bucket_2");
    expect(new Set(specs.map((spec) => spec.id)).size).toBe(specs.length);
  });

  it("and a chart of its own for each metric that the registry does not spell out", () => {
    const names: MetricName[] = ["reward/mean", "accuracy/bucket_3", "custom/b", "custom/a_1", "reward/parts/judge"];
    const specs = ownChartSpecs(names);
    expect(specs.map((spec) => spec.title)).toEqual(["custom/a_1", "custom/b", "reward/parts/judge"]);
    expect(specs.map((spec) => spec.series.map((series) => series.metric))).toEqual([
      ["custom/a_1"],
      ["custom/b"],
      ["reward/parts/judge"],
    ]);
    expect(ownChartSpecs(Array.from({ length: 500 }, (_, i): MetricName => `custom/${i}`)).length).toBe(40);
  });

  it("and one chart for the scores of all benchmarks, points of evaluations", () => {
    const of = (name: string, results: readonly string[]) =>
      results.map((result): MetricName => `eval/${name}/${result}`);
    const names: MetricName[] = [
      "reward/mean",
      ...of("ruler", ["score_over_all", "unscored_share", "pass_at_4", "score"]),
      ...of("docmath", ["score", "score_over_all"]),
    ];
    const [chart, ...others] = benchmarkCharts(names);
    expect(others).toEqual([]);
    expect(chart?.series.map(({ label, metric, colour, sparse }) => [label, metric, colour, sparse])).toEqual([
      ["docmath", "eval/docmath/score", 0, true],
      ["ruler", "eval/ruler/score", 1, true],
      ["ruler pass@4", "eval/ruler/pass_at_4", 1, true],
    ]);
    expect(benchmarkCharts(["reward/mean"])).toEqual([]);
    expect(ownChartSpecs([...names, "eval/mine"]).map(({ title }) => title)).toEqual(["eval/mine"]);
  });

  it.each<[string, MetricName, number, number, number | null, string, string]>([
    ["kl_spike", "kl/old_k3", 0.0312, 6, 8.14, "0.0312 nats", "z 8.14 (limit 6)"],
    ["entropy_spike", "entropy/mean", 2, 6, -9, "2 nats", "z −9 (limit 6)"],
    ["kl_limit", "kl/old_k3", 0.7, 0.5, 12, "0.7 nats", "limit 0.5 nats"],
    ["mismatch", "mismatch_abs", 0.25, 0.1, null, "0.25 nats", "limit 0.1 nats"],
    ["truncation", "response/truncated_share", 0.5, 0.25, null, "0.5", "limit 0.25"],
    ["memory", "engine/rss_bytes", 3 << 29, 1 << 30, null, "1.5 GiB", "limit 1 GiB"],
    ["non_finite", "custom/x", Number.POSITIVE_INFINITY, 0, null, "Infinity", ""],
  ])("%s of %s: value and limit, each in its unit", (rule, metric, value, threshold, z, shown, limit) => {
    expect(alertNumbers({ rule, metric, value, threshold, z })).toEqual({ value: shown, limit });
  });

  it("smooths without the bias of the start: a constant stays itself, by hand for three points", () => {
    expect(smooth([4, 4, 4], 0.9).map((v) => v?.toFixed(9))).toEqual(["4.000000000", "4.000000000", "4.000000000"]);
    // m1 = .5·1 → 1; m2 = .5·.5 + .5·3 = 1.75 → /.75; a missing point is skipped; m3 = .875 + 2.5 = 3.375 → /.875.
    expect(smooth([1, 3, null, 5], 0.5)).toEqual([1, 1.75 / 0.75, null, 3.375 / 0.875]);
    expect(smooth([1, 3, 5], 0)).toEqual([1, 3, 5]);
  });

  it("joins records of one step and draws anew from a step that comes again", () => {
    const table = new MetricTable();
    table.add(metric(1, { "reward/mean": 0.1 }));
    table.add(metric(2, { "reward/mean": 0.2 }));
    table.add(metric(2, { "heldout/bucket_1": 0.9 }));
    table.add(metric(3, { "reward/mean": 0.3 }));
    expect(table.steps).toEqual([1, 2, 3]);
    expect(table.column("heldout/bucket_1")).toEqual([null, 0.9, null]);
    table.add(metric(2, { "reward/mean": 0.7 }));
    expect(table.steps).toEqual([1, 2]);
    expect(table.column("reward/mean")).toEqual([0.1, 0.7]);
    expect(table.latest("heldout/bucket_1")).toBeNull();
  });

  it("finds the place of a step on an axis of minutes", () => {
    expect(positionOfStep([1, 3, 5], [0, 2, 10], 4)).toBe(6);
    expect([0, 9].map((step) => positionOfStep([1, 3, 5], [0, 2, 10], step))).toEqual([0, 10]);
    expect(positionOfStep([], [], 1)).toBeNull();
  });

  it("filters and orders traces", () => {
    const make = (id: string, change: Partial<TraceSummary>): TraceSummary => ({ ...summarise(trace(id)), ...change });
    const traces = [
      make("a", { reward: 1, phase: 1, time: 1, meanEntropy: 0.1, completionTokens: 9 }),
      make("b", { reward: 0, phase: 2, time: 2, meanEntropy: 0.9, excerpt: "Oslo" }),
      make("c", { reward: null, phase: 2, time: 3, meanEntropy: null }),
      make("d", { reward: 0.5, phase: 2, time: 4, meanEntropy: 0.2 }),
    ];
    const ids = (change: Partial<typeof EMPTY_QUERY>) =>
      selectTraces(traces, { ...EMPTY_QUERY, ...change }).map((one) => one.id);
    expect(ids({})).toEqual(["d", "c", "b", "a"]);
    expect(ids({ reward: "full" })).toEqual(["a"]);
    expect(ids({ reward: "partial" })).toEqual(["d"]);
    expect(ids({ reward: "none" })).toEqual(["b"]);
    expect(ids({ reward: "unscored" })).toEqual(["c"]);
    expect(ids({ phase: 2 })).toEqual(["d", "c", "b"]);
    expect(ids({ text: "OSLO" })).toEqual(["b"]);
    expect(ids({ sort: "entropy" })).toEqual(["b", "d", "a", "c"]);
    expect(ids({ sort: "reward" })).toEqual(["a", "d", "b", "c"]);
    expect(ids({ sort: "length" })[0]).toBe("a");
  });

  it("writes numbers short", () => {
    expect([0, 0.5, 0.00002, 123.4, 12_345, 3_456_789, -0.25, null].map(formatNumber)).toEqual([
      "0",
      "0.5",
      "2.0e−5",
      "123",
      "12.3k",
      "3.46M",
      "−0.25",
      "–",
    ]);
    expect([512, 1_536, 2 ** 30].map(formatBytes)).toEqual(["512 B", "1.5 KiB", "1 GiB"]);
    expect([5_000, 65_000, 3_661_000].map(formatDuration)).toEqual(["0:05", "1:05", "1:01:01"]);
  });
});
