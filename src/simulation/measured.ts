import { join } from "node:path";
import { isCorrect } from "../algorithms/accuracy.js";
import { parseConfig } from "../config/load.js";
import type { Config, ConfigInput } from "../config/schema.js";
import type { Fact } from "../contracts/fact.js";
import type { MetricValues } from "../contracts/metrics.js";
import type { Trace } from "../contracts/trace.js";
import { WeirError } from "../errors.js";
import { readRollouts, readRunRecord, rolloutSteps } from "../store/index.js";
import { JOURNAL_NAME, readFacts } from "../store/journal.js";

/**
 * What a run recorded, as the section `simulation` of a configuration: how long its calls took, how long its responses were, and how
 * its groups came out. Times are those of whole steps divided by the calls in them, so that they vary less than single calls do.
 */

export type MeasuredSection = NonNullable<ConfigInput["simulation"]>;

export interface MeasuredSimulation {
  readonly simulation: MeasuredSection;
  /** RL steps that were measured. */
  readonly steps: number;
  /** Latencies that a run does not record; the defaults stand for them. */
  readonly unmeasured: readonly string[];
}

type Measured = number | { quantiles: number[] };

/** Shards of rollouts that are read, the newest ones: enough for quantiles. */
const MOST_SHARDS = 16;
const ROLLOUTS = "rollouts";
const QUANTILES = [0, 0.25, 0.5, 0.75, 1];
const DIGITS = 4;

/** Errors: WEIR_E_FILE_MISSING, WEIR_E_RUN_FOLDER; WEIR_E_USAGE for a run without RL steps. */
export async function measuredSimulation(run: string): Promise<MeasuredSimulation> {
  const config = parseConfig((await readRunRecord(run)).config);
  const facts = [...readFacts(join(run, JOURNAL_NAME))];
  const steps = stepsOf(facts);
  if (steps.size === 0)
    throw new WeirError("WEIR_E_USAGE", `${run}: expected a run with RL steps, it has none yet; let it come further`, {
      run,
    });
  const shards: Trace[][] = [];
  for (const step of (await rolloutSteps(join(run, ROLLOUTS))).slice(-MOST_SHARDS))
    shards.push(await readRollouts(join(run, ROLLOUTS), step));
  const known = {
    ...sampling(config, steps, shards),
    ...training(config, steps),
    ...optional("publish", valuesOf(steps, "time/publish_seconds")),
    ...optional("adopt", valuesOf(steps, "time/adopt_seconds")),
    ...optional("checkpoint", between(facts, "checkpointing", "checkpoint.written")),
    ...optional("restart", between(facts, "recovering", "run.resumed")),
  };
  return {
    simulation: { samplers: 1, ...outcomes(config, shards), latencies: known },
    steps: steps.size,
    unmeasured: ["publish", "adopt", "checkpoint", "restart"].filter((name) => !Object.hasOwn(known, name)),
  };
}

interface MeasuredStep {
  readonly values: MetricValues;
  readonly groups: number;
}

/** Metrics of each committed RL step, with the number of its groups; the last of a step that was repeated. */
function stepsOf(facts: readonly Fact[]): Map<number, MeasuredStep> {
  const values = new Map<number, MetricValues>();
  const steps = new Map<number, MeasuredStep>();
  for (const fact of facts) {
    if (fact.type === "metrics.recorded" && fact.data.values["time/sample_seconds"] !== undefined)
      values.set(fact.step, fact.data.values);
    const found = values.get(fact.step);
    if (fact.type === "step.committed" && found !== undefined)
      steps.set(fact.step, { values: found, groups: fact.data.groups });
  }
  return steps;
}

const valuesOf = (steps: ReadonlyMap<number, MeasuredStep>, name: "time/publish_seconds" | "time/adopt_seconds") =>
  [...steps.values()].flatMap(({ values }) => values[name] ?? []);

/** Seconds per call before the first token, and per token of its longest response, by least squares over steps; and per reward. */
function sampling({ rollout }: Config, steps: ReadonlyMap<number, MeasuredStep>, shards: readonly Trace[][]) {
  const rows = shards.flatMap((traces) => {
    const measured = steps.get(traces[0]?.step ?? -1);
    // Older runs have the sum under the name of the wall time.
    const seconds = measured?.values["time/sample_call_seconds"] ?? measured?.values["time/sample_seconds"];
    if (seconds === undefined) return [];
    const longest = longestOfCalls(traces, rollout.promptsPerCall);
    return [{ seconds, calls: longest.length, tokens: longest.reduce((total, tokens) => total + tokens, 0) }];
  });
  const rewards = [...steps.values()].flatMap(({ values, groups }) => {
    const seconds = values["time/reward_seconds"];
    return seconds === undefined || groups === 0 ? [] : [seconds / (groups * rollout.groupSize)];
  });
  const perCall = interceptOf(rows);
  const perToken = rows.map(({ seconds, calls, tokens }) => Math.max(0, seconds - perCall * calls) / tokens);
  return { sampleCall: rounded(perCall), ...optional("sampleToken", perToken), ...optional("reward", rewards) };
}

/** Tokens of the longest response of each sampler call: as many groups as a call has, in the order of issue. */
function longestOfCalls(traces: readonly Trace[], promptsPerCall: number): number[] {
  const groups = new Map<string, number>();
  for (const { groupId, tokens } of traces) groups.set(groupId, Math.max(groups.get(groupId) ?? 0, tokens.length));
  const orderOf = (groupId: string) => Number(groupId.split("-q")[1] ?? 0);
  const longest = [...groups].sort(([a], [b]) => orderOf(a) - orderOf(b)).map(([, tokens]) => tokens);
  return Array.from({ length: Math.ceil(longest.length / promptsPerCall) }, (_, i) =>
    Math.max(...longest.slice(i * promptsPerCall, (i + 1) * promptsPerCall)),
  );
}

interface SamplingRow {
  readonly seconds: number;
  readonly calls: number;
  readonly tokens: number;
}

/** a ≥ 0 of seconds = a · calls + b · tokens with b ≥ 0; 0 where the steps do not tell the two apart. */
function interceptOf(rows: readonly SamplingRow[]): number {
  const sum = (of: (row: SamplingRow) => number) => rows.reduce((total, row) => total + of(row), 0);
  const [cc, ct, tt] = [
    sum(({ calls }) => calls ** 2),
    sum(({ calls, tokens }) => calls * tokens),
    sum(({ tokens }) => tokens ** 2),
  ];
  const [cs, ts] = [sum(({ calls, seconds }) => calls * seconds), sum(({ tokens, seconds }) => tokens * seconds)];
  const determinant = cc * tt - ct ** 2;
  // Far below it, rounding decides.
  if (determinant <= 1e-9 * cc * tt) return 0;
  const [a, b] = [(cs * tt - ct * ts) / determinant, (cc * ts - ct * cs) / determinant];
  return a > 0 && b >= 0 ? a : 0;
}

/** Seconds of an optimiser step with all that belongs to it: a run records their sum. */
function training({ update }: Config, steps: ReadonlyMap<number, MeasuredStep>) {
  const seconds = [...steps.values()].flatMap(({ values }) => {
    const [train, kept] = [values["time/train_seconds"], values["group/kept"] ?? 0];
    const batches = Math.ceil(kept / (update.miniBatchPrompts ?? Math.max(1, kept))) * update.epochs;
    return train === undefined || batches === 0 ? [] : [train / batches];
  });
  return { ...optional("forwardBackward", seconds), logprobs: 0, optimStep: 0 };
}

/** Lengths of responses and outcomes of groups. */
function outcomes({ reward }: Config, shards: readonly Trace[][]) {
  const traces = shards.flat();
  const groups = new Map<string, Trace[]>();
  for (const trace of traces) groups.set(trace.groupId, [...(groups.get(trace.groupId) ?? []), trace]);
  const rewardsOf = (members: readonly Trace[]) =>
    members.flatMap(({ outcome }) => (outcome.kind === "scored" ? [outcome.value] : []));
  const scored = [...groups.values()].map(rewardsOf).filter((rewards) => rewards.length > 0);
  const equal = scored.filter((rewards) => new Set(rewards).size === 1);
  const solved = equal.filter(([value]) => isCorrect(value as number, reward.correctAt));
  const share = (part: number, whole: number) => (whole === 0 ? 0 : rounded(part / whole));
  return {
    ...optional(
      "responseTokens",
      traces.map(({ tokens }) => tokens.length),
    ),
    informativeShare: share(scored.length - equal.length, scored.length),
    solvedShare: share(solved.length, equal.length),
    unscoredShare: share(traces.filter(({ outcome }) => outcome.kind !== "scored").length, traces.length),
  };
}

/** Seconds from the lifecycle's entry into a state to the next fact of a type. */
function between(facts: readonly Fact[], state: string, end: Fact["type"]): number[] {
  const seconds: number[] = [];
  let since: number | null = null;
  for (const fact of facts) {
    if (fact.type === "lifecycle.changed" && fact.data.machine === "lifecycle")
      since = JSON.stringify(fact.data.value).includes(`"${state}"`) ? fact.time : null;
    if (fact.type === end && since !== null) seconds.push((fact.time - since) / 1000);
  }
  return seconds;
}

/** A measured distribution under its name; nothing where nothing was measured. */
function optional<Name extends string>(name: Name, values: readonly number[]): { readonly [K in Name]?: Measured } {
  if (values.length === 0) return {};
  const sorted = values.toSorted((a, b) => a - b);
  const at = (q: number) => rounded(sorted[Math.round(q * (sorted.length - 1))] as number);
  const quantiles = QUANTILES.map(at);
  const distribution: Measured = new Set(quantiles).size === 1 ? (quantiles[0] as number) : { quantiles };
  return { [name]: distribution } as { readonly [K in Name]?: Measured };
}

const rounded = (value: number) => Number(value.toPrecision(DIGITS));
