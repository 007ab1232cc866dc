import { checkGolds, type TaskFile } from "../../actors/run/gold-check.js";
import type { RewardMode } from "../../contracts/reward.js";
import type { Task } from "../../contracts/task.js";
import type { AddedColumn, AddedColumns } from "../../data/add-columns.js";
import { type ComparedTask, type Duplicate, DuplicateIndex, type DuplicateKind } from "../../data/duplicates.js";
import { problemOf } from "../../rewards/judge/problem.js";
import { answerInQuestion } from "./probe.js";

/** What is found of each task of a data set without asking a model, and the columns and counts that come of it. Pure. */

export interface CheckedTask {
  readonly file: string;
  /** From 0. */
  readonly row: number;
  readonly task: Task;
  /** A rule reads one of its gold answers, and its source has a rule. */
  readonly scorable: boolean;
  /** An earlier task of the same side that asks the same. */
  readonly duplicate: Duplicate | null;
  /** Of a training task: the held-out one that asks the same. */
  readonly heldout: Duplicate | null;
  readonly answerInQuestion: boolean;
  /** Share of right responses without the document, and with it; null where it was not asked or could not be scored. */
  readonly closedBookRate: number | null;
  readonly passRate: number | null;
}

export interface CheckOptions {
  readonly mode: RewardMode;
  /** Smallest similarity of near duplicates. */
  readonly near: number;
}

function compared(task: Task): ComparedTask {
  const text = task.messages.map(({ content }) => content ?? "").join("\n");
  return { id: task.id, text, question: problemOf(task), goldAnswers: task.goldAnswers };
}

/** Checks the tasks of both sides, in the order of their files. */
export function checkTasks(
  train: readonly TaskFile[],
  heldout: readonly TaskFile[],
  { mode, near }: CheckOptions,
): { readonly train: CheckedTask[]; readonly heldout: CheckedTask[] } {
  const known = new DuplicateIndex(near);
  const checked = (files: readonly TaskFile[], own: DuplicateIndex, other: DuplicateIndex | null): CheckedTask[] => {
    const golds = checkGolds(files, mode);
    const unscorable = new Set([...golds.withoutRule, ...golds.unreadable.map(({ task }) => task)]);
    return files.flatMap(({ file, tasks }) =>
      tasks.map((task, row) => {
        const one = compared(task);
        const [duplicate, match] = [own.find(one), other?.find(one) ?? null];
        own.add(one);
        return {
          ...{ file, row, task, duplicate, heldout: match, scorable: !unscorable.has(task) },
          ...{ answerInQuestion: answerInQuestion(task, mode), closedBookRate: null, passRate: null },
        };
      }),
    );
  };
  const held = checked(heldout, known, null);
  return { train: checked(train, new DuplicateIndex(near), known), heldout: held };
}

/** The columns of some tasks of one file, without those of which nothing is known. */
export function columnsOf(tasks: readonly CheckedTask[], probed: boolean): AddedColumns {
  const measured = tasks.every(({ task }) => task.promptTokens > 0);
  const of = (type: AddedColumn["type"], value: (task: CheckedTask) => AddedColumn["values"][number]): AddedColumn => ({
    type,
    values: tasks.map(value),
  });
  return {
    ...(measured ? { weir_prompt_tokens: of("whole", ({ task }) => task.promptTokens) } : {}),
    weir_scorable: of("flag", ({ scorable }) => scorable),
    weir_duplicate_of: of("text", ({ duplicate }) => duplicate?.of ?? null),
    weir_duplicate_kind: of("text", ({ duplicate }) => duplicate?.kind ?? null),
    weir_heldout_match: of("text", ({ heldout }) => heldout?.of ?? null),
    weir_heldout_kind: of("text", ({ heldout }) => heldout?.kind ?? null),
    weir_answer_in_question: of("flag", (task) => task.answerInQuestion),
    ...(probed
      ? {
          weir_closed_book_rate: of("real", (task) => task.closedBookRate),
          weir_pass_rate: of("real", (task) => task.passRate),
        }
      : {}),
  };
}

export interface DuplicateCounts {
  readonly exact: number;
  readonly near: number;
  readonly document: number;
  /** Exact and near ones with other gold answers. */
  readonly conflicting: number;
}

function countDuplicates(found: readonly (Duplicate | null)[]): DuplicateCounts {
  const some = found.filter((one) => one !== null);
  const of = (kind: DuplicateKind) => some.filter((one) => one.kind === kind).length;
  return {
    ...{ exact: of("exact"), near: of("near"), document: of("document") },
    conflicting: some.filter(({ conflicting }) => conflicting).length,
  };
}

export interface RateCounts {
  /** Tasks with a rate. */
  readonly tasks: number;
  /** Tasks that were asked and have none. */
  readonly failed: number;
  /** Tasks with no, some and only right responses. */
  readonly never: number;
  readonly sometimes: number;
  readonly always: number;
  /** Null without a task. */
  readonly mean: number | null;
}

function countRates(rates: readonly (number | null)[]): RateCounts {
  const known = rates.filter((rate) => rate !== null);
  return {
    tasks: known.length,
    failed: rates.length - known.length,
    never: known.filter((rate) => rate === 0).length,
    sometimes: known.filter((rate) => rate > 0 && rate < 1).length,
    always: known.filter((rate) => rate === 1).length,
    mean: known.length === 0 ? null : known.reduce((total, rate) => total + rate, 0) / known.length,
  };
}

export interface CheckReport {
  readonly tasks: { readonly train: number; readonly heldout: number };
  readonly unscorable: { readonly train: number; readonly heldout: number };
  readonly duplicates: {
    readonly train: DuplicateCounts;
    readonly heldout: DuplicateCounts;
    readonly between: DuplicateCounts;
  };
  readonly answerInQuestion: number;
  /** Null where no model was asked; over the first `asked` training tasks. */
  readonly closedBook: RateCounts | null;
  readonly passRate: RateCounts | null;
  /** What should be mended: tasks on both sides (`exact`, `near`), conflicting gold answers, tasks that no rule scores. */
  readonly faults: number;
}

/** Counts over all tasks; `asked` training tasks, the first ones, were put to a model. */
export function reportOf(train: readonly CheckedTask[], heldout: readonly CheckedTask[], asked: number): CheckReport {
  const unscorable = (tasks: readonly CheckedTask[]) => tasks.filter(({ scorable }) => !scorable).length;
  const duplicates = {
    train: countDuplicates(train.map(({ duplicate }) => duplicate)),
    heldout: countDuplicates(heldout.map(({ duplicate }) => duplicate)),
    between: countDuplicates(train.map((task) => task.heldout)),
  };
  const put = train.slice(0, asked);
  const counts = { train: unscorable(train), heldout: unscorable(heldout) };
  const withQuestion = put.filter(({ task }) => problemOf(task) !== null);
  return {
    tasks: { train: train.length, heldout: heldout.length },
    unscorable: counts,
    duplicates,
    answerInQuestion: train.filter((task) => task.answerInQuestion).length,
    closedBook: asked === 0 ? null : countRates(withQuestion.map(({ closedBookRate }) => closedBookRate)),
    passRate: asked === 0 ? null : countRates(put.map(({ passRate }) => passRate)),
    faults:
      counts.train +
      counts.heldout +
      duplicates.between.exact +
      duplicates.between.near +
      duplicates.train.conflicting +
      duplicates.heldout.conflicting,
  };
}
