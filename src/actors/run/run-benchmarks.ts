/**
 * Benchmarks of a run (`evaluation.benchmarks`): asked of one leased policy version, through the run's own sampler; every response goes
 * to `evaluations/STAGE/NAME.parquet` of the run folder.
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { EvaluatedResponse } from "../../contracts/evaluated-response.js";
import type { BenchmarkResult } from "../../contracts/evaluation.js";
import { streamRecords } from "../../data/records.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { PRIVATE_FOLDER, writeDurably } from "../../store/durable.js";
import type { MetricDraft, MetricValues } from "../../streams/telemetry/metrics.js";
import { evaluateBenchmark } from "../evaluation/evaluate-benchmark.js";
import { inOrder } from "../evaluation/evaluation-folder.js";
import { bucketLabels, DEFAULT_BUCKETS, lengthBucket } from "../evaluation/length-buckets.js";
import { encodeResponses } from "../evaluation/response-columns.js";
import type { RunBenchmarks } from "../evaluation/run-benchmark-list.js";
import { createSamplerResponder } from "../evaluation/sampler-responder.js";
import { summariseBenchmark } from "../evaluation/summary.js";
import { rolloutSampling } from "./rl-step.js";
import type { RunContext } from "./run-context.js";
import { samplerCalls, sampleTimeoutMs } from "./sampler-engines.js";

const bucketOf = (tokens: number | null) => lengthBucket(tokens, DEFAULT_BUCKETS);

/** Results by name, in the order of the configuration; empty without benchmarks. Errors: those of readers, sampler and disk. */
export async function evaluateBenchmarks(
  context: RunContext,
  stage: string,
  policy: number,
  signal: AbortSignal,
): Promise<Record<string, BenchmarkResult>> {
  const results: Record<string, BenchmarkResult> = {};
  for (const one of context.benchmarks?.all ?? [])
    results[one.name] = await evaluateOne(context, one, stage, policy, signal);
  return results;
}

async function evaluateOne(
  context: RunContext,
  { name, file, samples, perBucket, temperature, topP, benchmark }: RunBenchmarks["all"][number],
  stage: string,
  policy: number,
  signal: AbortSignal,
): Promise<BenchmarkResult> {
  const { config, tokenizer, parts, store } = context;
  const { model } = parts.trainer;
  const { rollout, reward, run } = config;
  const responses: EvaluatedResponse[] = [];
  const responder = createSamplerResponder({
    ...{ sampler: parts.sampler, tokenizer, policy },
    sampling: {
      ...rolloutSampling(config, withEndOfTurn(model.stopIds, tokenizer.endOfTurn)),
      ...{ temperature, topP: temperature === 0 ? 1 : topP, topK: 0 },
    },
    maxPromptTokens: model.maxPositions - rollout.maxTokens,
    deadlineMs: sampleTimeoutMs(config),
    questionsPerCall: Math.max(1, Math.floor((rollout.promptsPerCall * rollout.groupSize) / samples)),
    callsInFlight: samplerCalls(config),
  });
  await evaluateBenchmark(
    {
      ...{ name, benchmark, file, rows: streamRecords(file), responder, judge: context.benchmarks?.judge() ?? null },
      ...{ requireThink: reward.requireThink, samples, seed: run.seed, limit: null, perBucket, bucketOf },
      ...{ known: () => null, stored: () => null, retryFailed: false },
      record: (response) => responses.push(response),
      ...{ scoreTimeoutMs: reward.timeoutMs, scoreConcurrency: reward.concurrency, timers: context.time },
      onWait: (reason) => {
        if (reason !== null)
          context.log.warn({ actor: "evaluation", benchmark: name }, `waiting for the judge: ${reason}`);
      },
    },
    signal,
  );
  const ordered = inOrder(responses, [name]);
  const folder = join(store.directory, "evaluations", stage);
  await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
  const rows = encodeResponses(ordered, ({ response }) => response, bucketOf);
  await writeDurably(join(folder, `${name}.parquet`), rows);
  const options = {
    samples,
    correctAt: benchmark.correctAt ?? 1,
    bucketOf,
    bucketLabels: bucketLabels(DEFAULT_BUCKETS),
  };
  const { all } = summariseBenchmark(name, ordered, { ...options, seed: run.seed });
  return {
    ...{ items: all.items, responses: all.responses, scored: all.scored },
    scoreOverAll: all.scoreOverAll?.value ?? 0,
    scoreOverScored: all.scoreOverScored?.value ?? null,
    passAt: all.passAt.map(({ k, value }) => ({ k, value })),
  };
}

/** `eval/NAME/…` metrics. A benchmark without a scored response has no score. */
export function benchmarkMetrics(results: Readonly<Record<string, BenchmarkResult>>): MetricValues {
  const values: MetricDraft = {};
  for (const [name, { responses, scored, scoreOverAll, scoreOverScored, passAt }] of Object.entries(results)) {
    values[`eval/${name}/score_over_all`] = scoreOverAll;
    if (scoreOverScored !== null) values[`eval/${name}/score`] = scoreOverScored;
    values[`eval/${name}/unscored_share`] = (responses - scored) / responses;
    for (const { k, value } of passAt) if (k > 1) values[`eval/${name}/pass_at_${k}`] = value;
  }
  return values;
}

/** One line for people: scores over the scored responses, and how many have none. */
export function benchmarksLine(results: Readonly<Record<string, BenchmarkResult>>): string {
  return Object.entries(results)
    .map(([name, { responses, scored, scoreOverScored }]) => {
      const score = scoreOverScored === null ? "–" : `${(100 * scoreOverScored).toFixed(1)} %`;
      return `${name} ${score}${scored < responses ? ` (${responses - scored} of ${responses} without a score)` : ""}`;
    })
    .join(" · ");
}
