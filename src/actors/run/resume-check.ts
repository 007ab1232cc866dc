/**
 * What may change when a run is resumed. Pure. Invariants: a run's inputs (model, tokenizer, data, seed) and its past (warm-up
 * steps, phases entered) stay the same; every other option may change, and each change is reported.
 */
import { isDeepStrictEqual } from "node:util";
import type { Config } from "../../config/schema.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import type { ConfigChange } from "../../store/index.js";
import type { Progress } from "./progress.js";
import { needsReference } from "./run-context.js";

/** Progress of the resumed run; null where it has no checkpoint and starts over. */
export interface ResumePoint {
  readonly progress: Pick<Progress, "warmupStep" | "step" | "trainingDone">;
  /** Optimiser steps of the whole warm-up. */
  readonly warmupSteps: number;
  /** The phase that is running, from 1. */
  readonly phase: number;
}

/** Options that cannot change, and why. */
const FIXED: Readonly<Record<string, string>> = {
  "model.lora": "the trained weights belong to it",
  "run.id": "it names the folder of this run",
  "run.seed": "every random choice so far depends on it",
  "data.format": "it decides which tasks the run has",
  "data.overlong": "it decides which tasks the run has",
};

/** Options of the warm-up that decide which rows its steps have. */
const WARMUP_ORDER = ["warmup.epochs", "warmup.batchRows"];

/** The options that differ, in the order of the configuration. Paths of files may: `assertSameSources` compares what they hold. */
export function configChanges(old: Config, now: Config): ConfigChange[] {
  const changes: ConfigChange[] = [];
  const compare = (path: string, before: unknown, after: unknown) => {
    if (isDeepStrictEqual(before, after)) return;
    if (isTree(before) && isTree(after)) {
      for (const key of new Set([...Object.keys(before), ...Object.keys(after)]))
        compare(path === "" ? key : `${path}.${key}`, before[key], after[key]);
    } else {
      changes.push({ path, old: (before ?? null) as Json, new: (after ?? null) as Json });
    }
  };
  compare("", old, now);
  return changes;
}

const isTree = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Errors: WEIR_E_CONFIG naming each option that may not change, its values, why, and what to do. */
export function assertMayChange(
  changes: readonly ConfigChange[],
  old: Config,
  now: Config,
  point: ResumePoint | null,
): void {
  const complaints = changes.flatMap((change) => {
    const reason = reasonAgainst(change, old, now, point);
    if (reason === null) return [];
    return [
      `option "${change.path}" cannot change when a run is resumed: ${reason} (it was ${JSON.stringify(change.old)}, got ${JSON.stringify(change.new)})`,
    ];
  });
  if (complaints.length === 0) return;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `${complaints.join("\n")}\nresume without ${complaints.length === 1 ? "it" : "them"}, or start a new run, which may begin from this run's model/ folder`,
    { complaints },
  );
}

function reasonAgainst({ path }: ConfigChange, old: Config, now: Config, point: ResumePoint | null): string | null {
  const fixed = FIXED[Object.keys(FIXED).find((name) => path === name || path.startsWith(`${name}.`)) ?? ""];
  if (fixed) return fixed;
  if (point === null) return null;
  const { progress, warmupSteps, phase } = point;
  if (path.startsWith("warmup.") && path !== "warmup.data") {
    if (progress.step > 0 || progress.trainingDone || progress.warmupStep >= warmupSteps)
      return warmupSteps > 0 ? "the warm-up is over" : null;
    if (progress.warmupStep > 0 && WARMUP_ORDER.includes(path))
      return "it decides which rows each step of the warm-up has";
  }
  if (progress.step === 0 && !progress.trainingDone) return null;
  if (path === "curriculum.actor") return "its state belongs to the part with which the run began";
  if (path === "loss.klCoefficient" || path === "loss.monitorKl") {
    return needsReference(now) && !needsReference(old)
      ? "the reference policy is frozen when training begins, and this run began without one"
      : null;
  }
  if (path === "phases") return reasonAgainstPhases(old, now, progress, phase);
  return null;
}

/** Past phases stay; the running one keeps its bound; later ones may change. */
function reasonAgainstPhases(
  old: Config,
  now: Config,
  progress: ResumePoint["progress"],
  phase: number,
): string | null {
  if (progress.trainingDone) return "the RL stage of this run is over";
  for (let k = 1; k <= phase; k++) {
    const [before, after] = [old.phases[k - 1], now.phases[k - 1]];
    if (before?.maxTokens !== after?.maxTokens)
      return `phase ${k} has begun, and its tasks were chosen by its maxTokens`;
    if (k < phase && before?.steps !== after?.steps) return `phase ${k} is over`;
  }
  if (now.phases.length < phase) return `phase ${phase} is running`;
  return null;
}

/** Digests of a run's inputs; null where none was taken. */
export interface RunSources {
  readonly dataset: Readonly<Record<"fingerprint" | "train" | "heldout" | "warmup", string>> & {
    readonly files: readonly string[];
  };
  readonly model: Readonly<Record<"weights" | "config" | "tokenizer", string>>;
}

/** Digest names, what each stands for, and what the user has to restore. */
const SOURCES: readonly (readonly [section: "dataset" | "model", key: string, what: string, option: string])[] = [
  ["model", "weights", "the model's weights are not those", "model.path"],
  ["model", "config", "the model's config.json is not the one", "model.path"],
  ["model", "tokenizer", "the tokenizer is not the one", "model.path"],
  ["dataset", "train", "the training tasks are not those", "data.train"],
  ["dataset", "heldout", "the held-out tasks are not those", "data.heldout"],
  ["dataset", "warmup", "the warm-up data are not those", "warmup.data"],
];

/**
 * Errors: WEIR_E_DATA or WEIR_E_MODEL_FILES naming the first source that is not the one the run began with. Digests that
 * either side lacks are skipped: earlier versions took fewer.
 */
export function assertSameSources(
  run: string,
  known: { readonly dataset: Json; readonly model: Json },
  now: RunSources,
): void {
  const differ = (section: "dataset" | "model", key: string): readonly [string, string] | null => {
    const before = (known[section] as Readonly<Record<string, unknown>> | null)?.[key];
    const after = (now[section] as unknown as Readonly<Record<string, string>>)[key];
    if (typeof before !== "string" || before === "" || !after) return null;
    return before === after ? null : [before, after];
  };
  const refuse = (section: "dataset" | "model", what: string, option: string, digests: readonly [string, string]) => {
    const [before, after] = digests.map((digest) => digest.slice(0, 12));
    throw new WeirError(
      section === "model" ? "WEIR_E_MODEL_FILES" : "WEIR_E_DATA",
      `${what} that "${run}" began with (fingerprint ${after}…, expected ${before}…); restore what ${option} named, or start another run`,
      { run, option, known: digests[0], fingerprint: digests[1] },
    );
  };
  for (const [section, key, what, option] of SOURCES) {
    const digests = differ(section, key);
    if (digests) refuse(section, what, option, digests);
  }
  // Runs of earlier versions have one fingerprint over all their tasks.
  const all = differ("dataset", "fingerprint");
  if (all) refuse("dataset", "the data set is not the one", "data.train and data.heldout", all);
}
