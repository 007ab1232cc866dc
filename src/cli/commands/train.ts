import type { Command } from "commander";
import { loadParts } from "../../actors/parts-file.js";
import { createTrainingSystem, type RunResult, type TrainingSystem } from "../../actors/training-system.js";
import { applySettings, loadConfig, parseConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import { WeirError } from "../../errors.js";
import { readRunRecord } from "../../store/index.js";
import { type ExitCode, note, print, printJson, progress } from "../output.js";
import { heldoutTable } from "../report-table.js";

/** `weir train`: a run from a configuration file, or the continuation of one from its folder. */

export interface TrainCommandOptions {
  readonly set: readonly string[];
  readonly resume?: string;
  /** Files with parts of the user's own. */
  readonly parts?: readonly string[];
  readonly json?: boolean;
}

/** The configuration of a run folder, with overrides. Errors: WEIR_E_FILE_MISSING, WEIR_E_CONFIG. */
export async function configOfRun(runDirectory: string, settings: readonly string[]): Promise<Config> {
  const { config } = await readRunRecord(runDirectory);
  return parseConfig(applySettings(config as Record<string, unknown>, settings));
}

/** Shows a system's progress until it ends; SIGINT and SIGTERM drain it, a second one aborts. */
export async function watchToEnd(system: TrainingSystem): Promise<RunResult> {
  const line = progress();
  const subscriptions = [
    system.metrics$.subscribe(({ step, phase, values }) => {
      if (values["loss/sft"] !== undefined) {
        line.update(`warm-up step ${step}: loss ${values["loss/sft"].toFixed(3)}`);
        return;
      }
      if (values["reward/mean"] === undefined) return;
      const shown = [
        `step ${step} (phase ${phase})`,
        `reward ${values["reward/mean"].toFixed(3)}`,
        `accuracy ${((values["accuracy/mean"] ?? 0) * 100).toFixed(0)} %`,
        `entropy ${(values["entropy/mean"] ?? 0).toFixed(3)}`,
        `kl ${(values["kl/old_k3"] ?? 0).toExponential(1)}`,
        `length ${(values["response/length_mean"] ?? 0).toFixed(0)}`,
        `${(values["time/step_seconds"] ?? 0).toFixed(1)} s`,
      ];
      line.update(shown.join(" · "));
    }),
    system.facts$.subscribe((fact) => {
      if (fact.type === "phase.entered")
        note(
          `phase ${fact.data.k}: prompts of ${Number(fact.data.minTokens) + 1} to ${fact.data.maxTokens} tokens, from step ${fact.data.fromStep}`,
        );
      if (fact.type === "evaluation.finished")
        note(
          `held-out "${fact.data.stage}": ${bucketsLine(fact.data.buckets as unknown as Record<string, { n: number; correct: number }>)}`,
        );
      if (fact.type === "preflight.finished") note(`memory      ${fact.data.memory}`);
      if (fact.type === "run.resumed") note(`restored step ${fact.data.step}: ${fact.data.reason}`);
    }),
    system.alerts$.subscribe((alert) => note(`${alert.level}: ${alert.text}`)),
  ];
  let signals = 0;
  const onSignal = () => {
    signals++;
    note(signals === 1 ? "stopping after the step at hand (once more to stop at once)" : "stopping at once");
    system.stop({ abort: signals > 1 }).catch(() => undefined);
  };
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal);
  try {
    return await system.done;
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    for (const subscription of subscriptions) subscription.unsubscribe();
    line.done();
  }
}

function bucketsLine(buckets: Record<string, { n: number; correct: number }>): string {
  return Object.entries(buckets)
    .map(([label, { n, correct }]) => `${label} tokens ${((100 * correct) / Math.max(1, n)).toFixed(1)} %`)
    .join(" · ");
}

export async function trainCommand(file: string | undefined, options: TrainCommandOptions): Promise<ExitCode> {
  if ((file === undefined) === (options.resume === undefined)) {
    throw new WeirError("WEIR_E_USAGE", "weir train takes CONFIG, or --resume RUN, and not both", {});
  }
  const config =
    options.resume === undefined
      ? await loadConfig(file as string, options.set)
      : await configOfRun(options.resume, options.set);
  const partsFiles = [];
  for (const path of options.parts ?? []) partsFiles.push(await loadParts(path));
  const system = createTrainingSystem(config, {
    onRemark: (error) => note(`warn: ${error.message}`),
    partsFiles: partsFiles.map(({ file, sha256 }) => ({ file, sha256 })),
    ...(options.resume === undefined ? {} : { resume: options.resume }),
  });
  for (const { kind, name, factory } of partsFiles.flatMap(({ parts }) => parts)) system.register(kind, name, factory);
  await system.start();
  note(`run folder: ${system.runDirectory}`);
  if (system.monitorUrl) note(`monitor: ${system.monitorUrl}`);
  const result = await watchToEnd(system);
  if (options.json) printJson(result);
  else {
    print(`${result.status}: ${result.runDirectory}`);
    const table = heldoutTable(result.report);
    if (table) print(table);
  }
  return 0;
}

export function register(program: Command): void {
  program
    .command("train")
    .description("run a training: warm-up SFT, phased RL, evaluations, checkpoints, live monitor")
    .argument("[config]", "YAML or JSON file of options (docs/config.md)")
    .option(
      "--set <path=value>",
      "override an option, such as rollout.groupSize=4 (repeatable)",
      (value: string, all: string[]) => [...all, value],
      [] as string[],
    )
    .option("--resume <run>", "continue the run in this folder from its latest checkpoint")
    .option(
      "--parts <file>",
      "load parts of your own from this ES module (docs/parts.md); a resumed run needs the same file (repeatable)",
      (value: string, all: string[]) => [...all, value],
      [] as string[],
    )
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 the run completed or was stopped, 1 it failed, 2 wrong options, 3 damaged data or model, 4 engine.",
    )
    .action(async (file: string | undefined, options: TrainCommandOptions) => {
      process.exitCode = await trainCommand(file, options);
    });
}
