import { join, resolve } from "node:path";
import type { Command } from "commander";
import { createTrainingSystem, type RunResult } from "../../actors/training-system.js";
import { applySettings } from "../../config/load.js";
import type { ConfigInput } from "../../config/schema.js";
import { countPromptTokens } from "../../data/measure.js";
import { locateNative, packageRoot } from "../../model/engine/native/index.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { wholeNumber } from "../arguments.js";
import { makeDemoData } from "../demo/data.js";
import { DEMO_OPTIONS, SFT_ONLY_EPOCHS, WASM_OPTIONS } from "../demo/recipe.js";
import { type ExitCode, note, print, printJson } from "../output.js";
import { heldoutTable } from "../report-table.js";
import { watchToEnd } from "./train.js";

/**
 * `weir demo`: the whole of weir on a small policy in a few minutes. Makes data, warms up by SFT, runs phased RL over growing
 * lengths, evaluates held-out tasks before, between and after, and serves the monitor all the while.
 */

export interface DemoCommandOptions {
  readonly seed: string;
  readonly out: string;
  readonly exit?: boolean;
  readonly sftOnly?: boolean;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** The shipped policy that the demo starts from. */
export const WARMSTART = join("assets", "warmstart");

export async function demoCommand(options: DemoCommandOptions): Promise<ExitCode> {
  const seed = wholeNumber("seed", options.seed);
  const started = performance.now();
  const directory = resolve(options.out);
  const id = `demo-seed${seed}-${new Date().toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}`;
  const model = join(packageRoot(), WARMSTART);
  const tokenizer = await loadTokenizer(model);
  const native = locateNative();
  const small = !native.found;
  if (small) note(`on wasm, since ${native.reason}; with few steps: enough to see it run, not to see it learn`);
  note("making long-document questions over permuted facts");
  const data = await makeDemoData(join(directory, `${id}-data`), seed, (messages) =>
    countPromptTokens(messages, tokenizer),
  );
  const config = applySettings(
    {
      ...structuredClone(DEMO_OPTIONS),
      ...(small ? structuredClone(WASM_OPTIONS) : {}),
      ...(options.sftOnly ? { phases: DEMO_OPTIONS.phases.map((phase) => ({ ...phase, steps: 0 })) } : {}),
      run: { directory, id, seed },
      model: { path: model },
      data: { train: [data.train], heldout: [data.heldout] },
      warmup: {
        ...(small ? WASM_OPTIONS : DEMO_OPTIONS).warmup,
        data: [data.sft],
        ...(options.sftOnly ? { epochs: SFT_ONLY_EPOCHS } : {}),
      },
    },
    options.set,
  ) as ConfigInput;
  const system = createTrainingSystem(config, { keepMonitor: options.exit !== true });
  await system.start();
  note(`${data.counts.train} training tasks, ${data.counts.heldout} held-out tasks, ${data.counts.sft} demonstrations`);
  note(`run folder  ${system.runDirectory}`);
  if (system.monitorUrl) note(`monitor     ${system.monitorUrl}`);
  const result = await watchToEnd(system);
  const seconds = (performance.now() - started) / 1000;
  show(result, seconds, options.json === true);
  if (options.exit || !system.monitorUrl) {
    await system.close();
    return 0;
  }
  note(`the monitor stays at ${system.monitorUrl} (Ctrl-C ends it)`);
  await new Promise<void>((leave) => process.once("SIGINT", () => leave()).once("SIGTERM", () => leave()));
  await system.close();
  return 0;
}

function show(result: RunResult, seconds: number, json: boolean): void {
  if (json) {
    printJson({ status: result.status, runDirectory: result.runDirectory, seconds, report: result.report });
    return;
  }
  print();
  print(heldoutTable(result.report) ?? "nothing was evaluated");
  print();
  const lies = [
    ["report", "report.json"],
    ["trained policy", "model/"],
    ["rollouts", "rollouts/"],
    ["journal and ledger", "journal.ndjson, ledger.ndjson"],
    ["TensorBoard", "tensorboard/"],
    ["checkpoints", "checkpoints/"],
  ];
  for (const [what, where] of lies) print(`${String(what).padEnd(20)}${result.runDirectory}/${where}`);
  print(`${result.status} in ${Math.round(seconds)} s`);
}

export function register(program: Command): void {
  program
    .command("demo")
    .description("warm up and train a small policy on long-document questions, live in the browser, in a few minutes")
    .option("--seed <n>", "seed of data, sampling and training", "1")
    .option("--out <dir>", "folder for the run and its data", "runs")
    .option("--sft-only", "for comparison: no RL, as many more SFT steps as RL would have taken")
    .option("--exit", "end when the run has ended instead of serving the monitor on")
    .option(
      "--set <path=value>",
      "override an option (repeatable)",
      (value: string, all: string[]) => [...all, value],
      [] as string[],
    )
    .option("--json", "print the result as JSON")
    .action(async (options: DemoCommandOptions) => {
      process.exitCode = await demoCommand(options);
    });
}
