import { type Command, Option } from "commander";
import { WeirError } from "../../errors.js";
import { benchmarkCommand } from "../eval/benchmark-command.js";
import { compareCommand } from "../eval/compare-command.js";
import type { EvalCommandOptions } from "../eval/options.js";
import { taskAccuracy } from "../eval/task-accuracy.js";
import type { ExitCode } from "../output.js";

/** `weir eval`: benchmarks (`--bench`), tasks by the training rewards (`--data`), and the comparison of two evaluations. */

/** Defaults of the two forms: greedy and short for tasks; for benchmarks those of QwenLong-L1's evaluation. */
const TASK_DEFAULTS = {
  maxTokens: "1024",
  temperature: "0",
  topP: "1",
  perBucket: "128",
  judge: "openai",
  think: true,
};
const BENCH_DEFAULTS = { maxTokens: "10000", temperature: "0.7", topP: "0.95" };

/** Options that only benchmarks have. */
const BENCH_ONLY = [
  "benchData",
  "run",
  "step",
  "endpoint",
  "apiKeyEnv",
  "tokenizer",
  "config",
  "out",
  "retryFailed",
  "samples",
  "limit",
] as const;

export async function evalCommand(options: EvalCommandOptions): Promise<ExitCode> {
  const { bench, data, model, mode } = options;
  if (mode !== "paper" && mode !== "released")
    throw new WeirError("WEIR_E_USAGE", `--mode: expected paper or released, got "${mode}"`, { mode });
  if ((bench === undefined) === (data === undefined))
    throw new WeirError(
      "WEIR_E_USAGE",
      "weir eval takes --bench NAME=FILE (benchmarks) or --data FILE (tasks), and not both",
    );
  if (bench !== undefined) return benchmarkCommand({ ...BENCH_DEFAULTS, ...options, bench, mode });
  if (model === undefined)
    throw new WeirError(
      "WEIR_E_USAGE",
      "weir eval --data needs --model, a Hugging Face folder; other policies are for --bench",
    );
  const foreign = BENCH_ONLY.find((name) => options[name] !== undefined);
  if (foreign !== undefined)
    throw new WeirError(
      "WEIR_E_USAGE",
      `--${dashed(foreign)} goes with --bench; --data asks a model folder and writes nothing`,
      {
        option: foreign,
      },
    );
  return taskAccuracy({ ...TASK_DEFAULTS, ...options, model, data: data ?? [], mode });
}

const dashed = (name: string) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
const collect = (value: string, all: readonly string[]) => [...all, value];

export function register(program: Command): void {
  const command = program
    .command("eval")
    .description("score a policy on benchmarks, or a model on tasks; compare two evaluations")
    .option(
      "--bench <specs...>",
      "benchmarks: NAME=FILE, a FILE whose name is a benchmark's, or a NAME in --bench-data",
    )
    .option("--bench-data <dir>", "folder with a file NAME.jsonl, .json or .parquet for each NAME of --bench")
    .option("--data <files...>", "instead: task files (verl-style parquet, jsonl, LongBench, DocMath, Frames)")
    .option("--model <dir>", "policy: a Hugging Face folder; with --endpoint the model's name there")
    .option("--run <dir>", "policy: the newest model of a run")
    .option("--step <n>", "with --run: that of its checkpoint of this step")
    .option("--endpoint <url>", "policy: an OpenAI-compatible server, up to and including /v1")
    .option("--api-key-env <variable>", "environment variable with the key of that server")
    .option("--tokenizer <dir>", "folder whose tokenizer counts tokens for --endpoint and cuts long prompts")
    .option("--concurrency <n>", "requests to that server at the same time", "16")
    .option("--timeout-s <n>", "deadline of one of them, s", "1800")
    .option(
      "--config <file>",
      "policy: model.path and sampler of a configuration (docs/config.md); judge and rewards, too",
    )
    .option(
      "--set <path=value>",
      "an option of the configuration, such as reward.judge.url=… (repeatable)",
      collect,
      [],
    )
    .option("--processes <n>", "engine processes that share the work (1)")
    .option("--out <dir>", "folder of the evaluation; the same command goes on with one that was interrupted")
    .option("--retry-failed", "draw missing responses and compute missing scores of --out again")
    .option("--samples <n>", "responses per question (1)")
    .option("--limit <n>", "questions per benchmark, the first in file order")
    .option("--max-input <n>", "longest prompt in tokens; longer ones are cut in the middle", "120000")
    .option("--buckets <bounds>", "upper bounds of the length buckets in tokens, such as 20000,60000")
    .option("--mode <mode>", "rules of the paper (exact match) or released (substring)", "paper")
    .option(
      "--reward <name>",
      "with --data: reward part that scores: rule, hybrid (with a judge of --parts), or one of --parts",
      "rule",
    )
    .option("--judge <name>", "judge part; with --bench one is asked where it is named or reward.judge.url is set")
    .option("--parts <file>", "load parts of your own from this ES module (docs/parts.md; repeatable)", collect, [])
    .option("--think", "a response without </think> has no answer (--data: unless --no-think)")
    .option("--no-think", "read the whole response where </think> is missing (--bench: unless --think)")
    .option("--max-tokens <n>", "longest response (--bench: 10000, --data: 1024)")
    .option("--temperature <t>", "0 is greedy (--bench: 0.7, --data: 0)")
    .option("--top-p <p>", "nucleus mass (--bench: 0.95, --data: 1)")
    .option("--per-bucket <n>", "questions or tasks per bucket, the first in file order (--bench: all, --data: 128)")
    .option("--rows <n>", "responses per sampler call", "32")
    .option("--seed <n>", "seed of the sampling", "1")
    .addOption(new Option("--backend <name>", "auto, tensorflow, wasm or cpu").default("auto"))
    .option("--json", "print the report as JSON (docs/guides/evaluate.md; --data: heldout.<mode>.<bucket>)")
    .action(async (options: EvalCommandOptions) => {
      process.exitCode = await evalCommand(options);
    });
  command
    .command("compare")
    .description("difference of two evaluations, question by question, with its interval and paired tests")
    .argument("<a>", "folder of an evaluation")
    .argument("<b>", "folder of another one")
    .action(async (a: string, b: string, _: unknown, self: Command) => {
      process.exitCode = await compareCommand(a, b, self.optsWithGlobals<{ readonly json?: boolean }>());
    });
}
