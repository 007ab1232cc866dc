/** `weir inspect`: contents of a run folder, one step's rollouts, or one rollout with its reward. */
import { join } from "node:path";
import type { Command } from "commander";
import { stringify as stringifyYaml } from "yaml";
import { parseConfig } from "../../config/load.js";
import type { RewardOutcome } from "../../contracts/reward.js";
import type { Trace } from "../../contracts/trace.js";
import { WeirError } from "../../errors.js";
import { measuredSimulation } from "../../simulation/measured.js";
import { type RunSummary, readRollouts, readRunRecord, rolloutSteps, summariseRun } from "../../store/index.js";
import { JOURNAL_NAME, readFacts } from "../../store/journal.js";
import { wholeNumber } from "../arguments.js";
import { type GuardStory, guardStory } from "../guard-story.js";
import { type ExitCode, note, print, printJson, table } from "../output.js";
import { heldoutTable } from "../report-table.js";

export interface InspectOptions {
  readonly step?: string;
  readonly rollout?: string;
  readonly verify?: boolean;
  readonly latencies?: boolean;
  readonly guard?: boolean;
  readonly json?: boolean;
}

const ROLLOUTS = "rollouts";
const SHOWN_CHARACTERS = 60;

export async function inspectCommand(run: string, options: InspectOptions): Promise<ExitCode> {
  if (options.latencies) return showLatencies(run, options.json ?? false);
  if (options.guard) return showGuard(run, options.json ?? false);
  const summary = await summariseRun(run, { verify: options.verify ?? false });
  if (options.rollout !== undefined) {
    const trace = await findRollout(run, options.rollout, options.step);
    if (options.json) printJson(trace);
    else printRollout(trace);
  } else if (options.step !== undefined) {
    const traces = await readRollouts(join(run, ROLLOUTS), wholeNumber("step", options.step));
    if (options.json) printJson(traces);
    else printStep(traces);
  } else if (options.json) {
    printJson(summary);
  } else {
    printSummary(summary);
  }
  const damaged = summary.checkpoints.some((checkpoint) => checkpoint.damaged !== null);
  return damaged || summary.remarks.length > 0 ? 3 : 0;
}

/** Prints the section `simulation` that `weir simulate` takes. */
async function showLatencies(run: string, json: boolean): Promise<ExitCode> {
  const { simulation, steps, unmeasured } = await measuredSimulation(run);
  if (json) printJson({ simulation });
  else print(stringifyYaml({ simulation }, { flowCollectionPadding: false, collectionStyle: "any" }).trimEnd());
  note(`measured in ${steps} RL steps`);
  if (unmeasured.length > 0) note(`not recorded by the run, set by hand: ${unmeasured.join(", ")}`);
  return 0;
}

/** Prints what the guard did, from the journal; exit code 3 where its states do not follow from its verdicts. */
async function showGuard(run: string, json: boolean): Promise<ExitCode> {
  const { guard } = parseConfig((await readRunRecord(run)).config);
  const story = guardStory([...readFacts(join(run, JOURNAL_NAME))], guard.maxRollbacks);
  if (json) printJson(story);
  else printStory(story);
  return story.replayable ? 0 : 3;
}

function printStory({ lines, counts, states, replayable }: GuardStory): void {
  const { verdicts, alarms, open, rollbacks } = counts;
  print(`${verdicts} verdicts other than commit, ${alarms} alarms (${open} not ended), ${rollbacks} rollbacks`);
  if (states !== null)
    print(`the states of its statechart ${replayable ? "follow" : "do NOT follow"} from these verdicts`);
  if (lines.length === 0) return;
  print("");
  table(
    ["step", "what", ""],
    lines.map(({ step, what, text }) => [step, what, printable(text)]),
  );
}

async function findRollout(run: string, id: string, step: string | undefined): Promise<Trace> {
  const folder = join(run, ROLLOUTS);
  const steps = step === undefined ? (await rolloutSteps(folder)).reverse() : [wholeNumber("step", step)];
  let passedOver = "";
  for (const candidate of steps) {
    // A damaged shard does not hide the rollouts of others; it is an error only if its step was asked for.
    const traces = await readRollouts(folder, candidate).catch((error: Error) => {
      if (step !== undefined) throw error;
      note(`skipped: ${error.message}`);
      passedOver = "; damaged steps were skipped";
      return [];
    });
    const trace = traces.find((rollout) => rollout.id === id);
    if (trace) return trace;
  }
  throw new WeirError(
    "WEIR_E_USAGE",
    `no rollout "${id}" in ${step === undefined ? `${steps.length} steps` : `step ${step}`} of ${run}${passedOver}; weir inspect ${run} --step N lists ids`,
    { id },
  );
}

function stateOf(summary: RunSummary): string {
  if (summary.writer !== null) return `${lifecycleOf(summary)} (process ${summary.writer} is running it)`;
  if (summary.finished) {
    const { finished } = summary;
    return finished.status === "failed" ? `failed: ${finished.error}` : finished.status;
  }
  return `${lifecycleOf(summary)} when its process ended; continue with weir train --resume ${summary.directory}`;
}

const lifecycleOf = ({ lifecycle }: RunSummary): string =>
  lifecycle === null ? "starting" : typeof lifecycle === "string" ? lifecycle : JSON.stringify(lifecycle);

const counts = (values: Readonly<Record<string, number>>): string =>
  Object.entries(values)
    .map(([name, count]) => `${name} ${count}`)
    .join(", ");

function printSummary(summary: RunSummary): void {
  const { dropped, checkpoints, alerts, metrics } = summary;
  const lines: [string, string][] = [
    ["run", `${summary.id} (${summary.directory})`],
    ["made", new Date(summary.created).toISOString()],
    ["state", stateOf(summary)],
    ["steps", `${summary.steps}${summary.resumed > 0 ? `, resumed ${summary.resumed} times` : ""}`],
    ...summary.phases.map(({ k, minTokens, maxTokens, fromStep }): [string, string] => [
      `phase ${k}`,
      `${minTokens + 1} to ${maxTokens} tokens, from step ${fromStep}`,
    ]),
    ["rollouts", `${counts(summary.ledger)}${Object.keys(dropped).length > 0 ? ` (dropped: ${counts(dropped)})` : ""}`],
    ["facts", String(summary.facts)],
    ...checkpoints.map(({ name, damaged }): [string, string] => [
      "checkpoint",
      damaged === null ? name : `${name}: ${damaged}`,
    ]),
    ...summary.remarks.map((remark): [string, string] => ["damaged", remark]),
    ...alerts.map(({ level, step, text }): [string, string] => ["alert", `${level}, step ${step}: ${text}`]),
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  for (const [name, value] of lines) print(`${name.padEnd(width)}  ${value}`);
  if (metrics) {
    print(`\nmetrics of step ${metrics.step}`);
    const values = Object.entries(metrics.values);
    table(
      ["metric", "value"],
      values.map(([name, value]) => [name, Number(value.toPrecision(6))]),
    );
  }
  const heldout = heldoutTable(summary);
  if (heldout !== null) print(`\nheld-out accuracy\n${heldout}`);
}

/** Model output may not control the terminal: control characters other than line breaks and tabs become U+FFFD. */
const printable = (text: string): string => text.replaceAll(/[^\P{Cc}\n\t]/gu, "\uFFFD");

const oneLine = (text: string): string => {
  const flat = printable(text).replaceAll(/\s+/g, " ").trim();
  return flat.length > SHOWN_CHARACTERS ? `${flat.slice(0, SHOWN_CHARACTERS)}…` : flat;
};

const rounded = (value: number | null): string => (value === null ? "–" : String(Number(value.toFixed(4))));

function printStep(traces: readonly Trace[]): void {
  table(
    ["rollout", "outcome", "reward", "advantage", "tokens", "finish", "response"],
    traces.map((trace) => [
      trace.id,
      trace.outcome.kind,
      rounded(trace.reward),
      rounded(trace.advantage),
      trace.tokens.length,
      trace.finish,
      oneLine(trace.completion),
    ]),
  );
}

function outcomeText(outcome: RewardOutcome): string {
  if (outcome.kind !== "scored") return `${outcome.kind}: ${outcome.reason}`;
  const parts = Object.entries(outcome.parts).map(([name, value]) => `${name} ${rounded(value)}`);
  return `scored ${rounded(outcome.value)} (${parts.join(", ") || "no parts"}), answer ${JSON.stringify(outcome.prediction)}`;
}

function printRollout(trace: Trace): void {
  print(`rollout    ${trace.id} (group ${trace.groupId}, task ${trace.taskId}, ${trace.source})`);
  print(
    `step       ${trace.step}, phase ${trace.phase}${trace.carried ? ", carried" : ""}, policy version ${trace.policyVersion}`,
  );
  print(`tokens     ${trace.promptTokens} prompt, ${trace.tokens.length} response, ended by ${trace.finish}`);
  print(printable(`outcome    ${outcomeText(trace.outcome)}`));
  print(`reward     ${rounded(trace.reward)} after length shaping, advantage ${rounded(trace.advantage)}`);
  print(printable(`gold       ${trace.goldAnswer}`));
  print(printable(`\n--- prompt\n${trace.prompt}\n--- response\n${trace.completion}`));
}

export function register(program: Command): void {
  program
    .command("inspect")
    .description("show what a run folder holds: state, phases, ledger, metrics, checkpoints, rollouts")
    .argument("<run>", "run folder")
    .option("--step <n>", "list the rollouts of an RL step")
    .option("--rollout <id>", "show one rollout with its reward")
    .option(
      "--latencies",
      "print how long its calls took, as the section simulation of a configuration (weir simulate)",
    )
    .option("--guard", "tell what the guard did: verdicts, alarms, rollbacks, knobs")
    .option("--verify", "check every checkpoint against its manifest, and open every file of rollouts")
    .option("--json", "print JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 shown, 2 no such run, step or rollout, 3 something in it is damaged (the rest is shown).",
    )
    .action(async (run: string, options: InspectOptions) => {
      process.exitCode = await inspectCommand(run, options);
    });
}
