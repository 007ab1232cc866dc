import { lastValueFrom } from "rxjs";
import { isCorrect } from "../../algorithms/accuracy.js";
import { counterKey } from "../../algorithms/random.js";
import { mean } from "../../algorithms/statistics.js";
import type { BucketResult } from "../../contracts/evaluation.js";
import type { RewardActor } from "../../contracts/reward.js";
import type { Sampler, SamplingParams } from "../../contracts/sampler.js";
import type { Task } from "../../contracts/task.js";
import { BoundedQueue } from "../../streams/bounded-queue.js";
import { bucketLabel, holds, type LengthBound } from "../../streams/buckets.js";
import type { ReadyGate } from "../../streams/ready-gate.js";
import { scoreRollout } from "../../streams/scoring.js";
import type { MetricDraft, MetricValues } from "../../streams/telemetry/metrics.js";
import { runWorkers } from "../../streams/workers.js";
import { realTime, type Time } from "../../system/time.js";

/** Held-out evaluation by length bucket: one response per task, scored by the run's reward without length shaping. */

export interface EvaluationTask {
  readonly task: Task;
  readonly promptIds: readonly number[]; // [P]
}

export interface EvaluationOptions {
  readonly seed: number;
  readonly buckets: readonly LengthBound[];
  readonly tasksPerBucket: number;
  /** Prompts per sampler call. */
  readonly promptsPerCall: number;
  readonly sampling: SamplingParams;
  /** Version of the policy that is evaluated; null takes whichever the sampler holds. */
  readonly policy: number | null;
  /** Sampler calls in work at the same time; 1 when left out. */
  readonly samplerCalls?: number;
  /** Deadline of one sampler call, ms. */
  readonly sampleTimeoutMs: number;
  /** Unshaped reward from which a response counts as right. */
  readonly correctAt: number;
  readonly rewardConcurrency: number;
  readonly rewardTimeoutMs: number;
  readonly decode: (ids: readonly number[]) => string;
  readonly time?: Time;
  /** Holds responses back while the reward takes no work; without it nothing waits. */
  readonly gate?: ReadyGate;
}

export type { BucketResult };

/** Share of right answers among the scored responses; null where none was scored. */
export function accuracyOf({ n, correct, unscored }: Omit<BucketResult, "meanReward">): number | null {
  return n > unscored ? correct / (n - unscored) : null;
}

/** The first `tasksPerBucket` tasks of each bucket, in file order. */
export function chooseTasks(
  tasks: readonly EvaluationTask[],
  options: Pick<EvaluationOptions, "buckets" | "tasksPerBucket">,
): Map<LengthBound, EvaluationTask[]> {
  return new Map(
    options.buckets.map((bucket) => {
      const within = tasks.filter(({ task }) => holds(bucket, task.promptTokens));
      return [bucket, within.slice(0, options.tasksPerBucket)];
    }),
  );
}

/** Evaluates the sampler's present policy; results keyed by bucket label in growing order. Buckets without tasks are left out. */
export async function evaluateHeldout(
  sampler: Sampler,
  reward: RewardActor,
  tasks: readonly EvaluationTask[],
  options: EvaluationOptions,
  signal: AbortSignal,
): Promise<Record<string, BucketResult>> {
  const results: Record<string, BucketResult> = {};
  for (const [bucket, chosen] of chooseTasks(tasks, options)) {
    if (chosen.length === 0) continue;
    const { promptsPerCall, samplerCalls = 1 } = options;
    const calls = new BoundedQueue<number>("evaluation", Math.ceil(chosen.length / promptsPerCall));
    for (let start = 0; start < chosen.length; start += promptsPerCall) await calls.push(start);
    calls.close();
    // Scores by place, whichever call ends first.
    const scores: (number | null)[] = new Array(chosen.length).fill(null);
    const evaluate = async (start: number) => {
      const call = chosen.slice(start, start + promptsPerCall);
      const found = await evaluateCall(sampler, reward, call, options, signal);
      scores.splice(start, found.length, ...found);
    };
    await lastValueFrom(runWorkers(calls, samplerCalls, evaluate), { defaultValue: undefined });
    results[bucketLabel(bucket)] = bucketResult(scores, options.correctAt);
  }
  return results;
}

/** Counts of unshaped rewards; null stands for a response that was not scored. */
export function bucketResult(scores: readonly (number | null)[], correctAt: number): BucketResult {
  const scored = scores.filter((score) => score !== null);
  return {
    n: scores.length,
    correct: scored.filter((score) => isCorrect(score, correctAt)).length,
    unscored: scores.length - scored.length,
    meanReward: scored.length === 0 ? null : mean(scored),
  };
}

/** `heldout/…` metrics, numbered by bucket whatever buckets are empty; a bucket without a scored response has no accuracy. */
export function heldoutMetrics(
  results: Readonly<Record<string, BucketResult>>,
  buckets: readonly LengthBound[],
): MetricValues {
  const values: MetricDraft = {};
  for (const bucket of buckets) {
    const result = results[bucketLabel(bucket)];
    if (!result) continue;
    const accuracy = accuracyOf(result);
    if (accuracy !== null) values[`heldout/bucket_${bucket.k}`] = accuracy;
    if (result.meanReward !== null) values[`heldout/reward_bucket_${bucket.k}`] = result.meanReward;
    values[`heldout/unscored_bucket_${bucket.k}`] = result.unscored / result.n;
  }
  return values;
}

async function evaluateCall(
  sampler: Sampler,
  reward: RewardActor,
  call: readonly EvaluationTask[],
  options: EvaluationOptions,
  signal: AbortSignal,
): Promise<(number | null)[]> {
  const prompts = call.map(({ task, promptIds }) => ({
    promptIds,
    seeds: [counterKey(options.seed, "evaluation", task.id)],
  }));
  const reply = await sampler.sample(
    {
      id: `evaluation-v${options.policy ?? ""}-${call[0]?.task.id ?? ""}+${call.length}`,
      prompts,
      params: options.sampling,
      policy: options.policy === null ? null : { exactly: options.policy },
      purpose: "evaluation",
      deadlineMs: options.sampleTimeoutMs,
    },
    { signal },
  );
  const jobs = new BoundedQueue<number>("evaluation rewards", Math.max(1, call.length));
  for (const index of call.keys()) await jobs.push(index);
  jobs.close();
  const scores = new Array<number | null>(call.length).fill(null);
  const score = async (index: number) => {
    const { task, promptIds } = call[index] as EvaluationTask;
    const sequence = reply.sequences[index]?.[0];
    if (!sequence) return;
    const rollout = {
      id: `evaluation-${task.id}`,
      taskId: task.id,
      groupId: `evaluation-${task.id}`,
      sampleIndex: 0,
      promptIds,
      tokenIds: sequence.tokenIds,
      samplerLogprobs: sequence.logprobs,
      entropies: sequence.entropies,
      finish: sequence.finish,
      policy: sequence.spans,
      seed: prompts[index]?.seeds[0] ?? 0,
      text: options.decode(sequence.tokenIds),
    };
    const { gate, rewardTimeoutMs: timeoutMs, time = realTime } = options;
    const outcome = await scoreRollout({ task, rollout }, { reward: () => reward, timeoutMs, time, gate }, signal);
    scores[index] = outcome.kind === "scored" ? outcome.value : null;
  };
  await lastValueFrom(runWorkers(jobs, options.rewardConcurrency, score), { defaultValue: undefined });
  return scores;
}
