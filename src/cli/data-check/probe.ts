import type { RewardMode } from "../../contracts/reward.js";
import type { ChatMessage, Task } from "../../contracts/task.js";
import { problemOf } from "../../rewards/judge/problem.js";
import { parsedGold, scoreByRule } from "../../rewards/rule.js";
import { withoutEndText } from "../../rewards/text.js";
import type { Ask } from "./answerers.js";

/** What can be said of a task from its question alone, and how hard it is for a model. */

/** The format line with which a prompt ends. */
const FORMAT_START = "Format your response as follows:";
/** Answers that a question may name without giving it away. */
const CHOICES: ReadonlySet<string> = new Set(["yes", "no"]);

const plain = (text: string) => ` ${(text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []).join(" ")} `;

/**
 * Whether the question holds a gold answer word for word. Letters of multiple choice, yes and no do not count, nor does a question that
 * offers its answer as one of two ("Who is older, Ada or Bo?").
 */
export function answerInQuestion(task: Task, mode: RewardMode): boolean {
  const question = problemOf(task);
  if (question === null) return false;
  const asked = plain(question);
  return task.goldAnswers.some((gold) => {
    const answer = goldOf(task, gold, mode);
    if (answer === null) return false;
    const words = plain(answer);
    const short = words.trim().length < 2 || CHOICES.has(words.trim());
    return !short && asked.includes(words) && !asked.includes(`${words}or `) && !asked.includes(` or${words}`);
  });
}

/** The answer that the rule reads; null where it reads none, or the source has no rule. */
function goldOf(task: Task, gold: string, mode: RewardMode): string | null {
  try {
    return parsedGold(task.source, gold, mode);
  } catch {
    return null;
  }
}

/** The task without its document; null where the document cannot be told apart. */
export function closedBookMessages(task: Task): ChatMessage[] | null {
  const question = problemOf(task);
  const content = task.messages.findLast(({ role }) => role === "user")?.content ?? "";
  const format = content.lastIndexOf(FORMAT_START);
  if (question === null || format < 0) return null;
  return [{ role: "user", content: `Answer the question.\n\n${question}\n\n${content.slice(format)}` }];
}

export interface RuleUse {
  readonly mode: RewardMode;
  readonly requireThink: boolean;
}

/** Share of right responses; null where there are none, or no rule scores them. */
export function passRate(task: Task, answers: readonly string[], rules: RuleUse): number | null {
  if (answers.length === 0) return null;
  try {
    const scores = answers.map(
      (response) =>
        scoreByRule({ source: task.source, response: withoutEndText(response), goldAnswers: task.goldAnswers }, rules)
          .score,
    );
    return scores.filter((score) => score === 1).length / scores.length;
  } catch {
    return null;
  }
}

/** Share of right responses of each task, by its place: with the document, or without it. */
export async function probe(
  ask: Ask,
  tasks: readonly Task[],
  kind: "with document" | "closed book",
  rules: RuleUse,
  told: (done: number, of: number) => void,
): Promise<(number | null)[]> {
  const asked = tasks.flatMap((task, at) => {
    const messages = kind === "closed book" ? closedBookMessages(task) : task.messages;
    return messages === null ? [] : [{ at, id: `${kind} ${task.id}`, messages }];
  });
  const answers = await ask(asked, (done) => told(done, asked.length));
  const rates = new Array<number | null>(tasks.length).fill(null);
  for (const [i, { at }] of asked.entries()) rates[at] = passRate(tasks[at] as Task, answers[i] ?? [], rules);
  return rates;
}
