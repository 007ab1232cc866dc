/**
 * Finds data that no rule can score, before anything is trained or measured: data sources without a rule, and gold answers in
 * which their family's rule reads no answer. Such rows would score 0, or nothing, for every response.
 */

import type { Alert } from "../../contracts/alert.js";
import type { RewardActor, RewardMode } from "../../contracts/reward.js";
import type { Task } from "../../contracts/task.js";
import { shown } from "../../data/faults.js";
import { WeirError } from "../../errors.js";
import { rewardFamily } from "../../rewards/family.js";
import { parsedGold } from "../../rewards/rule.js";

/** Tasks of one file in its order: task i is row i. */
export interface TaskFile {
  readonly file: string;
  readonly tasks: readonly Task[];
}

export interface CheckedGolds {
  /** The tasks that a rule can score, with the gold answers that it can read. */
  readonly tasks: readonly Task[];
  /** Tasks whose source has no rule. */
  readonly withoutRule: readonly Task[];
  /** Tasks none of whose gold answers a rule can read. */
  readonly unreadable: readonly UnreadableGold[];
  /** Gold answers that were left out of tasks that have others. */
  readonly goldsLeftOut: number;
}

export interface UnreadableGold {
  readonly task: Task;
  readonly file: string;
  /** From 0. */
  readonly row: number;
}

/** The known parts of data sources; null where the source has a rule. */
function knownSources(source: string): readonly string[] | null {
  try {
    rewardFamily(source);
    return null;
  } catch (error) {
    if (!WeirError.isInstance(error) || error.code !== "WEIR_E_REWARD_SOURCE") throw error;
    return error.details.known as readonly string[];
  }
}

/** A date or a time of day, of which the release's number rule would read the year or the hour. */
const MOMENT = /the answer is\W{0,3}(?:\d{4}-\d{2}-\d{2}|\d{1,2}:\d{2})/i;

/**
 * Whether the rule reads the whole answer of a gold sentence. An empty one does not count: the release's substring rule would
 * find it in every response.
 */
function isReadable(task: Task, gold: string, mode: RewardMode): boolean {
  if (rewardFamily(task.source) === "numeric" && MOMENT.test(gold)) return false;
  const parsed = parsedGold(task.source, gold, mode);
  return parsed !== null && parsed !== "";
}

/** Sorts the tasks of files by what the rules can make of them. */
export function checkGolds(files: readonly TaskFile[], mode: RewardMode): CheckedGolds {
  const tasks: Task[] = [];
  const withoutRule: Task[] = [];
  const unreadable: UnreadableGold[] = [];
  let goldsLeftOut = 0;
  for (const { file, tasks: rows } of files) {
    for (const [row, task] of rows.entries()) {
      if (knownSources(task.source) !== null) {
        withoutRule.push(task);
        continue;
      }
      const goldAnswers = task.goldAnswers.filter((gold) => isReadable(task, gold, mode));
      if (goldAnswers.length === 0) unreadable.push({ task, file, row });
      else if (goldAnswers.length === task.goldAnswers.length) tasks.push(task);
      else {
        goldsLeftOut += task.goldAnswers.length - goldAnswers.length;
        tasks.push({ ...task, goldAnswers });
      }
    }
  }
  return { tasks, withoutRule, unreadable, goldsLeftOut };
}

/** What is wrong with the gold answers of a task, and the form that its family expects. */
export function goldProblem({ task, file, row }: UnreadableGold): string {
  const choice = rewardFamily(task.source) === "multiple-choice";
  const form = choice ? "The correct answer is (X)." : "Therefore, the answer is X.";
  const golds = task.goldAnswers.map(shown).join(", ");
  return `${file}, row ${row}: no answer of the source "${task.source}" can be read from the gold answer ${golds}; expected a sentence of the form "${form}"`;
}

/** Errors: WEIR_E_DATA naming file, row, gold answer and expected form of the first of `unreadable`. */
export function assertReadable({ unreadable }: CheckedGolds): void {
  const [first] = unreadable;
  if (first === undefined) return;
  const more = unreadable.length > 1 ? ` (and ${unreadable.length - 1} more rows)` : "";
  throw new WeirError("WEIR_E_DATA", `${goldProblem(first)}${more}; every response to it would score 0`, {
    file: first.file,
    row: first.row,
    source: first.task.source,
    rows: unreadable.length,
  });
}

/** The sources of some tasks with their counts, the most frequent first: `"triviaqa" (312), "trec" (4)`. */
export function sourceCounts(tasks: readonly Task[]): string {
  const counts = new Map<string, number>();
  for (const { source } of tasks) counts.set(source, (counts.get(source) ?? 0) + 1);
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([source, count]) => `${JSON.stringify(source)} (${count})`)
    .join(", ");
}

/** The error for tasks whose source has no rule; `what` names the rows, such as "training rows". */
export function noRuleError({ withoutRule }: CheckedGolds, total: number, what: string): WeirError {
  const known = knownSources(withoutRule[0]?.source ?? "") ?? [];
  return new WeirError(
    "WEIR_E_REWARD_SOURCE",
    `${withoutRule.length} of ${total} ${what} have a data source for which there is no reward rule: ${sourceCounts(withoutRule)}; ` +
      `expected a source that contains one of ${known.join(", ")}. Leave these rows out, rename their data source, or use a custom reward part`,
    { sources: [...new Set(withoutRule.map(({ source }) => source))], rows: withoutRule.length, total, known },
  );
}

/** Rewards that score by the rules of src/rewards; a custom one may score anything. */
const RULE_REWARDS: readonly string[] = ["rule", "hybrid"];

/** Data that a run leaves out, and the remaining share. */
export interface LeftOut {
  readonly text: string;
  readonly keptShare: number;
}

export interface ScorableTasks {
  readonly train: readonly Task[];
  readonly heldout: readonly Task[];
  readonly leftOut: readonly LeftOut[];
}

/**
 * The tasks of a run that its reward can score. Errors: WEIR_E_DATA for a gold answer that no rule can read;
 * WEIR_E_REWARD_SOURCE for training rows without a rule, and where no held-out row has one.
 */
export function scorableTasks(
  train: readonly TaskFile[],
  heldout: readonly TaskFile[],
  mode: RewardMode,
  reward: Pick<RewardActor, "kind">,
): ScorableTasks {
  if (!RULE_REWARDS.includes(reward.kind)) return { train: tasksOf(train), heldout: tasksOf(heldout), leftOut: [] };
  const [checked, held] = [checkGolds(train, mode), checkGolds(heldout, mode)];
  assertReadable(checked);
  assertReadable(held);
  if (checked.withoutRule.length > 0) throw noRuleError(checked, tasksOf(train).length, "training rows");
  const total = tasksOf(heldout).length;
  if (held.withoutRule.length > 0 && held.tasks.length === 0) throw noRuleError(held, total, "held-out rows");
  const leftOut: LeftOut[] = [];
  if (held.withoutRule.length > 0)
    leftOut.push({
      text: `${held.withoutRule.length} of ${total} held-out tasks are left out of every evaluation: there is no reward rule for ${sourceCounts(held.withoutRule)}`,
      keptShare: held.tasks.length / total,
    });
  const goldsLeftOut = checked.goldsLeftOut + held.goldsLeftOut;
  if (goldsLeftOut > 0) {
    const kept = [...checked.tasks, ...held.tasks].reduce((sum, { goldAnswers }) => sum + goldAnswers.length, 0);
    leftOut.push({
      text: `${goldsLeftOut} gold answers could not be read and are left out; their tasks have others, which count`,
      keptShare: kept / (kept + goldsLeftOut),
    });
  }
  return { train: checked.tasks, heldout: held.tasks, leftOut };
}

/** All tasks of some files. */
export const tasksOf = (files: readonly TaskFile[]): readonly Task[] => files.flatMap(({ tasks }) => tasks);

/** What was left out as alerts of the run's start. */
export function leftOutAlerts(leftOut: readonly LeftOut[], policyVersion: number, time: number): Alert[] {
  return leftOut.map(({ text, keptShare }, at) => ({
    id: `0-data-${at + 1}`,
    level: "warn",
    rule: "unscorable_data",
    metric: "reward/scored_share",
    value: keptShare,
    threshold: 1,
    z: null,
    step: 0,
    phase: 1,
    policyVersion,
    text,
    culprits: [],
    time,
  }));
}
