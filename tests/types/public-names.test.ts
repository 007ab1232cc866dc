/**
 * What must not compile: mistyped names of metrics, facts, options and parts. `npm run types` checks each `@ts-expect-error`;
 * an error that is no longer one fails there. The functions below are never called.
 */
import { describe, expectTypeOf, it } from "vitest";
import type { RunTaps } from "../../src/actors/run/run-context.js";
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
      // @ts-expect-error: no such fact
      taps.fact("phase.enterd", 1, {});
      // @ts-expect-error: no such fact
      return fact.type === "step.comitted";
    };
    expectTypeOf(misuse).returns.toBeBoolean();
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
