import { join } from "node:path";
import { JOURNAL_NAME, readFacts } from "../src/store/journal.js";
import { LEDGER_NAME, readLedger } from "../src/store/ledger.js";
import type { MetricName } from "../src/streams/telemetry/metrics.js";

/** What a finished run's journal and ledger say of the lag of its samples. */
export interface LagRun {
  /** Trained tokens of the whole run by lag; index k holds those of lag k, up to the largest lag that occurred. */
  readonly tokensByLag: readonly number[];
  /** Means over the last `EDGE_STEPS` RL steps that have the metric; null where none has. */
  readonly last: LastSteps;
  /** `klByLag` over the first `EDGE_STEPS` RL steps. */
  readonly firstKlByLag: readonly (number | null)[];
  /** Rollouts dropped because they had become too old to train on. */
  readonly staleRollouts: number;
  /** Rollouts that were trained on. */
  readonly trainedRollouts: number;
}

export interface LastSteps {
  /** `kl/ref`, nats per token. */
  readonly klRef: number | null;
  /** `entropy/mean`, nats per token. */
  readonly entropy: number | null;
  /** `correction/weight_mean` and `correction/clipped_share`. */
  readonly weight: number | null;
  readonly clipped: number | null;
  /** `kl/lag_<k>` by k: k3 between the sampler and π_old, nats per token. A synchronous run has `mismatch_kl` as its lag 0. */
  readonly klByLag: readonly (number | null)[];
}

/** Steps at the end and at the start of a run whose means are reported: single steps vary, and the policy changes over longer windows. */
export const EDGE_STEPS = 20;

type StepValues = Readonly<Record<string, number>>;

/** Metrics of each RL step, in order. Records of held-out evaluations and of the warm-up are left out. */
function stepsOf(journal: string): StepValues[] {
  const kept: MetricName = "group/kept";
  return [...readFacts(journal)].flatMap((fact) =>
    fact.type === "metrics.recorded" && kept in fact.data.values ? [fact.data.values as StepValues] : [],
  );
}

function meanOf(steps: readonly StepValues[], name: MetricName): number | null {
  const values = steps.flatMap((step) => step[name] ?? []);
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Reads a run folder. A run without metrics of lag is synchronous: all its tokens have lag 0, and count as one. */
export function readLagRun(directory: string): LagRun {
  const steps = stepsOf(join(directory, JOURNAL_NAME));
  const last = steps.slice(-EDGE_STEPS);
  const tokens: number[] = [];
  for (const step of steps)
    for (let lag = 0; step[`lag/tokens_${lag}`] !== undefined; lag += 1)
      tokens[lag] = (tokens[lag] ?? 0) + (step[`lag/tokens_${lag}`] as number);
  const synchronous = tokens.length === 0;
  const tokensByLag = synchronous ? [1] : tokens.slice(0, tokens.findLastIndex((of) => of > 0) + 1);
  const ended = { stale: 0, trained: 0 };
  for (const { state, reason } of readLedger(join(directory, LEDGER_NAME))) {
    if (state === "trained") ended.trained += 1;
    if (state === "dropped" && reason === "stale") ended.stale += 1;
  }
  const klByLag = (of: readonly StepValues[]) =>
    tokensByLag.map((_, lag) => meanOf(of, synchronous ? "mismatch_kl" : `kl/lag_${lag}`));
  return {
    tokensByLag,
    last: {
      klRef: meanOf(last, "kl/ref"),
      entropy: meanOf(last, "entropy/mean"),
      weight: meanOf(last, "correction/weight_mean"),
      clipped: meanOf(last, "correction/clipped_share"),
      klByLag: klByLag(last),
    },
    firstKlByLag: klByLag(steps.slice(0, EDGE_STEPS)),
    staleRollouts: ended.stale,
    trainedRollouts: ended.trained,
  };
}
