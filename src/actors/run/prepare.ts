import { truncateMiddle } from "../../algorithms/truncation.js";
import type { Config } from "../../config/schema.js";
import type { Phase } from "../../contracts/phase.js";
import type { Json, Task } from "../../contracts/task.js";
import type { SftRow } from "../../contracts/trainer.js";
import { fileFault } from "../../data/faults.js";
import { assertInVocabulary, promptIdsOf } from "../../data/measure.js";
import { parseSftExample, sftRow } from "../../data/sft.js";
import { WeirError } from "../../errors.js";
import { bucketOf, holds } from "../../streams/buckets.js";
import type { EvaluationTask } from "../evaluation/evaluate.js";
import type { TaskFile } from "./gold-check.js";
import type { RunTokenizer } from "./run-context.js";

/** From files to a run's data: measured tasks by phase, held-out tasks, SFT rows. Pure, apart from the tokenizer. */

export interface PreparedTasks {
  readonly tasks: readonly EvaluationTask[];
  /** Tasks left out because their prompt leaves no room for a response. */
  readonly dropped: number;
  /** Of the tasks that some phase holds, those whose middle was cut. */
  readonly truncated: number;
  /** Tasks longer than the last phase; they are never issued. */
  readonly beyondPhases: number;
}

/** Looks at the ids of a task's prompt. */
export type PromptCheck = (task: Task, ids: readonly number[]) => void;

/**
 * Measures templated prompts and applies the rule for over-long ones. Prompt ids are computed when they are needed, so
 * that a large data set of long documents is not held as tokens.
 * Errors: WEIR_E_PROMPT_TOO_LONG under `error`, naming task, length and limit.
 */
export function prepareTasks(
  tasks: readonly Task[],
  tokenizer: RunTokenizer,
  phases: readonly Phase[],
  limit: number,
  overlong: Config["data"]["overlong"],
  check: PromptCheck = () => {},
): PreparedTasks {
  let dropped = 0;
  let truncated = 0;
  let beyondPhases = 0;
  const idsOf = (task: Task) => promptIdsOf(task, tokenizer);
  const prepared = tasks.flatMap((task): EvaluationTask[] => {
    const ids = idsOf(task);
    check(task, ids);
    const { length } = ids;
    const cut = length > limit;
    if (cut && overlong === "error") {
      throw new WeirError(
        "WEIR_E_PROMPT_TOO_LONG",
        `task "${task.id}": its prompt has ${length} tokens, the model's positions leave ${limit} after rollout.maxTokens; set data.overlong to drop or truncate, or allow fewer response tokens`,
        { task: task.id, length, limit },
      );
    }
    if (cut && overlong === "drop") {
      dropped++;
      return [];
    }
    const measured: Task = { ...task, promptTokens: cut ? limit : length };
    if (bucketOf(measured.promptTokens, phases) === null) {
      beyondPhases++;
      return [];
    }
    if (cut) truncated++;
    return [
      {
        task: measured,
        get promptIds() {
          return cut ? truncateMiddle(idsOf(task), limit) : idsOf(task);
        },
      },
    ];
  });
  return { tasks: prepared, dropped, truncated, beyondPhases };
}

/** Errors: WEIR_E_EMPTY_PHASE naming the first phase without a task and its bounds. */
export function assertPhasesFilled(tasks: readonly EvaluationTask[], phases: readonly Phase[]): void {
  for (const phase of phases) {
    if (!tasks.some(({ task }) => holds(phase, task.promptTokens))) {
      const lengths = tasks.map(({ task }) => task.promptTokens);
      const range =
        lengths.length === 0
          ? "there are no tasks"
          : `the tasks have ${Math.min(...lengths)} to ${Math.max(...lengths)} tokens`;
      throw new WeirError(
        "WEIR_E_EMPTY_PHASE",
        `phase ${phase.k} (${phase.minTokens} < tokens ≤ ${phase.maxTokens}) holds no training task; ${range}; change phases[${phase.k - 1}].maxTokens or add data`,
        { phase: phase.k, minTokens: phase.minTokens, maxTokens: phase.maxTokens },
      );
    }
  }
}

/** A check that the prompt of each task lies within the model's vocabulary; `files` say where the tasks come from. */
export function vocabularyCheck(
  files: readonly TaskFile[],
  tokenizer: Pick<RunTokenizer, "tokenText">,
  vocabSize: number,
): PromptCheck {
  const fileOf = new Map(files.flatMap(({ file, tasks }) => tasks.map(({ id }) => [id, file] as const)));
  return ({ id }, ids) =>
    assertInVocabulary(ids, `${fileOf.get(id) ?? "the data"}, task "${id}"`, tokenizer, vocabSize);
}

/** SFT rows of raw records. Errors: WEIR_E_DATA; WEIR_E_PROMPT_TOO_LONG for a row longer than the model's positions. */
export function prepareSft(
  records: readonly Readonly<Record<string, Json>>[],
  file: string,
  tokenizer: RunTokenizer,
  stopIds: readonly number[],
  maxPositions: number,
  vocabSize: number,
): SftRow[] {
  if (records.length === 0) throw fileFault(file, "expected at least one row, it holds none");
  return records.map((record, index) => {
    const row = sftRow(parseSftExample(record, file, index), tokenizer, stopIds);
    assertInVocabulary(row.tokenIds, `${file}, row ${index}`, tokenizer, vocabSize);
    if (row.tokenIds.length > maxPositions) {
      throw new WeirError(
        "WEIR_E_PROMPT_TOO_LONG",
        `${file}, row ${index}: ${row.tokenIds.length} tokens, the model has ${maxPositions} positions; shorten or leave out the row`,
        { file, index, length: row.tokenIds.length, limit: maxPositions },
      );
    }
    return row;
  });
}
