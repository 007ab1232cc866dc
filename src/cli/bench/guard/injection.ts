/** One run with a fault, or without one: from its configuration to what became of it. */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { createHybridReward } from "../../../actors/reward/reward.js";
import { createTrainingSystem, type TrainingActors, type TrainingSystem } from "../../../actors/run/training-system.js";
import { parseConfig } from "../../../config/load.js";
import type { Config } from "../../../config/schema.js";
import type { WeirError } from "../../../errors.js";
import { wrappedEngine } from "../wrapped-engine.js";
import { FaultWindow } from "./fault-window.js";
import type { Fault, FaultyParts } from "./faults.js";
import { fairJudge, Spoilt } from "./injectors.js";
import { FaultObserver, type Observation } from "./observer.js";
import { type RunChoice, runConfig, type Seeded } from "./setting.js";

export interface InjectionChoice extends RunChoice {
  readonly fault: Fault | null;
  /** First RL step with the fault. */
  readonly from: number;
}

export interface InjectionResult extends Observation {
  /** `paused`: the run ended completed, but a person had to put an end to the fault. */
  readonly status: "completed" | "paused" | "stopped" | "failed";
  /** Of a run that failed. */
  readonly error: string | null;
  /** Share of correct answers to held-out tasks; null where it was not measured. */
  readonly accuracy: number | null;
  readonly seconds: number;
}

/** Longest time of one run, ms; after it the run is stopped. */
const RUN_LIMIT_MS = 600_000;
/** How often a person lets a paused run go on. */
const LARGEST_PAUSES = 3;

export async function inject(seeded: Seeded, choice: InjectionChoice): Promise<InjectionResult> {
  const started = performance.now();
  const config = parseConfig(runConfig(seeded, choice));
  const folder = join(seeded.folder, `${choice.id}-fault`);
  await mkdir(folder, { recursive: true });
  const spoilt = new Spoilt();
  let refusal: string | null = null;
  const hand: { turn: (path: string, value: number, only?: number) => void } = { turn: () => undefined };
  const window = windowOf(choice, config, (...order) => hand.turn(...order));
  const parts = window === null ? {} : (choice.fault?.parts?.({ window, spoilt, folder }) ?? {});
  const attempts = choice.fault?.attempts ?? 0;
  const observer = new FaultObserver(window === null ? null : { window, attempts, spoilt: spoilt.ids });
  const system = createTrainingSystem(config, {
    actors: actorsOf(config, parts),
    onRemark: () => undefined,
  });
  hand.turn = (path, value, only) => {
    const present = system.knobs.find((knob) => knob.path === path)?.value;
    if (only !== undefined && present !== only) return;
    void system.setKnob(path, value).catch((error: WeirError) => {
      // A run that ends before its next safe point refuses; any other refusal is a fault that was not injected.
      if (error.code !== "WEIR_E_STATE") refusal = error.message;
    });
  };
  system.facts$.subscribe((fact) => {
    observer.hear(fact);
    window?.hear(fact);
  });
  const pauses = { count: 0 };
  const limit = setTimeout(() => void system.stop({ abort: true }).catch(() => undefined), RUN_LIMIT_MS);
  const ended = await finish(system, window, pauses);
  clearTimeout(limit);
  const runDirectory = system.runDirectory;
  if (runDirectory !== null) await rm(runDirectory, { recursive: true, force: true });
  await rm(folder, { recursive: true, force: true });
  const seconds = (performance.now() - started) / 1000;
  if (refusal !== null) return { ...observer.observation, ...ended, status: "failed", error: refusal, seconds };
  const status = ended.status === "completed" && pauses.count > 0 ? "paused" : ended.status;
  return { ...observer.observation, ...ended, status, seconds };
}

/** `turn` sets a knob, with `only` where it still has that value: a rollback may have set it back. */
function windowOf(
  { fault, from }: InjectionChoice,
  config: Config,
  turn: (path: string, value: number, only?: number) => void,
): FaultWindow | null {
  if (fault === null) return null;
  const { attempts, knob } = fault;
  if (knob === undefined) return new FaultWindow({ from, attempts });
  const { path, to } = knob;
  const [group, name] = path.split(".") as [keyof Config, string];
  const configured = (config[group] as unknown as Readonly<Record<string, number>>)[name] as number;
  return new FaultWindow({
    ...{ from, attempts },
    onBegin: () => turn(path, to(configured)),
    onEnd: () => turn(path, configured, to(configured)),
  });
}

function actorsOf(config: Config, parts: FaultyParts): TrainingActors {
  const { mode, requireThink } = config.reward;
  const judge = parts.judge?.(fairJudge) ?? fairJudge;
  const reward = createHybridReward({ mode, requireThink, judge });
  const { advantage, sampler, trainer } = parts;
  return {
    ...(advantage === undefined ? {} : { advantage }),
    reward: parts.reward?.(reward) ?? reward,
    engine: wrappedEngine((engine) => ({
      sampler: sampler?.(engine.sampler) ?? engine.sampler,
      trainer: trainer?.(engine.trainer) ?? engine.trainer,
    })),
  };
}

/** Runs the system to its end. A run that waits for a person gets one, who ends the fault and lets the run go on. */
async function finish(
  system: TrainingSystem,
  window: FaultWindow | null,
  pauses: { count: number },
): Promise<Pick<InjectionResult, "status" | "error" | "accuracy">> {
  system.state$.subscribe(({ lifecycle }) => {
    if (lifecycle !== "paused") return;
    pauses.count++;
    window?.end();
    if (pauses.count <= LARGEST_PAUSES) queueMicrotask(() => system.resume());
    else void system.stop().catch(() => undefined);
  });
  try {
    await system.start();
    const { status, report } = await system.done;
    return { status, error: null, accuracy: accuracyOf(report) };
  } catch (error) {
    return { status: "failed", error: error instanceof Error ? error.message : String(error), accuracy: null };
  }
}

interface Counts {
  readonly n: number;
  readonly correct: number;
  readonly unscored: number;
}

/** Share of correct answers among the scored ones of the last evaluation, all buckets together; null where there was none. */
export function accuracyOf(report: unknown): number | null {
  const { heldout = {} } = (report ?? {}) as { heldout?: Readonly<Record<string, Readonly<Record<string, Counts>>>> };
  const buckets = Object.values(heldout.rl ?? {});
  const scored = buckets.reduce((sum, { n, unscored }) => sum + n - unscored, 0);
  return scored === 0 ? null : buckets.reduce((sum, { correct }) => sum + correct, 0) / scored;
}
