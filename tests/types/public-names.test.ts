/**
 * What must not compile: mistyped names of metrics, facts, options and parts. `npm run types` checks each `@ts-expect-error`;
 * an error that is no longer one fails there. The functions below are never called.
 */
import { describe, expectTypeOf, it } from "vitest";
import type { SeriesSpec } from "../../monitor/web/charts.js";
import type { MetricTable } from "../../monitor/web/metric-table.js";
import type { RunTaps } from "../../src/actors/run/run-context.js";
import { stepLine } from "../../src/cli/commands/train.js";
import type { OldNames } from "../../src/config/old-names.js";
import type { Alert } from "../../src/contracts/alert.js";
import {
  type AdvantageActor,
  type Config,
  type ConfigInput,
  createTrainingSystem,
  type Fact,
  type FactType,
  type Judge,
  type MetricName,
  type MetricRecord,
  type MetricValues,
  type PartDefinitions,
  type PartTools,
  type PresetName,
  type RewardActor,
  type RunResult,
  type TrainingSystem,
} from "../../src/index.js";
import type { RunFolder } from "../../src/store/index.js";
import type { MetricDraft } from "../../src/streams/telemetry/metrics.js";

const needed = { model: { path: "m" }, data: { train: ["t"] } };

describe("names of metrics", () => {
  it("are a type for those who write and for those who read", () => {
    expectTypeOf<"reward/mean" | "accuracy/bucket_3" | "custom/mine" | "reward/parts/rule">().toExtend<MetricName>();
    expectTypeOf<"reward/meen">().not.toExtend<MetricName>();
    expectTypeOf<"accuracy/bucket_x">().not.toExtend<MetricName>();
    expectTypeOf<MetricRecord["values"]>().toEqualTypeOf<MetricValues>();
    const misuse = (record: MetricRecord, draft: MetricDraft, taps: RunTaps) => {
      // @ts-expect-error: no such metric
      record.values["reward/meen"];
      // @ts-expect-error: no such metric
      draft["kl/old"] = 1;
      // @ts-expect-error: no such metric
      taps.metrics({ step: 1, phase: 1, time: 0, values: { "loss/sftt": 1 } });
      // @ts-expect-error: it may be missing
      record.values["reward/mean"].toFixed(3);
      // @ts-expect-error: it may be missing, whatever its name
      record.values["custom/mine"].toFixed(3);
      draft["custom/mine"] = 1;
      return record.values["accuracy/bucket_1"] ?? 0;
    };
    expectTypeOf(misuse).returns.toBeNumber();
  });
});

describe("kinds of facts", () => {
  it("are a type for those who write and for those who read", () => {
    expectTypeOf<Fact["type"]>().toEqualTypeOf<FactType>();
    const misuse = (fact: Fact, taps: RunTaps) => {
      const entered = { k: 1, minTokens: 0, maxTokens: 70, fromStep: 1 };
      taps.fact("phase.entered", 1, entered);
      // @ts-expect-error: no such fact
      taps.fact("phase.enterd", 1, entered);
      // @ts-expect-error: no such fact
      return fact.type === "step.comitted";
    };
    expectTypeOf(misuse).returns.toBeBoolean();
  });

  it("decide which data a fact has, for those who write and for those who read", () => {
    expectTypeOf<Fact<"step.committed">["data"]["kept"]>().toEqualTypeOf<number>();
    expectTypeOf<Extract<Fact, { type: "metrics.recorded" }>["data"]["values"]>().toEqualTypeOf<MetricValues>();
    const misuse = (fact: Fact, taps: RunTaps, folder: RunFolder) => {
      // @ts-expect-error: data of another kind
      taps.fact("phase.entered", 1, { step: 1, path: "p" });
      // @ts-expect-error: a field is missing
      taps.fact("phase.entered", 1, { k: 1, minTokens: 0, maxTokens: 70 });
      // @ts-expect-error: a field too many
      folder.append("warmup.finished", 0, { steps: 8, loss: 1, rows: 2 });
      // @ts-expect-error: no such metric
      folder.append("metrics.recorded", 1, { phase: 1, values: { "reward/meen": 1 } });
      // @ts-expect-error: a failed run says why
      folder.append("run.finished", 1, { status: "failed" });
      // @ts-expect-error: which data there are depends on the kind
      fact.data.kept;
      // @ts-expect-error: no such field of this kind
      if (fact.type === "checkpoint.written") return fact.data.pathh;
      if (fact.type === "evaluation.finished") return fact.data.buckets["1-70"]?.correct ?? 0;
      return fact.type === "step.committed" ? fact.data.kept : 0;
    };
    expectTypeOf(misuse).parameter(0).toEqualTypeOf<Fact>();
  });
});

describe("names of metrics where they are drawn, watched and renamed", () => {
  it("are the registered ones", () => {
    const misuse = (alert: Alert, series: SeriesSpec, table: MetricTable, names: OldNames) => {
      // @ts-expect-error: no such metric
      const raised: Alert = { ...alert, metric: "kl/old_k4" };
      // @ts-expect-error: no such metric
      const drawn: SeriesSpec = { ...series, metric: "reward/meen" };
      // @ts-expect-error: no such metric
      table.column("entropy/men");
      // @ts-expect-error: no such metric
      const renamed: OldNames = { ...names, metrics: { "kl/previous": "kl/old" } };
      // @ts-expect-error: no such field of this kind of fact
      const moved: OldNames = { ...names, factFields: { "step.committed": { taken: "keptt" } } };
      stepLine(1, 1, { "reward/mean": 1 });
      // @ts-expect-error: no such metric
      stepLine(1, 1, { "reward/meen": 1 });
      return [raised, drawn, renamed, moved];
    };
    expectTypeOf(misuse).returns.toBeArray();
  });
});

describe("configurations", () => {
  it("take a preset by its name, and know their options", () => {
    expectTypeOf<ConfigInput["preset"]>().toEqualTypeOf<PresetName | undefined>();
    expectTypeOf<PresetName>().toEqualTypeOf<"paper" | "released" | "quickstart">();
    const use = (config: Config): TrainingSystem[] => [
      createTrainingSystem({ ...needed, preset: "quickstart" }),
      createTrainingSystem(config),
      // @ts-expect-error: no such preset
      createTrainingSystem({ ...needed, preset: "fast" }),
      // @ts-expect-error: no such option
      createTrainingSystem({ ...needed, rollouts: {} }),
    ];
    expectTypeOf(use).returns.toBeArray();
    expectTypeOf<TrainingSystem["done"]>().resolves.toEqualTypeOf<RunResult>();
  });
});

describe("parts", () => {
  it("are checked by kind, by value and in a file", () => {
    const twice = (_judge: Judge, _publish: PartTools["publish"]): RewardActor => ({}) as RewardActor;
    const use = (reward: RewardActor, advantage: AdvantageActor): PartDefinitions[] => [
      { reward: { mine: reward, made: (need, { publish }) => twice(need("judge"), publish) } },
      // @ts-expect-error: an advantage is no reward
      { reward: { mine: advantage } },
      // @ts-expect-error: there is no such kind
      { rewards: { mine: reward } },
    ];
    expectTypeOf(use).returns.toBeArray();
    const give = (reward: RewardActor) => {
      createTrainingSystem(needed, { actors: { reward } });
      // @ts-expect-error: there is no such kind
      createTrainingSystem(needed, { actors: { rewards: reward } });
      // @ts-expect-error: a version that does not exist
      createTrainingSystem(needed, { actors: { reward: { ...reward, specificationVersion: 2 } } });
    };
    expectTypeOf(give).returns.toBeVoid();
  });
});
