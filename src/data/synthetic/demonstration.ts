/**
 * Responses that a policy is shown during warm-up, as they follow a generation prompt that has opened `<think>`.
 * `quoting` states the evidence and then answers; `direct` closes the thinking part at once.
 */
import { counterKey, uniform } from "../../algorithms/random.js";
import type { Task } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";

export type DemonstrationStyle = "direct" | "quoting";

/** The response text, without the end-of-turn token: `[evidence]\n</think>\n\n<answer sentence>`. */
export function demonstrationText(evidence: readonly string[], goldAnswer: string, style: DemonstrationStyle): string {
  const thinking = style === "quoting" ? `${evidence.join(" ")}\n` : "";
  return `${thinking}</think>\n\n${goldAnswer}`;
}

/** The demonstration of a generated task. Throws WEIR_E_DATA for a task that carries no evidence. */
export function demonstration(task: Task, style: DemonstrationStyle): string {
  const { evidence, working } = task.meta;
  if (!Array.isArray(evidence) || !evidence.every((sentence) => typeof sentence === "string")) {
    throw new WeirError(
      "WEIR_E_DATA",
      `expected a generated task with its evidence, task ${task.id} has none; demonstrations exist for synthetic tasks only`,
      { task: task.id },
    );
  }
  const lines = typeof working === "string" && working !== "" ? [...evidence, working] : evidence;
  return demonstrationText(lines, task.goldAnswer, style);
}

/** The style that a task is demonstrated in: direct with probability `directShare`, fixed by seed and task. */
export function demonstrationStyle(task: Task, directShare: number, seed: number): DemonstrationStyle {
  return uniform(counterKey(seed, "demonstration-style", task.id), 0) < directShare ? "direct" : "quoting";
}
