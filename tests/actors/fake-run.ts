import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  createTrainingSystem,
  type TrainingActors,
  type TrainingSystem,
  type TrainingSystemOptions,
} from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Alert } from "../../src/contracts/alert.js";
import type { Engine } from "../../src/contracts/engine.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { RewardActor, RewardInput, RewardOutcome } from "../../src/contracts/reward.js";
import type { Sampler } from "../../src/contracts/sampler.js";
import type { Trainer } from "../../src/contracts/trainer.js";
import { createFakeEngine } from "../../src/testing.js";
import { tinyConfig } from "../e2e/tiny-run.js";

/** Runs of the whole training system over an engine that computes nothing: fast, and every number is known. */

/** A reward from a function; numbers stand for scored outcomes. */
export function rewardOf(
  give: (input: RewardInput, signal: AbortSignal) => number | RewardOutcome | Promise<number>,
): RewardActor {
  return {
    kind: "given",
    specificationVersion: 1,
    handle: async (input, { signal }) => {
      const given = await give(input, signal);
      return typeof given === "number" ? { kind: "scored", value: given, parts: {}, prediction: null } : given;
    },
  };
}

export interface FakeRun {
  readonly system: TrainingSystem;
  readonly alerts: Alert[];
  readonly metrics: MetricRecord[];
}

/** A system that has not started; its alerts and metrics are collected. */
export async function fakeRun(
  over: Partial<ConfigInput>,
  reward: RewardActor,
  rest: Partial<TrainingSystemOptions> & {
    readonly sampler?: Partial<Sampler>;
    readonly trainer?: Partial<Trainer>;
  } = {},
): Promise<FakeRun> {
  const { sampler, trainer, ...options } = rest;
  const fake = createFakeEngine();
  const engine: Engine = {
    ...fake,
    sampler: { ...fake.sampler, ...sampler },
    trainer: { ...fake.trainer, ...trainer },
  };
  const system = createTrainingSystem(
    await tinyConfig({ evaluation: { initial: false, tasksPerBucket: 4 }, ...over }),
    {
      ...options,
      actors: defined({ engine: async () => engine, reward, ...options.actors }),
    },
  );
  const alerts: Alert[] = [];
  const metrics: MetricRecord[] = [];
  system.alerts$.subscribe((alert) => alerts.push(alert));
  system.metrics$.subscribe((record) => metrics.push(record));
  return { system, alerts, metrics };
}

/** Without the parts that a test leaves to the configuration. */
function defined(actors: TrainingActors): TrainingActors {
  return Object.fromEntries(Object.entries(actors).filter(([, part]) => part !== undefined));
}

/** Demonstrations for a warm-up. */
export async function demonstrations(rows = 4): Promise<string> {
  const file = join(await mkdtemp(join(tmpdir(), "weir-sft-")), "sft.jsonl");
  const row = JSON.stringify({ prompt: [{ role: "user", content: "Where?" }], response: "Oslo." });
  await writeFile(file, Array.from({ length: rows }, () => row).join("\n"));
  return file;
}
