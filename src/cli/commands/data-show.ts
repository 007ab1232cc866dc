/** `weir data show`: tasks as weir reads them, one after the other. A debugging command: tasks that no rule can score are shown too. */

import { checkGolds, goldProblem, sourceCounts } from "../../actors/run/gold-check.js";
import type { RewardMode } from "../../contracts/reward.js";
import type { ChatMessage, Task } from "../../contracts/task.js";
import { streamTasks } from "../../data/read-tasks.js";
import { problemOf } from "../../rewards/judge/problem.js";
import { wholeNumber } from "../arguments.js";
import { type ExitCode, note, print } from "../output.js";

export interface ShowOptions {
  readonly format: string;
  readonly mode: string;
  readonly limit?: string;
  readonly json?: boolean;
}

/** Unscorable rows that are named one by one; the rest is counted. */
const NAMED_ROWS = 5;

export async function showCommand(files: readonly string[], options: ShowOptions): Promise<ExitCode> {
  const limit = options.limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber("limit", options.limit, 1);
  const remarks = new GoldRemarks(options.mode as RewardMode);
  let shown = 0;
  for (const file of files) {
    let row = 0;
    for await (const task of streamTasks(file, { format: options.format })) {
      if (shown >= limit) break;
      remarks.see(file, row, task);
      if (options.json) print(terminalSafe(JSON.stringify(taskView(task))));
      else print(`${shown > 0 ? "\n" : ""}${printable(taskText(task, file, row))}`);
      shown++;
      row++;
    }
  }
  for (const remark of remarks.text()) note(printable(remark));
  return 0;
}

/** Warnings about rows that no rule can score. */
export class GoldRemarks {
  private readonly withoutRule: Task[] = [];
  private readonly named: string[] = [];
  private unreadable = 0;
  private goldsLeftOut = 0;

  constructor(private readonly mode: RewardMode) {}

  see(file: string, row: number, task: Task): void {
    const { withoutRule, unreadable, goldsLeftOut } = checkGolds([{ file, tasks: [task] }], this.mode);
    this.withoutRule.push(...withoutRule);
    this.goldsLeftOut += goldsLeftOut;
    for (const gold of unreadable) {
      this.unreadable++;
      if (this.named.length < NAMED_ROWS) this.named.push(`warning: ${goldProblem({ ...gold, row })}`);
    }
  }

  /** Counts for reports. */
  counts(): { readonly withoutRule: number; readonly unreadableGolds: number } {
    return { withoutRule: this.withoutRule.length, unreadableGolds: this.unreadable };
  }

  /** One line for each kind of problem, naming the first rows. */
  text(): string[] {
    const lines = [...this.named];
    const more = this.unreadable - this.named.length;
    if (more > 0) lines.push(`warning: ${more} more rows whose gold answer cannot be read`);
    if (this.goldsLeftOut > 0)
      lines.push(`warning: ${this.goldsLeftOut} gold answers could not be read; their tasks have others, which count`);
    if (this.withoutRule.length > 0)
      lines.push(
        `warning: there is no reward rule for the data sources ${sourceCounts(this.withoutRule)}: weir train refuses these rows unless it is given a reward part, weir eval leaves them out of the average`,
      );
    return lines;
  }
}

function taskView(task: Task) {
  const { id, source, messages, goldAnswers, meta } = task;
  return { id, source, question: problemOf(task), messages, goldAnswers, meta };
}

function taskText(task: Task, file: string, row: number): string {
  return [
    `task     ${task.id}`,
    `from     ${file}, row ${row}`,
    `source   ${task.source}`,
    `question ${problemOf(task) ?? "– (the prompt has no question between </text> and the format line)"}`,
    ...task.goldAnswers.map((gold) => `gold     ${gold}`),
    `meta     ${JSON.stringify(task.meta)}`,
    ...task.messages.map(messageText),
  ].join("\n");
}

function messageText({ role, content, ...others }: ChatMessage): string {
  const fields = Object.keys(others).length === 0 ? "" : `\n${JSON.stringify(others)}`;
  return `--- ${role}\n${content ?? "(no content)"}${fields}`;
}

/** Text for a terminal: its control characters, except line ends and tabs, are shown as U+FFFD. */
const printable = (text: string): string => text.replaceAll(/[^\P{Cc}\n\t]/gu, "\uFFFD");

/** JSON for a terminal: JSON itself leaves DEL and the C1 controls as they are. */
const terminalSafe = (json: string): string =>
  json.replaceAll(/[\u007f-\u009f]/g, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`);
