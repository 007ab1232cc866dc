import { join, resolve } from "node:path";
import type { Command } from "commander";
import { assertMonitorPossible } from "../../actors/run/start-check.js";
import { createTrainingSystem, type RunResult } from "../../actors/run/training-system.js";
import { parseConfig } from "../../config/load.js";
import { countPromptTokens } from "../../data/measure.js";
import { WeirError } from "../../errors.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { locateNative } from "../../model/tensor/native/index.js";
import { assertRoomForRun } from "../../store/index.js";
import { wholeNumber } from "../arguments.js";
import { makeDemoData } from "../demo/data.js";
import { type DemoRecipe, demoConfig } from "../demo/recipe.js";
import { RECIPES, recipeOf } from "../demo/recipes.js";
import { leaveSoon } from "../leave.js";
import { type ExitCode, note, print, printJson } from "../output.js";
import { heldoutTable } from "../report-table.js";
import { watchToEnd } from "./train.js";

/**
 * `weir demo`: a complete run in one command. Makes data, warms up by SFT, runs phased RL over growing lengths, evaluates
 * held-out tasks before, between and after, and serves the monitor throughout.
 */

export interface DemoCommandOptions {
  readonly recipe: string;
  readonly seed: string;
  readonly out: string;
  readonly model?: string;
  readonly exit?: boolean;
  readonly sftOnly?: boolean;
  readonly set: readonly string[];
  readonly json?: boolean;
}

/** The recipe's options for the backend in use. Throws WEIR_E_NATIVE_ENGINE where the recipe needs the native engine. */
function optionsHere(recipe: DemoRecipe): DemoRecipe["options"] {
  const native = locateNative();
  if (native.found) return recipe.options;
  if (recipe.wasm === null)
    throw new WeirError(
      "WEIR_E_NATIVE_ENGINE",
      `the recipe ${recipe.name} needs the native engine: ${native.reason}. On wasm try the recipe ${RECIPES[0]?.name}.`,
      { recipe: recipe.name },
    );
  note(`on wasm, since ${native.reason}; with few steps: enough to see it run, too few to learn`);
  return recipe.wasm;
}

export async function demoCommand(options: DemoCommandOptions): Promise<ExitCode> {
  const recipe = recipeOf(options.recipe);
  const seed = wholeNumber("seed", options.seed);
  const started = performance.now();
  const directory = resolve(options.out);
  const name = recipe === RECIPES[0] ? "demo" : `demo-${recipe.name}`;
  const id = `${name}-seed${seed}-${new Date().toISOString().replaceAll(/[-:]/g, "").slice(0, 15)}`;
  const here = optionsHere(recipe);
  const run = { directory, id, seed, sftOnly: options.sftOnly === true, settings: options.set };
  // Overrides, monitor and folder are checked before a model is prepared and data are written.
  const unmade = { train: "train", heldout: "heldout", sft: "sft" };
  const trial = parseConfig(demoConfig(recipe, here, { ...run, model: "model", data: unmade }));
  await assertMonitorPossible(trial.monitor);
  await assertRoomForRun(trial.run.directory, trial.run.id);
  const model = options.model === undefined ? await recipe.model(note) : resolve(options.model);
  const tokenizer = await loadTokenizer(model);
  note("making long-document questions over permuted facts");
  const data = await makeDemoData(join(directory, `${id}-data`), seed, recipe, (messages) =>
    countPromptTokens(messages, tokenizer),
  );
  const config = demoConfig(recipe, here, { ...run, model, data });
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
    .description("warm up and train a policy on long-document questions, live in the browser, in one command")
    .option("--recipe <name>", `what is trained: ${RECIPES.map(({ name }) => name).join(" or ")}`, RECIPES[0]?.name)
    .option("--seed <n>", "seed of data, sampling and training", "1")
    .option("--out <dir>", "folder for the run and its data", "runs")
    .option("--model <dir>", "start from this model folder instead of the recipe's")
    .option("--sft-only", "for comparison: no RL, but as many additional SFT steps")
    .option("--exit", "exit when the run has ended instead of serving the monitor further")
    .option(
      "--set <path=value>",
      "override an option (repeatable)",
      (value: string, all: string[]) => [...all, value],
      [] as string[],
    )
    .option("--json", "print the result as JSON")
    .addHelpText("after", `\nRecipes:\n${RECIPES.map(({ name, about }) => `  ${name.padEnd(9)}${about}`).join("\n")}`)
    .action(async (options: DemoCommandOptions) => {
      try {
        process.exitCode = await demoCommand(options);
      } finally {
        leaveSoon();
      }
    });
}
