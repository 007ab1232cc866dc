/**
 * A task as a row of verl-style parquet: the columns that QwenLong-L1's released data has.
 */
import type { ChatMessage, Json, Task } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";

export interface VerlRow {
  readonly data_source: string;
  readonly prompt: readonly ChatMessage[];
  readonly ability: string;
  readonly reward_model: { readonly style: "rule"; readonly ground_truth: string | readonly string[] };
  readonly extra_info: Readonly<Record<string, Json>>;
}

/** The row of a generated task; several gold answers stand as a list. Throws WEIR_E_DATA if the task lacks its ability. */
export function verlRow(task: Task): VerlRow {
  const { ability, index, question, hops, ...others } = task.meta;
  const [gold = "", ...more] = task.goldAnswers;
  if (typeof ability !== "string") {
    throw new WeirError("WEIR_E_DATA", `expected a generated task with an ability, task ${task.id} has none`, {
      task: task.id,
    });
  }
  return {
    data_source: task.source,
    prompt: task.messages,
    ability,
    reward_model: { style: "rule", ground_truth: more.length === 0 ? gold : task.goldAnswers },
    extra_info: {
      index: index ?? 0,
      input_question: question ?? "",
      input_length: task.promptTokens,
      reasoning_hop: hops ?? 0,
      ...others,
    },
  };
}
