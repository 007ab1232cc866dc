/**
 * `weir bench guard`: faults in runs of the demo's policy, each injected, and ended again some steps later: whether the guard finds them,
 * how soon, and what the training is worth in the end, with the guard, without it, and without the fault. One run after another.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { wholeNumber } from "../../arguments.js";
import { note, progress } from "../../output.js";
import { rounded } from "../statistics.js";
import { type Fault, faultsNamed, LASTING_ATTEMPTS } from "./faults.js";
import { type InjectionChoice, type InjectionResult, inject } from "./injection.js";
import { prepareSeed, type Seeded, type SettingName, UNGUARDED } from "./setting.js";
import {
  type AccuracyRow,
  accuracyRow,
  type DetectionRow,
  detectionRow,
  type HealthyRow,
  healthyRow,
} from "./tables.js";

export interface GuardBenchOptions {
  readonly guard: string;
  readonly fault: readonly string[];
  readonly injections: string;
  readonly seeds: string;
  readonly steps: string;
  readonly quick?: boolean;
}

export interface GuardBenchResult {
  readonly guard: string;
  readonly seeds: number;
  readonly steps: number;
  readonly seconds: number;
  readonly detection: readonly DetectionRow[];
  readonly accuracy: readonly AccuracyRow[];
  readonly healthy: readonly HealthyRow[];
  /** Every run, by its id. */
  readonly runs: Readonly<Record<string, InjectionResult>>;
}

/** How much is run. */
export interface BenchPlan {
  readonly faults: readonly Fault[];
  readonly guard: string;
  /** Seeds of data and warm-up; each fault is followed to the end of the training in one run per seed. */
  readonly seeds: number;
  /** Injections of each fault under the guard; those beyond one per seed end soon after the fault. */
  readonly injections: number;
  /** RL steps of a whole run. */
  readonly steps: number;
  /** Runs with the fault and without the guard; where there are none, runs without a fault have the guard. */
  readonly unguarded: boolean;
}

/** Detectors know what is usual by then; each further injection of a fault comes a step later. */
const FIRST_STEP = 12;
/** Steps of a run where the whole has to be done within five minutes. */
const QUICK_STEPS = 34;
/** Steps after the fault in a run that is not followed to its end. */
const STEPS_AFTER = 4;
/** So that no run of a further injection repeats one that is followed to the end. */
const FURTHER_SEED = 1000;

/** Errors: WEIR_E_USAGE. */
export function planOf(options: GuardBenchOptions): BenchPlan {
  const faults = faultsNamed(options.fault);
  const seeds = options.quick ? 1 : wholeNumber("seeds", options.seeds, 1);
  return {
    ...{ faults, guard: options.guard, seeds },
    injections: options.quick ? 1 : Math.max(seeds, wholeNumber("injections", options.injections, 1)),
    steps: options.quick ? QUICK_STEPS : wholeNumber("steps", options.steps, FIRST_STEP + LASTING_ATTEMPTS),
    unguarded: options.quick !== true,
  };
}

/** The injections of a fault under the guard, those that are followed to the end first. */
export function injectionsOf({ guard, seeds, injections, steps }: BenchPlan, fault: Fault): InjectionChoice[] {
  return Array.from({ length: injections }, (_, i) => {
    const from = FIRST_STEP + i;
    const whole = i < seeds;
    return {
      ...{ id: `${fault.name}-${guard}-${i + 1}`, fault, from, guard, setting: fault.setting, evaluate: whole },
      steps: whole ? steps : from + fault.attempts + STEPS_AFTER,
      runSeed: whole ? i + 1 : FURTHER_SEED + i,
    };
  });
}

/** Runs without a fault, one per seed. */
export function undisturbed({ seeds, steps }: BenchPlan, setting: SettingName, guard: string): InjectionChoice[] {
  return Array.from({ length: seeds }, (_, i) => ({
    ...{ id: `none-${setting}-${guard}-${i + 1}`, fault: null, from: 0, guard, setting, steps },
    ...{ runSeed: i + 1, evaluate: true },
  }));
}

export async function benchGuard(options: GuardBenchOptions): Promise<GuardBenchResult> {
  const plan = planOf(options);
  const started = performance.now();
  const directory = await mkdtemp(join(tmpdir(), "weir-bench-guard-"));
  try {
    const result = await runPlan(plan, directory);
    return { guard: plan.guard, seeds: plan.seeds, steps: plan.steps, seconds: secondsSince(started), ...result };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

const secondsSince = (started: number) => rounded((performance.now() - started) / 1000);

async function runPlan(
  plan: BenchPlan,
  directory: string,
): Promise<Pick<GuardBenchResult, "detection" | "accuracy" | "healthy" | "runs">> {
  const line = progress();
  const seeded: Seeded[] = [];
  for (let seed = 1; seed <= plan.seeds; seed++) {
    line.update(`warm-up of seed ${seed}/${plan.seeds}`);
    seeded.push(await prepareSeed(seed, directory));
  }
  const runs: Record<string, InjectionResult> = {};
  const all = async (choices: readonly InjectionChoice[]): Promise<InjectionResult[]> => {
    const results: InjectionResult[] = [];
    for (const [i, choice] of choices.entries()) {
      line.update(choice.id);
      const result = await inject(seeded[i % plan.seeds] as Seeded, choice);
      note(summaryOf(choice, result));
      runs[choice.id] = result;
      results.push(result);
    }
    return results;
  };
  const settings = [...new Set(plan.faults.map(({ setting }) => setting))];
  const base = new Map<SettingName, readonly number[]>();
  const healthy: HealthyRow[] = [];
  for (const setting of settings) {
    const guarded = await all(undisturbed(plan, setting, plan.guard));
    const without = plan.unguarded && plan.guard !== UNGUARDED;
    const plain = without ? await all(undisturbed(plan, setting, UNGUARDED)) : guarded;
    base.set(
      setting,
      plain.map(({ accuracy }) => accuracy ?? Number.NaN),
    );
    healthy.push(healthyRow(setting, guarded, plan.steps * guarded.length));
  }
  const detection: DetectionRow[] = [];
  const accuracy: AccuracyRow[] = [];
  for (const fault of plan.faults) {
    const injected = injectionsOf(plan, fault);
    const guarded = await all(injected);
    const without = injected
      .slice(0, plan.unguarded ? plan.seeds : 0)
      .map((choice, i) => ({ ...choice, id: `${fault.name}-${UNGUARDED}-${i + 1}`, guard: UNGUARDED }));
    const unguarded = plan.guard === UNGUARDED ? guarded.slice(0, without.length) : await all(without);
    const finals = (results: readonly InjectionResult[]) => results.map((result) => result.accuracy);
    detection.push(detectionRow({ fault, runs: guarded }));
    accuracy.push(
      accuracyRow({
        fault: fault.name,
        guarded: finals(guarded.slice(0, plan.seeds)),
        unguarded: finals(unguarded),
        undisturbed: base.get(fault.setting) ?? [],
      }),
    );
  }
  line.done();
  return { detection, accuracy, healthy, runs };
}

/** One line about a run. */
function summaryOf({ id, from, fault }: InjectionChoice, result: InjectionResult): string {
  const { detection, early, accuracy, status, seconds, error } = result;
  const found = detection === null ? "not found" : `found by ${detection.rule} after ${detection.updates} updates`;
  return [
    `${id}: ${error ?? status}`,
    ...(fault === null ? [] : [`fault from step ${from}`, found]),
    ...(early.length === 0 ? [] : [`before: ${early.join(", ")}`]),
    ...(accuracy === null ? [] : [`accuracy ${(100 * accuracy).toFixed(1)} %`]),
    `${seconds.toFixed(0)} s`,
  ].join("; ");
}
