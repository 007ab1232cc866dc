/** `weir simulate`: the control plane of a configuration on virtual time, without a model. */
import type { Command } from "commander";
import { loadConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import { samplersOf } from "../../simulation/life.js";
import { simulateSeeds } from "../../simulation/seeds.js";
import { foundFault, type SeedResult, type SimulationSummary, summaryOf } from "../../simulation/simulate.js";
import { range, share } from "../arguments.js";
import { type ExitCode, note, print, progress, table } from "../output.js";

export interface SimulateCommandOptions {
  readonly seeds: string;
  readonly faults?: string;
  readonly set: readonly string[];
  readonly trace?: boolean;
  readonly json?: boolean;
}

/** Failing seeds that are told one by one. */
const MOST_TOLD = 20;
const DECIMALS = 4;

export async function simulateCommand(file: string, options: SimulateCommandOptions): Promise<ExitCode> {
  const config = await loadConfig(file, options.set);
  const faults = options.faults === undefined ? config.simulation.faults : share("faults", options.faults);
  const [first, last] = range("seeds", options.seeds, 0);
  const line = progress();
  let [done, found] = [0, 0];
  const results = await simulateSeeds(config, [first, last], { faults, trace: options.trace ?? false }, (result) => {
    for (const event of result.log) print(event);
    done++;
    if (foundFault(result)) found++;
    line.update(`${done} of ${last - first + 1} runs: ${found} with deadlocks or violations`);
  });
  line.done();
  const failing = results.filter(foundFault);
  for (const result of failing.slice(0, MOST_TOLD)) tell(result, replayOf(file, result.seed, faults, options.set));
  if (failing.length > MOST_TOLD) note(`${failing.length - MOST_TOLD} further seeds found faults`);
  const unfinished = results.find((result) => result.end !== "completed" && !foundFault(result));
  if (unfinished !== undefined) note(`seed ${unfinished.seed} did not complete: ${unfinished.end}`);
  const summary = summaryOf(results);
  if (!options.json) printSummary(config, results, summary);
  // One line in a pipe and on a terminal alike: the last one is for programs.
  print(JSON.stringify(rounded(summary)));
  return failing.length > 0 ? 1 : 0;
}

function tell({ seed, deadlock, violations }: SeedResult, replay: string): void {
  if (deadlock !== null) note(`seed ${seed}: deadlock: ${deadlock}`);
  for (const { invariant, text, time } of violations)
    note(`seed ${seed}: ${invariant} broken at ${(time / 1000).toFixed(3)} s: ${text}`);
  note(`  replay: ${replay}`);
}

/** The command that runs one seed again, with its event log. */
function replayOf(file: string, seed: number, faults: number, settings: readonly string[]): string {
  const quoted = (text: string) => (/^[\w./=:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
  const set = settings.map((setting) => ` --set ${quoted(setting)}`).join("");
  return `weir simulate ${quoted(file)} --seeds ${seed} --faults ${faults}${set} --trace`;
}

function printSummary(config: Config, results: readonly SeedResult[], summary: SimulationSummary): void {
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const processes = results.reduce((sum, { lives }) => sum + lives, 0);
  table(
    ["measured", "value"],
    [
      ["samplers", samplersOf(config)],
      ["steps per hour", (3600 * summary.steps_per_second).toFixed(1)],
      ["samplers busy", percent(summary.sampler_busy)],
      ["trainer busy", percent(summary.trainer_busy)],
      ["largest lag", summary.max_lag],
      ["stale rollouts", percent(summary.stale_share)],
      ["processes per run", (processes / results.length).toFixed(1)],
      ...Object.entries(summary.queue_high_water).map(([name, most]) => [`most in queue ${name}`, most] as const),
    ],
  );
  print();
}

function rounded(summary: SimulationSummary): SimulationSummary {
  const short = (value: number) => Number(value.toFixed(DECIMALS));
  return {
    ...summary,
    stale_share: short(summary.stale_share),
    // Steps take minutes or hours.
    steps_per_second: Number(summary.steps_per_second.toPrecision(DECIMALS)),
    sampler_busy: short(summary.sampler_busy),
    trainer_busy: short(summary.trainer_busy),
  };
}

export function register(program: Command): void {
  program
    .command("simulate")
    .description(
      "run a configuration's control plane on virtual time, without a model: how many samplers, which lag, any deadlock",
    )
    .argument("<config>", "YAML or JSON file of options; latencies and shares are in its section simulation")
    .option("--seeds <n-m>", "seeds to run, one simulated run each", "1-100")
    .option("--faults <p>", "probability of a fault at each await of a part, in place of simulation.faults")
    .option(
      "--set <path=value>",
      "override an option, such as simulation.samplers=4 (repeatable)",
      (value: string, all: string[]) => [...all, value],
      [] as string[],
    )
    .option("--trace", "print the event log of each seed")
    .option("--json", "print the last line only")
    .addHelpText(
      "after",
      "\nExit codes: 0 no deadlock and no broken invariant, 1 there was one (its seed and the command that replays it are on standard error), 2 wrong options.",
    )
    .action(async (file: string, options: SimulateCommandOptions) => {
      process.exitCode = await simulateCommand(file, options);
    });
}
