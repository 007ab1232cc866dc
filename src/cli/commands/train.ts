import type { Command } from "commander";
import { accuracyOf, type BucketResult } from "../../actors/evaluation/evaluate.js";
import { loadParts } from "../../actors/parts/parts-file.js";
import { benchmarksLine } from "../../actors/run/run-benchmarks.js";
import { createTrainingSystem, type RunResult, type TrainingSystem } from "../../actors/run/training-system.js";
import { loadConfig, parseConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import { applySettings } from "../../config/settings.js";
import type { FactData } from "../../contracts/fact.js";
import type { MetricName, MetricValues } from "../../contracts/metrics.js";
import { WeirError } from "../../errors.js";
import { readRunRecord } from "../../store/index.js";
import { klOfStep } from "../../streams/telemetry/step-kl.js";
import { leaveSoon } from "../leave.js";
import { type ExitCode, exitCodeOf, note, print, printJson, progress } from "../output.js";
import { preflightReport, refuses } from "../preflight-report.js";
import { heldoutTable } from "../report-table.js";

/** `weir train`: a run from a configuration file, or the continuation of one from its folder. */

export interface TrainCommandOptions {
  readonly set: readonly string[];
  readonly resume?: string;
  /** Files with parts of the user's own. */
  readonly parts?: readonly string[];
  /** Look at a trial batch and the memory plan, and train nothing. */
  readonly preflightOnly?: boolean;
  readonly json?: boolean;
}

/** The configuration of a run folder, with overrides. Errors: WEIR_E_FILE_MISSING, WEIR_E_CONFIG. */
export async function configOfRun(runDirectory: string, settings: readonly string[]): Promise<Config> {
  const { config } = await readRunRecord(runDirectory);
  return parseConfig(applySettings(config as Record<string, unknown>, settings));
}

/** An RL step in one line; values that were not measured are a dash. `kl` is that of the update. */
export function stepLine(step: number, phase: number, values: MetricValues): string {
  const told = (value: number | undefined, form: (value: number) => string) =>
    value === undefined ? "–" : form(value);
  const show = (name: MetricName, form: (value: number) => string) => told(values[name], form);
  return [
    `step ${step} (phase ${phase})`,
    `reward ${show("reward/mean", (value) => value.toFixed(3))}`,
    `accuracy ${show("accuracy/mean", (value) => `${(value * 100).toFixed(0)} %`)}`,
    `entropy ${show("entropy/mean", (value) => value.toFixed(3))}`,
    `kl ${told(klOfStep(values), (value) => value.toExponential(1))}`,
    `length ${show("response/length_mean", (value) => value.toFixed(0))}`,
    ...(values["update/applied"] === 0 ? ["no update"] : []),
    show("time/step_seconds", (value) => `${value.toFixed(1)} s`),
  ].join(" · ");
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
      if (values["group/kept"] !== undefined) line.update(stepLine(step, phase, values));
    }),
    system.facts$.subscribe((fact) => {
      if (fact.type === "phase.entered")
        note(
          `phase ${fact.data.k}: prompts of ${fact.data.minTokens + 1} to ${fact.data.maxTokens} tokens, from step ${fact.data.fromStep}`,
        );
      if (fact.type === "evaluation.finished") {
        const { stage, buckets, benchmarks } = fact.data;
        if (Object.keys(buckets).length > 0) note(`held-out "${stage}": ${bucketsLine(buckets)}`);
        if (benchmarks !== undefined) note(`benchmarks "${stage}": ${benchmarksLine(benchmarks)}`);
      }
      if (fact.type === "preflight.finished") note(`memory      ${fact.data.memory}`);
      if (fact.type === "run.resumed") {
        note(`restored step ${fact.data.step}: ${fact.data.reason}`);
        for (const remark of fact.data.remarks) note(`mended: ${remark}`);
      }
      if (fact.type === "config.changed")
        note(`option ${fact.data.path}: ${JSON.stringify(fact.data.old)} is now ${JSON.stringify(fact.data.new)}`);
    }),
    system.alerts$.subscribe((alert) => note(`${alert.level}: ${alert.text}`)),
  ];
  let signals = 0;
  const onSignal = () => {
    signals++;
    note(signals === 1 ? "stopping after the current step (once more to stop at once)" : "stopping at once");
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

/** Accuracy over the scored responses by bucket; the mean reward where rewards are not 0 or 1, and how many were not scored. */
export function bucketsLine(buckets: Readonly<Record<string, BucketResult>>): string {
  return Object.entries(buckets)
    .map(([label, result]) => {
      const accuracy = accuracyOf(result);
      const shown = accuracy === null ? "–" : `${(100 * accuracy).toFixed(1)} %`;
      const remarks = [];
      if (result.meanReward !== null && Math.abs(result.meanReward - (accuracy ?? 0)) > 1e-9)
        remarks.push(`mean reward ${result.meanReward.toFixed(3)}`);
      if (result.unscored > 0) remarks.push(`${result.unscored} of ${result.n} not scored`);
      return `${label} tokens ${shown}${remarks.length > 0 ? ` (${remarks.join(", ")})` : ""}`;
    })
    .join(" · ");
}

export async function trainCommand(file: string | undefined, options: TrainCommandOptions): Promise<ExitCode> {
  const { resume, set } = options;
  if (file === undefined && resume === undefined) {
    throw new WeirError("WEIR_E_USAGE", "weir train takes CONFIG, or --resume RUN, got neither", {});
  }
  if (options.preflightOnly && resume !== undefined)
    throw new WeirError("WEIR_E_USAGE", "--preflight-only looks at a run before it begins; leave out --resume", {});
  // With --resume, CONFIG gives the options to continue with; without it they stay.
  const config = file !== undefined ? await loadConfig(file, set) : await configOfRun(resume as string, set);
  const partsFiles = [];
  for (const path of options.parts ?? []) partsFiles.push(await loadParts(path));
  const system = createTrainingSystem(config, {
    onRemark: (error) => note(`warn: ${error.message}`),
    partsFiles: partsFiles.map(({ file, sha256 }) => ({ file, sha256 })),
    ...(options.resume === undefined ? {} : { resume: options.resume }),
  });
  for (const { file, sha256, parts } of partsFiles)
    for (const { kind, name, factory } of parts) system.register(kind, name, factory, { file, sha256 });
  if (options.preflightOnly) return preflightCommand(system, config, options.json === true);
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

/** Runs preflight, prints what it found and ends the run; its folder can be trained with --resume. */
async function preflightCommand(system: TrainingSystem, config: Config, json: boolean): Promise<ExitCode> {
  let found: FactData["preflight.finished"] | null = null;
  system.facts$.subscribe((fact) => {
    if (fact.type !== "preflight.finished") return;
    found = fact.data;
    system.stop({ abort: true }).catch(() => undefined);
  });
  await system.start();
  const { runDirectory } = await system.done;
  if (found === null) return 1;
  if (json) printJson({ runDirectory, ...(found as FactData["preflight.finished"]) });
  else {
    print(preflightReport(found));
    note(`nothing was trained; to train: weir train --resume ${runDirectory}`);
  }
  return refuses(found) && config.run.preflight === "refuse" ? exitCodeOf(new WeirError("WEIR_E_PREFLIGHT", "")) : 0;
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
    .option(
      "--resume <run>",
      "continue the run in this folder from its latest checkpoint; CONFIG and --set change options of what is still to come",
    )
    .option(
      "--parts <file>",
      "load parts of your own from this ES module (docs/parts.md); a resumed run needs the same file (repeatable)",
      (value: string, all: string[]) => [...all, value],
      [] as string[],
    )
    .option(
      "--preflight-only",
      "run a trial batch through sampler, reward and memory plan, print what is found with its remedies, and train nothing; exit code 2 where the run would be refused",
    )
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 the run completed or was stopped, 1 it failed, 2 wrong options, 3 damaged data or model, 4 engine, 5 nothing was trained.",
    )
    .action(async (file: string | undefined, options: TrainCommandOptions) => {
      try {
        process.exitCode = await trainCommand(file, options);
      } finally {
        leaveSoon();
      }
    });
}
