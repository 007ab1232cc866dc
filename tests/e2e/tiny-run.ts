import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ConfigInput } from "../../src/config/schema.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import type { Rollout } from "../../src/contracts/rollout.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";

/** A run of seconds on a fixture model: every part is real, only the reward is simple enough for a random policy. */

/** What a test may choose of a tiny run: how it computes and what it trains. */
export interface TinyChoice {
  readonly engine: ConfigInput["engine"];
  readonly lora?: ConfigInput["model"]["lora"];
  /** Further options. */
  readonly over?: Partial<ConfigInput>;
}

/** Variable that holds a choice as JSON, for the processes of a test; the plain JavaScript backend without it. */
export const TINY_CHOICE = "WEIR_TINY_CHOICE";

/** Parity of the sum of a response's token ids. */
export const parityOf = ({ tokenIds }: Pick<Rollout, "tokenIds">): number =>
  tokenIds.reduce((sum, id) => sum + id, 0) % 2;

/** Rewards even token sums; a random policy has both kinds in most groups. */
export const parityReward: RewardActor = {
  kind: "parity",
  specificationVersion: 1,
  handle: async ({ rollout }) => {
    const value = parityOf(rollout);
    return { kind: "scored", value, parts: { parity: value }, prediction: null };
  },
};

export async function tinyTasks(folder: string, count = 24): Promise<string> {
  const path = join(folder, "tasks.jsonl");
  const rows = Array.from({ length: count }, (_, index) => ({
    data_source: "musique_0_64",
    prompt: [
      {
        role: "user",
        content: `<text>\n${"Mira lives in Oslo. ".repeat(1 + (index % 4))}\n</text>\n\nWhere does Mira live? (${index})`,
      },
    ],
    ability: "doc-qa",
    reward_model: { style: "rule", ground_truth: "Therefore, the answer is Oslo." },
    extra_info: { index },
  }));
  await writeFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  return path;
}

export async function tinyConfig(over: Partial<ConfigInput> = {}, folder?: string): Promise<ConfigInput> {
  const directory = folder ?? (await mkdtemp(join(tmpdir(), "weir-run-")));
  const tasks = await tinyTasks(directory);
  const {
    engine,
    lora,
    over: chosen,
  }: TinyChoice = JSON.parse(process.env[TINY_CHOICE] ?? '{"engine":{"backend":"cpu"}}');
  return {
    // A random policy may get one reward for all it says.
    run: { directory: join(directory, "runs"), id: "tiny", seed: 5, preflight: "warn" },
    model: { path: join(OWN_FIXTURES, "models", "tiny-qwen2"), ...(lora ? { lora } : {}) },
    engine: { restartDelayMs: 0, ...engine },
    data: { train: [tasks], heldout: [tasks] },
    phases: [
      { maxTokens: 70, steps: 3 },
      { maxTokens: 300, steps: 3 },
    ],
    rollout: { groupSize: 4, promptsPerStep: 3, promptsPerCall: 2, maxTokens: 6, temperature: 1, topP: 1 },
    dynamicSampling: { maxRounds: 2 },
    update: { miniBatchPrompts: 2, microBatchTokens: 512 },
    optimiser: { learningRate: 1e-3 },
    evaluation: { initial: false, tasksPerBucket: 4 },
    checkpoint: { everySteps: 1 },
    monitor: { enabled: false },
    log: { level: "silent", file: false },
    ...chosen,
    ...over,
  };
}

export interface LedgerLine {
  readonly rolloutId: string;
  readonly state: string;
  readonly reason?: string;
}

/** Rollout id to end state; throws when a rollout has none, or more than one (I2). */
export async function endStates(runDirectory: string): Promise<Map<string, string>> {
  const text = await readFile(join(runDirectory, "ledger.ndjson"), "utf8");
  const lines = text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as LedgerLine);
  const ends = new Map<string, string>();
  const open = new Set<string>();
  for (const { rolloutId, state, reason } of lines) {
    if (state === "issued") {
      if (open.has(rolloutId) || ends.has(rolloutId)) throw new Error(`${rolloutId} was issued twice`);
      open.add(rolloutId);
    }
    if (state !== "trained" && state !== "dropped" && state !== "rolledBack") continue;
    const undone = state === "rolledBack" && ends.get(rolloutId) === "trained";
    if (!undone && !open.delete(rolloutId)) throw new Error(`${rolloutId} ended twice or was never issued`);
    ends.set(rolloutId, reason === undefined ? state : `${state}:${reason}`);
  }
  if (open.size > 0) throw new Error(`without an end state: ${[...open].join(", ")}`);
  return ends;
}

/** Facts without wall-clock fields, paths and what a resume adds: what I11 compares. */
export async function comparableFacts(runDirectory: string): Promise<unknown[]> {
  const text = await readFile(join(runDirectory, "journal.ndjson"), "utf8");
  const strip = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(strip);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value)
        .filter(([key]) => !/^time$|seconds$|per_second$|rss_bytes$|^path$|engine\/tensors/i.test(key))
        .map(([key, inner]) => [key, strip(inner)]),
    );
  };
  return text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { type: string })
    .filter((fact) => !["run.resumed", "run.started", "lifecycle.changed", "actor.changed"].includes(fact.type))
    .map((fact) => {
      const { seq: _, ...rest } = fact as Record<string, unknown>;
      return strip(rest);
    });
}
