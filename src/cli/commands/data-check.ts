/** `weir data check`: what is wrong with a data set before it is trained on, and how hard its tasks are for a model. */

import { mkdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { TaskFile } from "../../actors/run/gold-check.js";
import type { RewardMode } from "../../contracts/reward.js";
import { addColumns } from "../../data/add-columns.js";
import type { Duplicate } from "../../data/duplicates.js";
import { countPromptTokens } from "../../data/measure.js";
import { readTasks } from "../../data/read-tasks.js";
import { type DataStatistics, dataStatistics } from "../../data/statistics.js";
import { WeirError } from "../../errors.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { growingNumbers, numberAtLeast, share, wholeNumber } from "../arguments.js";
import { type Ask, type AskOptions, withFolder, withServer } from "../data-check/answerers.js";
import {
  type CheckedTask,
  type CheckReport,
  checkTasks,
  columnsOf,
  type DuplicateCounts,
  reportOf,
} from "../data-check/check.js";
import { probe, type RuleUse } from "../data-check/probe.js";
import { type ExitCode, note, print, printJson, progress, table } from "../output.js";

export interface DataCheckOptions {
  readonly heldout: readonly string[];
  readonly model?: string;
  readonly endpoint?: string;
  readonly endpointModel?: string;
  readonly apiKeyEnv?: string;
  readonly ask: boolean;
  readonly samples: string;
  readonly limit?: string;
  readonly maxTokens: string;
  readonly temperature: string;
  readonly topP: string;
  readonly think: boolean;
  readonly near: string;
  readonly buckets?: string;
  readonly format: string;
  readonly mode: string;
  readonly seed: string;
  readonly backend?: string;
  readonly write?: string;
  readonly json?: boolean;
}

/** Tasks of each kind that are named one by one; the rest is counted. */
const NAMED = 5;

export async function dataCheckCommand(files: readonly string[], options: DataCheckOptions): Promise<ExitCode> {
  const bounds = options.buckets === undefined ? [] : growingNumbers("buckets", options.buckets);
  if (bounds.length > 0 && options.model === undefined)
    throw usage("--buckets are in tokens: give the model folder whose tokenizer counts them with --model");
  const near = share("near", options.near);
  const mode = options.mode as RewardMode;
  const ask = askOptions(options);
  const written = outputsOf(files, options.write);
  const [train, heldout] = [await read(files, options), await read(options.heldout, options)];
  const checked = checkTasks(train, heldout, { mode, near });
  const rules = { mode, requireThink: options.think };
  const limit = options.limit === undefined ? Number.POSITIVE_INFINITY : wholeNumber("limit", options.limit, 1);
  const chosen = checked.train.slice(0, limit);
  const asked = await withAnswerer(options, ask, (by) => probed(by, chosen, rules));
  const tasks = [...(asked ?? []), ...checked.train.slice(asked?.length ?? 0)];
  const report = reportOf(tasks, checked.heldout, asked?.length ?? 0);
  const lengths = dataStatistics(
    tasks.map(({ task }) => task),
    bounds,
  );
  await write(files, tasks, written, asked !== null);
  if (options.json) printJson({ ...report, lengths, written });
  else {
    printReport(report, lengths);
    for (const remark of remarksOf(tasks, checked.heldout)) note(remark);
    for (const path of written) note(`written: ${path}`);
  }
  return report.faults > 0 ? 1 : 0;
}

const usage = (text: string) => new WeirError("WEIR_E_USAGE", text, {});

function askOptions(options: DataCheckOptions): AskOptions {
  return {
    samples: wholeNumber("samples", options.samples, 1),
    maxTokens: wholeNumber("max-tokens", options.maxTokens, 1),
    temperature: numberAtLeast("temperature", options.temperature, 0),
    topP: share("top-p", options.topP),
    seed: wholeNumber("seed", options.seed),
  };
}

/** The tasks of files; their prompts are measured where there is a model folder. */
async function read(files: readonly string[], { model, format }: DataCheckOptions): Promise<TaskFile[]> {
  const tokenizer = model === undefined ? null : await loadTokenizer(model);
  const result: TaskFile[] = [];
  for (const file of files) {
    const tasks = await readTasks(file, { format });
    const measured =
      tokenizer === null
        ? tasks
        : tasks.map((task) => ({ ...task, promptTokens: countPromptTokens(task.messages, tokenizer) }));
    result.push({ file, tasks: measured });
  }
  return result;
}

/** Runs `work` with the model that the options name; null where none is to be asked. Errors: WEIR_E_USAGE. */
async function withAnswerer<T>(
  options: DataCheckOptions,
  ask: AskOptions,
  work: (by: Ask) => Promise<T>,
): Promise<T | null> {
  const { endpoint, endpointModel, apiKeyEnv, model, backend } = options;
  if (!options.ask) {
    if (endpoint !== undefined) throw usage("--endpoint names a server to be asked: give --ask too, or leave it out");
    return null;
  }
  if (endpoint === undefined) {
    if (model === undefined) throw usage("--ask needs a model: a folder with --model, or a server with --endpoint");
    return withFolder(model, backend, ask, work);
  }
  if (endpointModel === undefined)
    throw usage("--endpoint needs the name of the server's model: give --endpoint-model NAME");
  return withServer({ url: endpoint, model: endpointModel, apiKeyEnv: apiKeyEnv ?? null }, ask, work);
}

/** The tasks with what a model makes of them, with their document and without it. */
async function probed(by: Ask, tasks: readonly CheckedTask[], rules: RuleUse): Promise<CheckedTask[]> {
  const line = progress();
  const all = tasks.map(({ task }) => task);
  const told = (kind: string) => (done: number, of: number) => line.update(`${kind}: ${done} of ${of} tasks`);
  try {
    const closed = await probe(by, all, "closed book", rules, told("without document"));
    const open = await probe(by, all, "with document", rules, told("with document"));
    return tasks.map((task, i) => ({ ...task, closedBookRate: closed[i] ?? null, passRate: open[i] ?? null }));
  } finally {
    line.done();
  }
}

/** Where the files are written: one file under the name, several into a folder of it. Errors: WEIR_E_USAGE. */
function outputsOf(files: readonly string[], out: string | undefined): string[] {
  if (out === undefined) return [];
  const paths = files.map((file) => (files.length > 1 ? join(out, basename(file)) : out));
  const repeated = paths.find((path, i) => paths.indexOf(path) !== i || files.includes(path));
  if (repeated !== undefined)
    throw usage(
      `--write: "${repeated}" would replace a file that is checked, or be written twice; give another name, or check one file at a time`,
    );
  return paths;
}

async function write(
  files: readonly string[],
  tasks: readonly CheckedTask[],
  paths: readonly string[],
  asked: boolean,
) {
  for (const [i, path] of paths.entries()) {
    await mkdir(dirname(path), { recursive: true });
    const own = tasks.filter((task) => task.file === files[i]);
    await addColumns(files[i] as string, path, columnsOf(own, asked));
  }
}

const percent = (part: number, whole: number) => (whole === 0 ? "–" : `${((100 * part) / whole).toFixed(1)} %`);

function printReport(report: CheckReport, lengths: DataStatistics): void {
  const { tasks, unscorable, duplicates, closedBook, passRate } = report;
  const counts = (name: string, found: DuplicateCounts) =>
    [name, found.exact, found.near, found.document, found.conflicting] as const;
  print(`${tasks.train} tasks, ${tasks.heldout} held-out tasks`);
  print();
  table(
    ["duplicates", "exact", "near", "same document", "other gold answer"],
    [
      counts("within the tasks", duplicates.train),
      ...(tasks.heldout > 0
        ? [counts("within held-out", duplicates.heldout), counts("tasks in held-out", duplicates.between)]
        : []),
    ],
  );
  print();
  table(
    ["check", "tasks", "share"],
    [
      ["no rule can score", unscorable.train, percent(unscorable.train, tasks.train)],
      ["held-out, no rule can score", unscorable.heldout, percent(unscorable.heldout, tasks.heldout)],
      ["answer in the question", report.answerInQuestion, percent(report.answerInQuestion, tasks.train)],
    ],
  );
  if (closedBook && passRate) {
    print();
    table(
      ["model", "tasks", "no answer", "never right", "sometimes", "always", "pass rate"],
      (
        [
          ["without document", closedBook],
          ["with document", passRate],
        ] as const
      ).map(([name, rates]) => [
        ...[name, rates.tasks, rates.failed, rates.never, rates.sometimes, rates.always],
        rates.mean === null ? "–" : rates.mean.toFixed(3),
      ]),
    );
  }
  print();
  table(
    [`prompt length (${lengths.unit})`, ...Object.keys(lengths.length)],
    [["tasks", ...Object.values(lengths.length)]],
  );
  if (lengths.buckets.length > 0) {
    print();
    table(
      ["bucket", "tasks"],
      lengths.buckets.map(({ minTokens, maxTokens, count }) => [
        maxTokens === null ? `over ${minTokens}` : `${minTokens + 1} to ${maxTokens}`,
        count,
      ]),
    );
  }
  print();
  print(report.faults === 0 ? "no faults" : `${report.faults} faults`);
}

/** The first tasks of each fault, by file and row. */
function remarksOf(train: readonly CheckedTask[], heldout: readonly CheckedTask[]): string[] {
  const named = (tasks: readonly CheckedTask[], text: (task: CheckedTask) => string | null) => {
    const lines = tasks.flatMap((task) => {
      const found = text(task);
      return found === null ? [] : [`${task.file}, row ${task.row}: ${found}`];
    });
    const more = lines.length - NAMED;
    return [...lines.slice(0, NAMED), ...(more > 0 ? [`… and ${more} more of these`] : [])];
  };
  const conflict = (found: Duplicate | null) =>
    found?.conflicting ? `its gold answers differ from those of "${found.of}"` : null;
  const match = (found: Duplicate | null) =>
    found === null || found.kind === "document" ? null : `held-out task "${found.of}" asks the same (${found.kind})`;
  return [
    ...named(train, (task) => match(task.heldout)),
    ...named([...train, ...heldout], (task) => conflict(task.duplicate)),
    ...named([...train, ...heldout], ({ scorable }) =>
      scorable ? null : "no rule can score it; weir data show says why",
    ),
  ];
}
