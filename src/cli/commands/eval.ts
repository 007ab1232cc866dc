import type { Command } from "commander";
import { createRegistry } from "../../actors/built-ins.js";
import { evaluateHeldout } from "../../actors/evaluate.js";
import { loadParts } from "../../actors/parts-file.js";
import { prepareTasks } from "../../actors/prepare.js";
import { phasesFrom } from "../../algorithms/phases.js";
import { parseConfig } from "../../config/load.js";
import { readTasks } from "../../data/read-tasks.js";
import { WeirError } from "../../errors.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { numberAtLeast } from "../arguments.js";
import { type ExitCode, note, print, printJson } from "../output.js";
import { heldoutTable } from "../report-table.js";
import { withEngine } from "../with-engine.js";

/** `weir eval`: accuracy of a model on tasks, by length bucket, scored by the rules. */

export interface EvalCommandOptions {
  readonly model: string;
  readonly data: readonly string[];
  readonly buckets?: string;
  readonly mode: string;
  readonly think: boolean;
  readonly maxTokens: string;
  readonly temperature: string;
  readonly topP: string;
  readonly perBucket: string;
  readonly rows: string;
  readonly seed: string;
  readonly backend?: string;
  readonly reward: string;
  readonly judge: string;
  readonly parts: readonly string[];
  readonly json?: boolean;
}

export async function evalCommand(options: EvalCommandOptions): Promise<ExitCode> {
  if (options.mode !== "paper" && options.mode !== "released") {
    throw new WeirError("WEIR_E_USAGE", `--mode: expected paper or released, got "${options.mode}"`, {
      mode: options.mode,
    });
  }
  const mode = options.mode;
  const maxTokens = numberAtLeast("max-tokens", options.maxTokens, 1);
  const temperature = numberAtLeast("temperature", options.temperature, 0);
  const seed = numberAtLeast("seed", options.seed, 0);
  const { reward, concurrency, timeoutMs } = await rewardOf(options, mode);
  const tokenizer = await loadTokenizer(options.model);
  const tasks = (await Promise.all(options.data.map((file) => readTasks(file, { format: "auto" })))).flat();
  const report = await withEngine(options.model, options.backend, async (engine, signal) => {
    const limit = engine.model.maxPositions - maxTokens;
    const bounds = options.buckets?.split(",").map((bound) => numberAtLeast("buckets", bound, 1)) ?? [limit];
    const phases = phasesFrom(bounds.map((bound) => ({ maxTokens: bound, steps: 1 })));
    const prepared = prepareTasks(tasks, tokenizer, phases, limit, "truncate");
    if (prepared.tasks.length === 0) {
      throw new WeirError(
        "WEIR_E_EMPTY_PHASE",
        `none of the ${tasks.length} tasks lies within the buckets ${bounds.join(", ")}; give larger bounds`,
        { bounds },
      );
    }
    if (prepared.beyondPhases > 0)
      note(`${prepared.beyondPhases} tasks are longer than the last bucket and were left out`);
    const buckets = await evaluateHeldout(
      engine,
      reward,
      prepared.tasks,
      {
        seed,
        buckets: phases,
        tasksPerBucket: numberAtLeast("per-bucket", options.perBucket, 1),
        promptsPerCall: numberAtLeast("rows", options.rows, 1),
        sampling: {
          temperature,
          topP: numberAtLeast("top-p", options.topP, 0),
          topK: 0,
          maxTokens,
          stopIds: engine.model.stopIds,
        },
        rewardConcurrency: concurrency,
        rewardTimeoutMs: timeoutMs,
        decode: (ids) => tokenizer.decode(ids, { skipSpecialTokens: false }),
      },
      signal,
    );
    return { heldout: { [mode]: buckets }, seed, temperature, engine: engine.info.backend };
  });
  if (options.json) printJson(report);
  else print(heldoutTable(report) ?? "nothing was evaluated");
  return 0;
}

/** The reward that is named, of weir or of a file with parts. Errors: WEIR_E_ACTOR_*, WEIR_E_PART, WEIR_E_PARTS_FILE. */
async function rewardOf(options: EvalCommandOptions, mode: "paper" | "released") {
  const config = parseConfig({
    model: { path: options.model },
    data: { train: [...options.data] },
    reward: { actor: options.reward, mode, requireThink: options.think, judge: { actor: options.judge } },
  });
  const registry = createRegistry(config, {
    publish: () => undefined,
    report: (error) => note(error.message),
  });
  for (const path of options.parts)
    for (const { kind, name, factory } of (await loadParts(path)).parts) registry.register(kind, name, factory);
  const { concurrency, timeoutMs } = config.reward;
  return { reward: registry.build("reward", { reward: options.reward, judge: options.judge }), concurrency, timeoutMs };
}

export function register(program: Command): void {
  program
    .command("eval")
    .description("accuracy of a model on tasks by length bucket, scored by the rules")
    .requiredOption("--model <dir>", "Hugging Face folder")
    .requiredOption("--data <files...>", "task files (verl-style parquet, jsonl, LongBench, DocMath, Frames)")
    .option("--buckets <bounds>", "upper bounds of the length buckets in tokens, such as 20000,60000")
    .option("--mode <mode>", "rules of the paper (exact match) or released (substring)", "paper")
    .option(
      "--reward <name>",
      "reward part that scores: rule, hybrid (with a judge of --parts), or one of --parts",
      "rule",
    )
    .option("--judge <name>", "judge part that such a reward asks", "openai")
    .option(
      "--parts <file>",
      "load parts of your own from this ES module (docs/parts.md; repeatable)",
      (value: string, all: string[]) => [...all, value],
      [] as string[],
    )
    .option("--no-think", "read the whole response where </think> is missing")
    .option("--max-tokens <n>", "longest response", "1024")
    .option("--temperature <t>", "0 is greedy", "0")
    .option("--top-p <p>", "nucleus mass", "1")
    .option("--per-bucket <n>", "tasks per bucket, the first in file order", "128")
    .option("--rows <n>", "prompts per sampler call", "32")
    .option("--seed <n>", "seed of the sampling", "1")
    .option("--backend <name>", "auto, tensorflow, wasm or cpu", "auto")
    .option("--json", "print JSON: heldout.<mode>.<bucket> = {n, correct, unscored}")
    .action(async (options: EvalCommandOptions) => {
      process.exitCode = await evalCommand(options);
    });
}
