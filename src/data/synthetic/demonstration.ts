/**
 * Responses for the warm-up. `quoting` states the evidence and then answers, `direct` answers at once.
 * The form says where the evidence stands: `think` follows a generation prompt that has opened `<think>` and closes it before
 * the answer; `plain` is running text without tags, for policies whose chat template opens none.
 */
import { counterKey, uniform } from "../../algorithms/random.js";
import type { Task } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";

export type DemonstrationStyle = "direct" | "quoting";
export type DemonstrationForm = "think" | "plain";

/**
 * The response text, without the end-of-turn token: `[evidence]\n</think>\n\n<answer sentence>`, or in the plain form
 * `[evidence ]<answer sentence>`.
 */
export function demonstrationText(
  evidence: readonly string[],
  goldAnswer: string,
  style: DemonstrationStyle,
  form: DemonstrationForm = "think",
): string {
  const quoted = style === "quoting" ? evidence : [];
  if (form === "plain") return [...quoted, goldAnswer].join(" ");
  const thinking = style === "quoting" ? `${quoted.join(" ")}\n` : "";
  return `${thinking}</think>\n\n${goldAnswer}`;
}

/** The demonstration of a generated task. Throws WEIR_E_DATA for a task that carries no evidence. */
export function demonstration(task: Task, style: DemonstrationStyle, form: DemonstrationForm = "think"): string {
  const { evidence, working } = task.meta;
  if (!Array.isArray(evidence) || !evidence.every((sentence) => typeof sentence === "string")) {
    throw new WeirError(
      "WEIR_E_DATA",
      `expected a generated task with its evidence, task ${task.id} has none; demonstrations exist for synthetic tasks only`,
      { task: task.id },
    );
  }
  const lines = typeof working === "string" && working !== "" ? [...evidence, working] : evidence;
  return demonstrationText(lines, task.goldAnswers[0] as string, style, form);
}

/** The style that a task is demonstrated in: direct with probability `directShare`, fixed by seed and task. */
export function demonstrationStyle(task: Task, directShare: number, seed: number): DemonstrationStyle {
  return uniform(counterKey(seed, "demonstration-style", task.id), 0) < directShare ? "direct" : "quoting";
}
