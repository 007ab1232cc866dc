import { readFile } from "node:fs/promises";
import { dirname, isAbsolute, resolve } from "node:path";
import { parse as parseYaml } from "yaml";
import type { z } from "zod";
import { WeirError } from "../errors.js";
import { type OldOption, oldOptionsAt } from "./old-names.js";
import { applyPreset } from "./presets.js";
import { type Config, configSchema } from "./schema.js";
import { keysAt } from "./schema-walk.js";
import { applySettings } from "./settings.js";

/** Reads, merges and checks configurations. Every complaint names the path, the value and the nearest valid option. */

type Tree = Record<string, unknown>;

const isTree = (value: unknown): value is Tree => typeof value === "object" && value !== null && !Array.isArray(value);

/** Edit distance (Levenshtein), for suggestions. */
export function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, substitution));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The closest of `candidates`, if close enough to be meant. */
export function nearest(name: string, candidates: readonly string[]): string | null {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(2, Math.ceil(name.length / 3)) ? best.candidate : null;
}

function valueAt(tree: unknown, path: readonly PropertyKey[]): unknown {
  let node = tree;
  for (const part of path) node = (node as Record<PropertyKey, unknown> | undefined)?.[part];
  return node;
}

function oldComplaint(path: string, old: OldOption): string {
  if (typeof old === "string") return `option "${path}" is called "${old}" now; rename it`;
  if ("now" in old) return `option "${path}" is called "${old.now}" now; ${old.advice}`;
  return `option "${path}" is no longer there: ${old.removed}`;
}

function complaint(issue: z.core.$ZodIssue, input: unknown): string {
  const at = issue.path.map(String).join(".");
  if (issue.code === "unrecognized_keys") {
    return issue.keys
      .map((key) => {
        const path = at ? `${at}.${key}` : key;
        const old = oldOptionsAt(path);
        if (old.length > 0) return old.map(([name, now]) => oldComplaint(name, now)).join("; ");
        const suggestion = nearest(key, keysAt(issue.path));
        return `unknown option "${path}"${suggestion ? `; did you mean "${at ? `${at}.` : ""}${suggestion}"?` : ""}`;
      })
      .join("; ");
  }
  const value = valueAt(input, issue.path);
  const came = value === undefined ? "nothing" : typeof value === "number" ? String(value) : JSON.stringify(value);
  let meant = "";
  if (issue.code === "invalid_value" && typeof value === "string") {
    const suggestion = nearest(value, issue.values.map(String));
    if (suggestion) meant = `; did you mean "${suggestion}"?`;
  }
  return `option "${at}": ${issue.message}, got ${came}${meant}`;
}

/**
 * Checks a configuration and fills in defaults.
 * Errors: WEIR_E_CONFIG with every complaint, each naming path, value and nearest valid option.
 */
export function parseConfig(input: unknown): Config {
  const preset = isTree(input) ? applyPreset(input) : input;
  const result = configSchema.safeParse(preset);
  if (!result.success) {
    const complaints = result.error.issues.map((issue) => complaint(issue, preset));
    throw new WeirError("WEIR_E_CONFIG", complaints.join("\n"), { complaints });
  }
  const bounds = result.data.phases.map((phase) => phase.maxTokens);
  if (bounds.some((bound, k) => k > 0 && bound <= (bounds[k - 1] ?? 0))) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `option "phases": maxTokens must grow from phase to phase, got ${JSON.stringify(bounds)}`,
      { bounds },
    );
  }
  const steps = result.data.phases.map((phase) => phase.steps);
  if (steps.includes(0) && steps.some((count) => count > 0)) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `option "phases": steps must be 0 in every phase (no RL stage) or in none, got ${JSON.stringify(steps)}`,
      { steps },
    );
  }
  if (result.data.reward.overlong.bufferTokens > result.data.rollout.maxTokens) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `option "reward.overlong.bufferTokens": must not exceed rollout.maxTokens (${result.data.rollout.maxTokens}), got ${result.data.reward.overlong.bufferTokens}`,
      {},
    );
  }
  assertCorrection(result.data.update);
  return result.data;
}

/** Errors: WEIR_E_CONFIG where rollout correction has nothing to compare with, or bounds that exclude everything. */
function assertCorrection({ oldLogprobs, correction }: Config["update"]): void {
  const { importance, lower, upper, rejection, rejectionEstimator, rejectionLower, rejectionUpper } = correction;
  const refuse = (option: string, text: string): never => {
    throw new WeirError("WEIR_E_CONFIG", `option "update.correction.${option}": ${text}`, { option });
  };
  for (const [option, value] of Object.entries({ importance, rejection })) {
    if (value !== "none" && oldLogprobs === "sampler")
      refuse(
        option,
        `"${value}" compares the trainer's log-probs with the sampler's, and update.oldLogprobs: sampler takes both from the sampler; set update.oldLogprobs to recompute, or this option to none`,
      );
  }
  if (importance !== "none" && lower !== null && lower >= upper)
    refuse("lower", `must be less than update.correction.upper (${upper}), got ${lower}`);
  if (rejection === "none" || rejectionEstimator !== "k1") return;
  const smallest = rejectionLower ?? 1 / rejectionUpper;
  if (smallest >= rejectionUpper)
    refuse(
      "rejectionUpper",
      `must be greater than the smallest ratio that stays (${rejectionLower === null ? "1/rejectionUpper = " : ""}${smallest}), got ${rejectionUpper}`,
    );
}

const PATHS = [
  ["model", "path"],
  ["data", "train"],
  ["data", "heldout"],
  ["warmup", "data"],
  ["run", "directory"],
  ["reward", "rules", "module"],
  ["reward", "judge", "path"],
  ["reward", "judge", "template"],
  ["reward", "judge", "cache", "directory"],
] as const;

/** Makes the paths of a configuration file absolute, relative to the file's folder. */
function anchorPaths(tree: Tree, folder: string): void {
  const anchor = (path: unknown) => (typeof path === "string" && !isAbsolute(path) ? resolve(folder, path) : path);
  for (const path of PATHS) {
    const part = valueAt(tree, path.slice(0, -1));
    const key = path.at(-1) as string;
    if (!isTree(part) || part[key] === undefined) continue;
    part[key] = Array.isArray(part[key]) ? (part[key] as unknown[]).map(anchor) : anchor(part[key]);
  }
  const benchmarks = isTree(tree.evaluation) ? tree.evaluation.benchmarks : null;
  if (Array.isArray(benchmarks))
    for (const one of benchmarks) if (isTree(one) && one.file !== undefined) one.file = anchor(one.file);
}

/**
 * Reads a YAML or JSON configuration file, applies `--set` overrides, and checks the whole.
 * Paths in the file are relative to it; paths in overrides to the working directory.
 * Errors: WEIR_E_FILE_MISSING, WEIR_E_CONFIG, WEIR_E_USAGE.
 */
export async function loadConfig(file: string, settings: readonly string[] = []): Promise<Config> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `expected a configuration file at "${file}", found none that can be read`,
      { file },
      { cause },
    );
  }
  let tree: unknown;
  try {
    tree = parseYaml(text);
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_CONFIG",
      `"${file}" is neither YAML nor JSON: ${(cause as Error).message}`,
      { file },
      { cause },
    );
  }
  if (!isTree(tree))
    throw new WeirError("WEIR_E_CONFIG", `"${file}" must hold a mapping of options, got ${JSON.stringify(tree)}`, {
      file,
    });
  anchorPaths(tree, dirname(resolve(file)));
  return parseConfig(applySettings(tree, settings));
}
