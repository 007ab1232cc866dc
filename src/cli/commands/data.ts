/** `weir data`: makes synthetic data sets; describes, checks and shows data files. */

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Command, Option } from "commander";
import type { TaskFile } from "../../actors/run/gold-check.js";
import { vocabularyCheck } from "../../actors/run/prepare.js";
import { counterKey } from "../../algorithms/random.js";
import { REWARD_MODES, type RewardMode } from "../../contracts/reward.js";
import type { ChatMessage, Task } from "../../contracts/task.js";
import { FORMAT_CHOICES } from "../../data/formats/index.js";
import { countPromptTokens, measurePromptTokens } from "../../data/measure.js";
import { readTasks } from "../../data/read-tasks.js";
import { type DataStatistics, dataStatistics } from "../../data/statistics.js";
import {
  demonstration,
  demonstrationStyle,
  FAMILIES,
  type Family,
  generateTasks,
  type LengthDial,
  type Split,
  verlRow,
} from "../../data/synthetic/index.js";
import { writeJsonl, writeVerlParquet } from "../../data/write-parquet.js";
import { WeirError } from "../../errors.js";
import { readJsonIfPresent } from "../../model/io/json.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { growingNumbers, range, share, wholeNumber } from "../arguments.js";
import { type ExitCode, note, print, printJson, progress, table } from "../output.js";
import { type DataCheckOptions, dataCheckCommand } from "./data-check.js";
import { GoldRemarks, type ShowOptions, showCommand } from "./data-show.js";

export interface MakeOptions {
  readonly model?: string;
  readonly family: readonly string[];
  readonly facts?: string;
  readonly tokens?: string;
  readonly count: string;
  readonly heldout: string;
  readonly demonstrations: string;
  readonly directShare: string;
  readonly hops: string;
  readonly nearDistractors: string;
  readonly permute: boolean;
  readonly plainNames?: boolean;
  readonly format: string;
  readonly seed: string;
  readonly json?: boolean;
}

/** English text has about four characters per token; only used where no tokenizer was given. */
const CHARACTERS_PER_TOKEN = 4;

async function tokenCounter(model: string | undefined): Promise<(messages: readonly ChatMessage[]) => number> {
  if (model !== undefined) {
    const tokenizer = await loadTokenizer(model);
    return (messages) => countPromptTokens(messages, tokenizer);
  }
  note("no --model given: lengths are estimated as one token per four characters");
  return (messages) =>
    Math.ceil(messages.reduce((sum, message) => sum + (message.content ?? "").length, 0) / CHARACTERS_PER_TOKEN);
}

/** One dial per bucket: `--facts 8-12,12-20` or `--tokens 200-400,400-800`. */
function lengthDials(options: MakeOptions): LengthDial[] {
  if ((options.facts === undefined) === (options.tokens === undefined)) {
    throw new WeirError(
      "WEIR_E_USAGE",
      "give the length of each bucket by one of --facts or --tokens, such as --facts 8-12,12-20",
      {},
    );
  }
  const parts = (option: string, text: string) => text.split(",").map((part) => range(option, part));
  return options.facts === undefined
    ? parts("tokens", options.tokens ?? "").map((tokens) => ({ tokens }))
    : parts("facts", options.facts).map((facts) => ({ facts }));
}

export async function makeCommand(out: string, options: MakeOptions): Promise<ExitCode> {
  const unknown = options.family.find((family) => !(FAMILIES as readonly string[]).includes(family));
  if (unknown !== undefined)
    throw new WeirError("WEIR_E_USAGE", `--family: expected ${FAMILIES.join(", ")}, got "${unknown}"`, {
      family: unknown,
    });
  const dials = lengthDials(options);
  const seed = wholeNumber("seed", options.seed);
  const counts = {
    train: wholeNumber("count", options.count, 1),
    heldout: wholeNumber("heldout", options.heldout),
    demonstrations: wholeNumber("demonstrations", options.demonstrations),
  };
  const directShare = share("direct-share", options.directShare);
  const countTokens = await tokenCounter(options.model);
  const line = progress();
  const generate = (split: Split, purpose: string, bucket: number, family: Family, count: number) => {
    line.update(`${purpose}: bucket ${bucket + 1} of ${dials.length}, ${family}`);
    return generateTasks({
      seed: counterKey(seed, "data-make", purpose, bucket),
      count,
      split,
      family,
      length: dials[bucket] as LengthDial,
      countTokens,
      hops: range("hops", options.hops),
      permute: options.permute,
      plainNames: options.plainNames ?? false,
      nearDistractors: share("near-distractors", options.nearDistractors),
    });
  };
  const every = (split: Split, purpose: string, count: number): Task[] =>
    dials.flatMap((_, bucket) =>
      options.family.flatMap((family) => generate(split, purpose, bucket, family as Family, count)),
    );
  const train = every("train", "train", counts.train);
  const heldout = counts.heldout > 0 ? every("heldout", "heldout", counts.heldout) : [];
  const shown = options.family.flatMap((family) =>
    generate("train", "demonstrations", 0, family as Family, counts.demonstrations),
  );
  line.done();

  await mkdir(out, { recursive: true });
  const files: Record<string, { readonly path: string; readonly rows: number }> = {};
  const write = async (name: string, tasks: readonly Task[]) => {
    if (tasks.length === 0) return;
    const path = join(out, `${name}.${options.format}`);
    const rows = tasks.map((task, index) => verlRow({ ...task, meta: { ...task.meta, index } }));
    await (options.format === "parquet" ? writeVerlParquet(path, rows) : writeJsonl(path, rows));
    files[name] = { path, rows: rows.length };
  };
  await write("train", train);
  await write("heldout", heldout);
  if (shown.length > 0) {
    const path = join(out, "demonstrations.jsonl");
    await writeJsonl(
      path,
      shown.map((task) => ({
        prompt: task.messages,
        response: demonstration(task, demonstrationStyle(task, directShare, seed)),
      })),
    );
    files.demonstrations = { path, rows: shown.length };
  }
  if (options.json) printJson({ seed, files });
  else for (const { path, rows } of Object.values(files)) print(`${path}: ${rows} rows`);
  return 0;
}

export interface StatsOptions {
  readonly model?: string;
  readonly buckets?: string;
  readonly format: string;
  readonly mode: string;
  readonly json?: boolean;
}

/** Errors: WEIR_E_TOKENIZER naming the first prompt with a token that the model (its config.json) does not have. */
async function measured(files: readonly TaskFile[], model: string): Promise<Task[]> {
  const tokenizer = await loadTokenizer(model);
  const config = await readJsonIfPresent(join(model, "config.json"), "WEIR_E_MODEL_FILES");
  const vocabSize = typeof config?.vocab_size === "number" ? config.vocab_size : Number.POSITIVE_INFINITY;
  return measurePromptTokens(
    files.flatMap(({ tasks }) => tasks),
    tokenizer,
    vocabularyCheck(files, tokenizer, vocabSize),
  );
}

export async function statsCommand(files: readonly string[], options: StatsOptions): Promise<ExitCode> {
  const bounds = options.buckets === undefined ? [] : growingNumbers("buckets", options.buckets);
  if (options.model === undefined && bounds.length > 0)
    throw new WeirError(
      "WEIR_E_USAGE",
      "--buckets are in tokens: give the model folder whose tokenizer counts them with --model",
      {},
    );
  const read: TaskFile[] = [];
  for (const file of files) read.push({ file, tasks: await readTasks(file, { format: options.format }) });
  const remarks = new GoldRemarks(options.mode as RewardMode);
  for (const { file, tasks } of read) for (const [row, task] of tasks.entries()) remarks.see(file, row, task);
  const tasks = options.model === undefined ? read.flatMap((one) => one.tasks) : await measured(read, options.model);
  const statistics = dataStatistics(tasks, bounds);
  if (options.json) printJson({ ...statistics, unscorable: remarks.counts() });
  else printStatistics(statistics);
  for (const remark of remarks.text()) note(remark);
  return 0;
}

function printStatistics(statistics: DataStatistics): void {
  print(`${statistics.count} tasks, fingerprint ${statistics.fingerprint}`);
  print();
  table(["source", "tasks"], Object.entries(statistics.sources));
  print();
  table(
    [`prompt length (${statistics.unit})`, ...Object.keys(statistics.length)],
    [["all tasks", ...Object.values(statistics.length)]],
  );
  if (statistics.buckets.length === 0) return;
  print();
  table(
    ["bucket", "tokens", "tasks"],
    statistics.buckets.map(({ k, minTokens, maxTokens, count }) => [
      k === null ? "beyond" : `phase ${k}`,
      maxTokens === null ? `over ${minTokens}` : `${minTokens + 1} to ${maxTokens}`,
      count,
    ]),
  );
}

export function register(program: Command): void {
  const data = program.command("data").description("make synthetic data sets; describe, check and show data files");
  data
    .command("make")
    .description("generate long-document questions over real facts: train, held-out and demonstrations")
    .argument("<out>", "folder to write into")
    .option("--model <dir>", "model folder whose tokenizer measures the prompts")
    .option("--family <names...>", `question families: ${FAMILIES.join(", ")}`, ["multi-hop"])
    .option("--facts <ranges>", "facts per document, one range per length bucket, such as 8-12,12-20")
    .option("--tokens <ranges>", "prompt tokens, one range per length bucket, such as 200-400,400-800")
    .option("--count <n>", "training tasks per bucket and family", "100")
    .option("--heldout <n>", "held-out tasks per bucket and family, over other entities", "32")
    .option("--demonstrations <n>", "SFT rows of the first bucket per family", "0")
    .option("--direct-share <share>", "share of demonstrations that answer without quoting evidence", "0.75")
    .option("--hops <range>", "facts that an answer combines", "2-2")
    .option("--near-distractors <share>", "share of distractors about the same entities or relations", "0")
    .option("--no-permute", "keep the real facts instead of handing values to other entities")
    .option("--plain-names", "only entities whose name is one short word")
    .addOption(new Option("--format <name>", "file format").choices(["parquet", "jsonl"]).default("parquet"))
    .option("--seed <n>", "seed of every choice", "1")
    .option("--json", "print what was written as JSON")
    .addHelpText("after", "\nExit codes: 0 written, 2 wrong usage or dials, 3 dials that cannot be met.")
    .action(async (out: string, options: MakeOptions) => {
      process.exitCode = await makeCommand(out, options);
    });
  data
    .command("stats")
    .description("count tasks, sources and prompt lengths of data files")
    .argument("<files...>", "parquet or jsonl files, also gzip-compressed jsonl")
    .option("--model <dir>", "model folder whose tokenizer and chat template measure the prompts")
    .option("--buckets <bounds>", "upper bounds of length buckets in tokens, such as 20000,60000")
    .addOption(formatOption())
    .addOption(modeOption())
    .option("--json", "print JSON")
    .addHelpText("after", "\nExit codes: 0 described, 2 wrong usage or missing file, 3 unreadable data.")
    .action(async (files: string[], options: StatsOptions) => {
      process.exitCode = await statsCommand(files, options);
    });
  registerCheck(data);
  data
    .command("show")
    .description("print tasks as weir reads them: id, source, the judge's question, messages, gold answers")
    .argument("<files...>", "parquet or jsonl files, also gzip-compressed jsonl")
    .addOption(formatOption())
    .addOption(modeOption())
    .option("--limit <n>", "only the first tasks")
    .option("--json", "print one JSON object per line: id, source, question, messages, goldAnswers, meta")
    .addHelpText(
      "after",
      "\nRows that no rule can score are shown, and named on standard error." +
        "\nExit codes: 0 shown, 2 wrong usage or missing file, 3 unreadable data.",
    )
    .action(async (files: string[], options: ShowOptions) => {
      process.exitCode = await showCommand(files, options);
    });
}

function registerCheck(data: Command): void {
  data
    .command("check")
    .description("find duplicates, tasks that are in the held-out data, that no rule scores, or that need no document")
    .argument("<files...>", "parquet or jsonl files of training tasks")
    .option("--heldout <files...>", "files of held-out tasks that no training task may repeat", [])
    .option("--near <similarity>", "smallest similarity of near duplicates, over runs of five words", "0.8")
    .option("--model <dir>", "model folder: its tokenizer measures the prompts, and --ask asks it")
    .option("--buckets <bounds>", "upper bounds of length buckets in tokens, such as 20000,60000")
    .option(
      "--ask",
      "have a model answer the tasks, with their documents and without: difficulty, need of the document",
      false,
    )
    .option("--endpoint <url>", "server that is asked in place of --model, up to and including /v1")
    .option("--endpoint-model <name>", "name of its model")
    .option("--api-key-env <name>", "environment variable that holds its key")
    .option("--samples <n>", "responses to each task, and to each without its document", "4")
    .option("--limit <n>", "ask about the first tasks only")
    .option("--max-tokens <n>", "longest response", "1024")
    .option("--temperature <t>", "0 is greedy", "0.7")
    .option("--top-p <p>", "nucleus mass", "0.95")
    .option("--no-think", "read the whole response where </think> is missing")
    .option("--seed <n>", "seed of the sampling", "1")
    .option("--backend <name>", "auto, tensorflow, wasm or cpu", "auto")
    .addOption(formatOption())
    .addOption(modeOption())
    .option("--write <out>", "write the file again with columns weir_…; a folder where there are several files")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nFaults: training tasks that a held-out file repeats, equal questions with other gold answers, tasks that no rule scores." +
        "\nExit codes: 0 no faults, 1 faults, 2 wrong usage or missing file, 3 unreadable data, 4 the model or server failed.",
    )
    .action(async (files: string[], options: DataCheckOptions) => {
      process.exitCode = await dataCheckCommand(files, options);
    });
}

const formatOption = () => new Option("--format <name>", "file format").choices(FORMAT_CHOICES).default("auto");
const modeOption = () =>
  new Option("--mode <mode>", "rules that read the gold answers").choices(REWARD_MODES).default("paper");
