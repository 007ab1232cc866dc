import {
  accuracyOf,
  type BucketResult,
  type EvaluationTask,
  evaluateHeldout,
} from "../../actors/evaluation/evaluate.js";
import { createRegistry } from "../../actors/parts/built-ins.js";
import { registerParts } from "../../actors/parts/parts-file.js";
import {
  assertReadable,
  type CheckedGolds,
  checkGolds,
  noRuleError,
  sourceCounts,
  type TaskFile,
} from "../../actors/run/gold-check.js";
import { prepareTasks, vocabularyCheck } from "../../actors/run/prepare.js";
import { phasesFrom } from "../../algorithms/phases.js";
import { parseConfig } from "../../config/load.js";
import type { Phase } from "../../contracts/phase.js";
import type { RewardMode } from "../../contracts/reward.js";
import type { Task } from "../../contracts/task.js";
import { readTasks } from "../../data/read-tasks.js";
import { WeirError } from "../../errors.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { bucketLabel, holds } from "../../streams/buckets.js";
import { numberAtLeast } from "../arguments.js";
import { type ExitCode, note, print, printJson } from "../output.js";
import { heldoutTable } from "../report-table.js";
import { withEngine } from "../with-engine.js";

/** `weir eval --data`: accuracy of a model on tasks, by length bucket, scored by the run's own rewards. */

export interface TaskAccuracyOptions {
  readonly model: string;
  readonly data: readonly string[];
  readonly buckets?: string;
  readonly mode: string;
  readonly think: boolean;
  readonly maxTokens: string;
  readonly temperature: string;
  readonly topP: string;
  readonly perBucket: string;
  readonly rows: string;
  readonly seed: string;
  readonly backend?: string;
  readonly reward: string;
  readonly judge: string;
  readonly parts: readonly string[];
  readonly json?: boolean;
}

export async function taskAccuracy(options: TaskAccuracyOptions): Promise<ExitCode> {
  if (options.mode !== "paper" && options.mode !== "released") {
    throw new WeirError("WEIR_E_USAGE", `--mode: expected paper or released, got "${options.mode}"`, {
      mode: options.mode,
    });
  }
  const mode = options.mode;
  const maxTokens = numberAtLeast("max-tokens", options.maxTokens, 1);
  const temperature = numberAtLeast("temperature", options.temperature, 0);
  const seed = numberAtLeast("seed", options.seed, 0);
  const { reward, concurrency, timeoutMs, correctAt } = await rewardOf(options, mode);
  const tokenizer = await loadTokenizer(options.model);
  const files: TaskFile[] = [];
  for (const file of options.data) files.push({ file, tasks: await readTasks(file, { format: "auto" }) });
  const checked = scorable(files, mode);
  const report = await withEngine(options.model, options.backend, async (engine, signal) => {
    const limit = engine.model.maxPositions - maxTokens;
    const bounds = options.buckets?.split(",").map((bound) => numberAtLeast("buckets", bound, 1)) ?? [limit];
    const phases = phasesFrom(bounds.map((bound) => ({ maxTokens: bound, steps: 1 })));
    const vocabulary = vocabularyCheck(files, tokenizer, engine.model.vocabSize);
    const prepare = (tasks: readonly Task[]) => prepareTasks(tasks, tokenizer, phases, limit, "truncate", vocabulary);
    const prepared = prepare(checked.tasks);
    if (prepared.tasks.length === 0) {
      throw new WeirError(
        "WEIR_E_EMPTY_PHASE",
        `none of the ${checked.tasks.length} tasks lies within the buckets ${bounds.join(", ")}; give larger bounds`,
        { bounds },
      );
    }
    if (prepared.beyondPhases > 0)
      note(`${prepared.beyondPhases} tasks are longer than the last bucket and were left out`);
    if (prepared.truncated > 0)
      note(`${prepared.truncated} tasks are longer than the model's positions allow and were cut in the middle`);
    const evaluated = await evaluateHeldout(
      engine.sampler,
      reward,
      prepared.tasks,
      {
        seed,
        buckets: phases,
        tasksPerBucket: numberAtLeast("per-bucket", options.perBucket, 1),
        promptsPerCall: numberAtLeast("rows", options.rows, 1),
        sampling: {
          temperature,
          topP: numberAtLeast("top-p", options.topP, 0),
          topK: 0,
          maxTokens,
          stopIds: withEndOfTurn(engine.model.stopIds, tokenizer.endOfTurn),
        },
        policy: null,
        sampleTimeoutMs: Number.POSITIVE_INFINITY,
        rewardConcurrency: concurrency,
        rewardTimeoutMs: timeoutMs,
        correctAt,
        decode: (ids) => tokenizer.decode(ids, { skipSpecialTokens: false }),
      },
      signal,
    );
    const buckets = withoutRuleCounted(evaluated, phases, prepare(checked.withoutRule).tasks);
    return {
      heldout: { [mode]: buckets },
      withoutRule: countBySource(checked.withoutRule),
      seed,
      temperature,
      engine: engine.info.backend,
    };
  });
  if (options.json) printJson(report);
  else print(heldoutTable(report) ?? "nothing was evaluated");
  return 0;
}

/**
 * Tasks that the rules can score; reports on standard error what was left out. Errors: WEIR_E_DATA for a gold answer that no rule can
 * read; WEIR_E_REWARD_SOURCE where no task has a rule.
 */
function scorable(files: readonly TaskFile[], mode: RewardMode): CheckedGolds {
  const checked = checkGolds(files, mode);
  const total = files.reduce((sum, { tasks }) => sum + tasks.length, 0);
  assertReadable(checked);
  if (checked.tasks.length === 0) throw noRuleError(checked, total, "tasks");
  if (checked.goldsLeftOut > 0)
    note(`warning: ${checked.goldsLeftOut} gold answers could not be read; their tasks have others, which count`);
  if (checked.withoutRule.length > 0)
    note(
      `warning: ${checked.withoutRule.length} of ${total} tasks are not scored: there is no reward rule for ${sourceCounts(checked.withoutRule)}`,
    );
  return checked;
}

/** The buckets with the tasks that no rule scores: counted in `n` and `unscored` but not in the accuracy. They are not sampled. */
function withoutRuleCounted(
  evaluated: Readonly<Record<string, BucketResult>>,
  phases: readonly Phase[],
  unscored: readonly EvaluationTask[],
): Record<string, BucketResult & { readonly scored: number; readonly accuracy: number | null }> {
  const rows = phases.flatMap((phase) => {
    const extra = unscored.filter(({ task }) => holds(phase, task.promptTokens)).length;
    const result = evaluated[bucketLabel(phase)] ?? { n: 0, correct: 0, unscored: 0, meanReward: null };
    const counted = { ...result, n: result.n + extra, unscored: result.unscored + extra };
    const scored = counted.n - counted.unscored;
    return counted.n === 0
      ? []
      : [[bucketLabel(phase), { ...counted, scored, accuracy: accuracyOf(counted) }] as const];
  });
  return Object.fromEntries(rows);
}

function countBySource(tasks: readonly Task[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { source } of tasks) counts[source] = (counts[source] ?? 0) + 1;
  return counts;
}

/** The named reward, built in or from a file with parts. Errors: WEIR_E_ACTOR_*, WEIR_E_PART, WEIR_E_PARTS_FILE. */
async function rewardOf(options: TaskAccuracyOptions, mode: RewardMode) {
  const config = parseConfig({
    model: { path: options.model },
    data: { train: [...options.data] },
    reward: { actor: options.reward, mode, requireThink: options.think, judge: { actor: options.judge } },
  });
  const registry = createRegistry(config, {
    publish: () => undefined,
    report: (error) => note(error.message),
  });
  await registerParts(registry, options.parts);
  const { concurrency, timeoutMs, correctAt } = config.reward;
  const reward = registry.build("reward", { reward: options.reward, judge: options.judge });
  await reward.connect?.({ signal: new AbortController().signal });
  return { reward, concurrency, timeoutMs, correctAt };
}
