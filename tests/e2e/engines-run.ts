/** Tiny runs that sample in processes of their own, for the tests of `rollout.engines`. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createTrainingSystem, type RunResult, type TrainingActors } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { Trace } from "../../src/contracts/trace.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

export const shaOf = (result: RunResult) => (result.report as { policy: { sha256: string } }).policy.sha256;

export interface Done {
  readonly result: RunResult;
  readonly traces: readonly Trace[];
}

/** A tiny run to its end with `engines` sampler processes and evaluations between steps. */
export async function run(
  engines: number,
  over: Partial<ConfigInput> = {},
  actors: TrainingActors = {},
): Promise<Done> {
  const config = await tinyConfig({ evaluation: { initial: false, tasksPerBucket: 4, everySteps: 2 }, ...over });
  const system = createTrainingSystem(
    { ...config, rollout: { ...config.rollout, promptsPerCall: 1, engines } },
    { actors: { reward: parityReward, ...actors } },
  );
  const traces: Trace[] = [];
  system.traces$.subscribe((trace) => traces.push(trace));
  await system.start();
  return { result: await system.done, traces };
}

/** What the journal says of samplers. */
export async function actorChanges(directory: string): Promise<Fact["data"][]> {
  const text = await readFile(join(directory, "journal.ndjson"), "utf8");
  const facts = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Fact);
  return facts.filter(({ type }) => type === "actor.changed").map(({ data }) => data);
}

/** Each sequence with the version that drew it. */
export const drawn = ({ traces }: Done) =>
  traces
    .map(({ id, tokens, policyVersion }) => `${id} v${policyVersion} ${tokens.map((token) => token.id).join(",")}`)
    .sort();
