import { WeirError } from "../../errors.js";

/**
 * The registry of metric names. Names are API: they are stable, unknown ones are refused, docs/metrics.md is generated from here.
 * A name that ends in `<k>` stands for one metric per phase (length bucket) k = 1, 2, … or lag k = 0, 1, …, one that ends in
 * `<name>` for one per name that a user's part chose.
 */

/** One registered metric name. */
export interface MetricDefinition {
  readonly name: string;
  readonly unit: string;
  readonly meaning: string;
}

export const METRICS = [
  {
    name: "reward/mean",
    unit: "1",
    meaning:
      "Mean reward after length shaping (Eq. 7) over the scored rollouts of the step; absent where none was scored (I1), as are the other means of rewards.",
  },
  {
    name: "reward/unshaped_mean",
    unit: "1",
    meaning: "The same before length shaping; what the curriculum sees as its mean reward.",
  },
  {
    name: "reward/std",
    unit: "1",
    meaning: "Sample standard deviation of that reward over the scored rollouts of the step.",
  },
  { name: "reward/scored_share", unit: "1", meaning: "Share of finished rollouts whose reward outcome is `scored`." },
  {
    name: "reward/invalid",
    unit: "rollouts",
    meaning: "Finished rollouts of the step whose reward was no number, or one out of its range (outcome `invalid`).",
  },
  {
    name: "reward/rule_judge_agreement",
    unit: "1",
    meaning:
      "Share of the scored rollouts with the parts `rule` and `judge` that both or neither reach `reward.correctAt`; absent where no rollout has both.",
  },
  {
    name: "judge/failure_share",
    unit: "1",
    meaning:
      "Share of the responses that the judge was asked about and gave no verdict on: its calls failed or timed out; absent where it was asked about none, as are the other numbers of the judge.",
  },
  {
    name: "judge/seconds_mean",
    unit: "s",
    meaning:
      "Mean time from a question to the judge to its end, waiting included, over the questions that its cache did not answer.",
  },
  { name: "judge/seconds_p95", unit: "s", meaning: "Nearest-rank 95 % quantile of the same times." },
  { name: "judge/cached_share", unit: "1", meaning: "Share of the questions that the judge's cache answered." },
  {
    name: "judge/requests",
    unit: "requests",
    meaning: "Requests that were sent to the judge for the step's responses, repetitions and hedges included.",
  },
  {
    name: "judge/tokens",
    unit: "tokens",
    meaning: "Prompt and completion tokens of the judge as its server counts them; absent where the server tells none.",
  },
  {
    name: "judge/cost",
    unit: "currency",
    meaning:
      "Price of those tokens by `reward.judge.price`, in its currency; absent without prices, or where the server tells no tokens.",
  },
  {
    name: "accuracy/mean",
    unit: "1",
    meaning: "Share of scored rollouts whose unshaped reward reaches `reward.correctAt`, before filtering.",
  },
  { name: "accuracy/bucket_<k>", unit: "1", meaning: "The same for rollouts whose task lies in length bucket k." },
  {
    name: "heldout/bucket_<k>",
    unit: "1",
    meaning:
      "Accuracy over the scored responses to held-out tasks of length bucket k at the latest evaluation; absent where none was scored.",
  },
  {
    name: "heldout/reward_bucket_<k>",
    unit: "1",
    meaning: "Mean unshaped reward over the same responses.",
  },
  {
    name: "heldout/unscored_bucket_<k>",
    unit: "1",
    meaning: "Share of the responses of length bucket k that could not be scored at the latest evaluation.",
  },
  {
    name: "eval/<name>",
    unit: "1",
    meaning:
      "Results of the benchmarks of `evaluation.benchmarks` at the latest evaluation: `NAME/score`, the mean over the scored responses; `NAME/score_over_all`, over all of them; `NAME/unscored_share`; `NAME/pass_at_K`.",
  },
  {
    name: "group/zero_variance_share",
    unit: "1",
    meaning: "Share of the viable groups that finished whose scored unshaped rewards are all equal, dropped or not.",
  },
  {
    name: "group/unviable_share",
    unit: "1",
    meaning:
      "Share of finished groups of which too few responses were scored (`dynamicSampling.minScoredShare`); they enter no mean of rewards.",
  },
  { name: "group/kept", unit: "groups", meaning: "Groups that the step trained on." },
  {
    name: "group/stale_dropped_share",
    unit: "1",
    meaning:
      "Share of the groups that ended since the step before that were dropped because they would have been trained at a lag above `async.maxLag`; only with that above 0.",
  },
  { name: "group/rounds", unit: "rounds", meaning: "Generation rounds that dynamic sampling needed for the step." },
  {
    name: "group/carried_share",
    unit: "1",
    meaning: "Share of trained groups brought from an earlier phase by retrospective sampling.",
  },
  { name: "kl/old_k1", unit: "nats", meaning: "Token mean of log π_old − log π at the update (verl's ppo_kl)." },
  {
    name: "kl/old_k3",
    unit: "nats",
    meaning: "Token mean of the k3 estimator of KL(π ‖ π_old) at the update, not clamped.",
  },
  {
    name: "kl/update",
    unit: "nats",
    meaning:
      "KL(π before ‖ π after) of the step's optimiser steps: token mean of k3, not clamped, on the responses of the groups that `update.klShare` chooses of each mini-batch, averaged over the optimiser steps that were applied; absent where none was measured.",
  },
  { name: "kl/update_k1", unit: "nats", meaning: "The same by k1, which is unbiased and may be negative." },
  {
    name: "kl/update_se",
    unit: "nats",
    meaning:
      "Standard error of `kl/update`, with whole responses as the units of sampling; absent where a measurement has a single response.",
  },
  { name: "kl/update_max", unit: "nats", meaning: "Largest k3 of a token in `kl/update`." },
  {
    name: "kl/update_bucket_<k>",
    unit: "nats",
    meaning: "`kl/update` over the measured responses to tasks of length bucket k; absent where there are none.",
  },
  {
    name: "kl/ref",
    unit: "nats",
    meaning:
      "Token mean of the configured estimator of KL(π ‖ π_ref) at the gradient, k3 clamped per token as in the loss (`loss.klClamp`); only with a reference policy, and with `loss.klCoefficient` 0 on the groups that `loss.monitorShare` chooses.",
  },
  {
    name: "kl/ref_se",
    unit: "nats",
    meaning:
      "Standard error of `kl/ref`, with whole responses as the units of sampling; absent for fewer than two responses.",
  },
  {
    name: "kl/ref_bucket_<k>",
    unit: "nats",
    meaning:
      "The same estimator at the weights before the step, over the responses to tasks of length bucket k; absent where there are none.",
  },
  {
    name: "mismatch_kl",
    unit: "nats",
    meaning:
      "Token mean of k3, not clamped, between sampler and trainer log-probs at the same policy version, over the tokens of that version that the trainer ran forward (I8); absent where there are none, or where the sampler's log-probs are of another distribution.",
  },
  {
    name: "mismatch_abs",
    unit: "nats",
    meaning:
      "Token mean of |sampler log-prob − trainer log-prob| at the same policy version, over the same tokens (I8).",
  },
  {
    name: "lag/mean",
    unit: "versions",
    meaning:
      "Mean lag of the update's tokens: the trainer's policy version minus the one that sampled; only with `async.maxLag` above 0, as are all metrics of lag.",
  },
  { name: "lag/max", unit: "versions", meaning: "Largest lag of a token of the update (I13)." },
  { name: "lag/stale_share", unit: "1", meaning: "Share of the update's tokens with a lag above 0." },
  { name: "lag/tokens_<k>", unit: "tokens", meaning: "Tokens of the update with lag k, k = 0 … `async.maxLag`." },
  {
    name: "kl/lag_<k>",
    unit: "nats",
    meaning:
      "Token mean of k3, not clamped, of the sampler's log-probs against π_old's over the tokens of lag k that the trainer ran forward; absent where there are none.",
  },
  {
    name: "correction/weight_mean",
    unit: "1",
    meaning:
      "Mean weight of rollout correction over the tokens that it leaves in the loss; only with `update.correction`, as are all metrics of correction.",
  },
  { name: "correction/weight_max", unit: "1", meaning: "Largest of these weights." },
  {
    name: "correction/clipped_share",
    unit: "1",
    meaning: "Share of the update's tokens whose importance weight `update.correction.upper` or `lower` changed.",
  },
  {
    name: "correction/effective_share",
    unit: "1",
    meaning: "Kish's effective sample size of the weights over the number of tokens: (Σw)²/(n·Σw²).",
  },
  {
    name: "correction/rejected_share",
    unit: "1",
    meaning: "Share of the update's tokens that have weight 0, by rejection or by `update.correction.lower`.",
  },
  {
    name: "entropy/mean",
    unit: "nats",
    meaning:
      "Token mean entropy of the temperature-scaled policy on the sampled tokens; absent where the sampler gives no entropies.",
  },
  {
    name: "entropy/first_quarter",
    unit: "nats",
    meaning: "The same over tokens in the first quarter of their response; token t of T lies in quarter ⌊4t/T⌋.",
  },
  { name: "entropy/second_quarter", unit: "nats", meaning: "The same over the second quarter." },
  { name: "entropy/third_quarter", unit: "nats", meaning: "The same over the third quarter." },
  { name: "entropy/last_quarter", unit: "nats", meaning: "The same over the last quarter." },
  { name: "loss/total", unit: "1", meaning: "Policy loss with KL and entropy terms." },
  { name: "loss/policy", unit: "1", meaning: "Clipped policy-gradient loss alone (Eq. 4 or Eq. 6)." },
  { name: "loss/sft", unit: "nats", meaning: "Negative log-likelihood of the warm-up (Eq. 11)." },
  { name: "clip/fraction", unit: "1", meaning: "Share of tokens whose clipped loss exceeds the unclipped one." },
  { name: "clip/fraction_lower", unit: "1", meaning: "Share of tokens that the dual clip limits." },
  {
    name: "clip/fraction_low",
    unit: "1",
    meaning:
      "Share of tokens with a negative advantage and a ratio below 1 − ε_low; only with a loss that clips the ratio (grpo, dapo, dr_grpo).",
  },
  {
    name: "clip/fraction_high",
    unit: "1",
    meaning: "Share of tokens with a positive advantage and a ratio above 1 + ε_high; only with the same losses.",
  },
  { name: "ratio/max", unit: "1", meaning: "Largest importance ratio π / π_old in the step." },
  {
    name: "ratio/p01",
    unit: "1",
    meaning: "1st percentile of π / π_old over the tokens of the step's gradients, linearly interpolated.",
  },
  { name: "ratio/p99", unit: "1", meaning: "99th percentile of the same." },
  {
    name: "ratio/effective_share",
    unit: "1",
    meaning:
      "Kish's effective sample size of these ratios over the number of tokens, (Σρ)²/(n·Σρ²): 1 where the policy of the gradient is the one before the step.",
  },
  {
    name: "advantage/negative_token_share",
    unit: "1",
    meaning: "Share of the tokens of the step's gradients with a negative advantage.",
  },
  { name: "advantage/max_abs", unit: "1", meaning: "Largest |advantage| of a token of the step's gradients." },
  {
    name: "gradient/norm",
    unit: "1",
    meaning: "Global L2 norm of the gradient before clipping, mean over the step's optimiser steps.",
  },
  {
    name: "gradient/applied",
    unit: "1",
    meaning:
      "Share of the step's optimiser steps that were committed; below 1 where a gradient was not finite or the guard skipped it.",
  },
  {
    name: "update/applied",
    unit: "1",
    meaning:
      "Optimiser steps of the RL step that changed weights: committed, with a gradient and a learning rate above 0.",
  },
  {
    name: "update/idle_steps",
    unit: "steps",
    meaning: "Consecutive RL steps, this one included, that changed no weight.",
  },
  {
    name: "guard/skipped",
    unit: "1",
    meaning: "Optimiser steps of the RL step that the guard threw away, those that were not finite included.",
  },
  { name: "guard/rollbacks", unit: "1", meaning: "Rollbacks of the run so far." },
  { name: "guard/shrunk", unit: "1", meaning: "Optimiser steps of the RL step that the guard made smaller." },
  { name: "optimiser/learning_rate", unit: "1", meaning: "Learning rate of the step's last optimiser step." },
  { name: "response/length_mean", unit: "tokens", meaning: "Mean response length of the step's rollouts." },
  { name: "response/length_p95", unit: "tokens", meaning: "95th percentile of the response length." },
  { name: "response/truncated_share", unit: "1", meaning: "Share of rollouts that ended by length." },
  {
    name: "response/cut_short_share",
    unit: "1",
    meaning:
      "Share of rollouts that ended by length with fewer tokens than `rollout.maxTokens`: the sampler stopped them earlier than it was told to.",
  },
  {
    name: "response/ngram_overlap",
    unit: "1",
    meaning:
      "Mean share of a response's 3-grams of tokens that occur in its prompt, which holds the document: how much is copied.",
  },
  {
    name: "response/evidence_overlap",
    unit: "1",
    meaning:
      "Mean share of the evidence's 3-grams of words that occur in the response, over tasks whose `meta.evidence` names the sentences that the answer follows from; absent where none does.",
  },
  {
    name: "behaviour/grounding_per_response",
    unit: "1",
    meaning:
      "Mean number of sentences per finished response with words of information recalled from the document (docs/behaviours.md).",
  },
  {
    name: "behaviour/subgoal_setting_per_response",
    unit: "1",
    meaning:
      "Mean number of sentences per finished response with words of setting a smaller question (docs/behaviours.md).",
  },
  {
    name: "behaviour/backtracking_per_response",
    unit: "1",
    meaning:
      "Mean number of sentences per finished response with words of revising what was said (docs/behaviours.md).",
  },
  {
    name: "behaviour/verification_per_response",
    unit: "1",
    meaning: "Mean number of sentences per finished response with words of checking a result (docs/behaviours.md).",
  },
  {
    name: "behaviour/judged_grounding_per_response",
    unit: "1",
    meaning:
      "Mean number of instances that the judge counts per response; only with `reward.behaviours.judgeShare` above 0, over the responses for which it gave counts, as are the two below.",
  },
  {
    name: "behaviour/grounding_agreement",
    unit: "1",
    meaning: "Share of these responses in which both, words and judge, or neither find an instance.",
  },
  {
    name: "behaviour/grounding_correlation",
    unit: "1",
    meaning:
      "Pearson's correlation of the two counts over these responses; absent for fewer than three, and where a side has no spread.",
  },
  {
    name: "behaviour/judged_subgoal_setting_per_response",
    unit: "1",
    meaning:
      "Mean number of instances that the judge counts per response; only with `reward.behaviours.judgeShare` above 0, over the responses for which it gave counts, as are the two below.",
  },
  {
    name: "behaviour/subgoal_setting_agreement",
    unit: "1",
    meaning: "Share of these responses in which both, words and judge, or neither find an instance.",
  },
  {
    name: "behaviour/subgoal_setting_correlation",
    unit: "1",
    meaning:
      "Pearson's correlation of the two counts over these responses; absent for fewer than three, and where a side has no spread.",
  },
  {
    name: "behaviour/judged_backtracking_per_response",
    unit: "1",
    meaning:
      "Mean number of instances that the judge counts per response; only with `reward.behaviours.judgeShare` above 0, over the responses for which it gave counts, as are the two below.",
  },
  {
    name: "behaviour/backtracking_agreement",
    unit: "1",
    meaning: "Share of these responses in which both, words and judge, or neither find an instance.",
  },
  {
    name: "behaviour/backtracking_correlation",
    unit: "1",
    meaning:
      "Pearson's correlation of the two counts over these responses; absent for fewer than three, and where a side has no spread.",
  },
  {
    name: "behaviour/judged_verification_per_response",
    unit: "1",
    meaning:
      "Mean number of instances that the judge counts per response; only with `reward.behaviours.judgeShare` above 0, over the responses for which it gave counts, as are the two below.",
  },
  {
    name: "behaviour/verification_agreement",
    unit: "1",
    meaning: "Share of these responses in which both, words and judge, or neither find an instance.",
  },
  {
    name: "behaviour/verification_correlation",
    unit: "1",
    meaning:
      "Pearson's correlation of the two counts over these responses; absent for fewer than three, and where a side has no spread.",
  },
  {
    name: "behaviour/judge_failed_share",
    unit: "1",
    meaning: "Share of the responses that the judge was asked about for which it gave no counts.",
  },
  {
    name: "response/evidence_copied",
    unit: "1",
    meaning:
      "Mean share of a response's 3-grams of words that occur in the evidence, over tasks that name it (`meta.evidence`) and responses of three words or more.",
  },
  {
    name: "response/distractor_copied",
    unit: "1",
    meaning:
      "Mean share of a response's 3-grams of words that occur in the rest of the document and not in the evidence, over such tasks whose document is known, or whose `meta.distractors` lists it.",
  },
  {
    name: "data/truncated_share",
    unit: "1",
    meaning: "Share of the training tasks of all phases whose prompt was cut in the middle, as preflight counts them.",
  },
  {
    name: "data/never_issued_share",
    unit: "1",
    meaning:
      "Share of the training tasks that are never issued: too long for every phase, or dropped by data.overlong; reported once, by preflight.",
  },
  { name: "prompt/length_mean", unit: "tokens", meaning: "Mean templated prompt length of the step's tasks." },
  {
    name: "padding/share",
    unit: "1",
    meaning: "Share of the computed token positions of an update or a warm-up step that were padding.",
  },
  { name: "time/step_seconds", unit: "s", meaning: "Wall time of the step." },
  {
    name: "time/sample_seconds",
    unit: "s",
    meaning: "Wall time in which at least one of the step's sampler calls was under way.",
  },
  {
    name: "time/sample_call_seconds",
    unit: "s",
    meaning: "Summed time of the step's sampler calls, which may run at once.",
  },
  { name: "time/reward_seconds", unit: "s", meaning: "Summed latency of the step's rewards, which run concurrently." },
  {
    name: "time/held_seconds",
    unit: "s",
    meaning:
      "Time of the step in which nothing was sampled or scored because the reward took no work; absent where there was none.",
  },
  { name: "time/train_seconds", unit: "s", meaning: "Wall time of the step spent in forward, backward and optimiser." },
  {
    name: "time/kl_seconds",
    unit: "s",
    meaning: "Part of it that measuring `kl/update` took; absent where nothing was measured.",
  },
  {
    name: "time/publish_seconds",
    unit: "s",
    meaning: "Wall time from naming the new weights to having them in the policy store.",
  },
  { name: "time/snapshot_seconds", unit: "s", meaning: "Wall time of the snapshot that was taken before the step." },
  { name: "time/adopt_seconds", unit: "s", meaning: "Wall time that the sampler took to adopt a published policy." },
  {
    name: "throughput/sampled_tokens_per_second",
    unit: "tokens/s",
    meaning: "Sampled tokens over `time/sample_seconds`.",
  },
  {
    name: "throughput/trained_tokens_per_second",
    unit: "tokens/s",
    meaning: "Prompt and response tokens of the update over training time.",
  },
  { name: "engine/tensors", unit: "1", meaning: "Live tensors in the engine after the step; flat in a healthy run." },
  { name: "engine/rss_bytes", unit: "bytes", meaning: "Resident memory of the engine process." },
  { name: "control/rss_bytes", unit: "bytes", meaning: "Resident memory of the control process." },
  {
    name: "reward/parts/<name>",
    unit: "1",
    meaning:
      "Mean of a reward's part of that name (rule, judge, one of your own) over the scored rollouts that have it.",
  },
  {
    name: "custom/<name>",
    unit: "the part's own",
    meaning: "Mean of what your parts published under that name during the step (docs/parts.md).",
  },
] as const satisfies readonly MetricDefinition[];

/** A name as the registry spells it. */
export type RegisteredName = (typeof METRICS)[number]["name"];

/** A name as it is written: `<k>` is replaced by the number of a phase or a lag, `<name>` by a name that a part chose. */
type Written<N extends string> = N extends `${infer Head}<k>`
  ? `${Head}${number}`
  : N extends `${infer Head}<name>`
    ? `${Head}${string}`
    : N;

type Plain = Exclude<RegisteredName, `${string}>`>;
type Patterned = Written<Exclude<RegisteredName, Plain>>;

/** A registered metric name. */
export type MetricName = Plain | Patterned;

/** Scalars by registered name; none needs to be there. */
export type MetricValues = { readonly [N in Plain]?: number } & { readonly [N in Patterned]: number };

/** The same, mutable. */
export type MetricDraft = { -readonly [N in keyof MetricValues]: MetricValues[N] };

const EXACT: ReadonlySet<string> = new Set(METRICS.map((metric) => metric.name));
const NAMED = METRICS.flatMap(({ name }) => (name.endsWith("<name>") ? [name.slice(0, -"<name>".length)] : []));
const OWN_NAME = /^[A-Za-z0-9_.-]{1,64}(\/[A-Za-z0-9_.-]{1,64}){0,3}$/;

/** True for what may stand in the place of `<name>`: words of letters, digits, `_`, `.`, `-`, up to four with `/` between. */
export function isOwnName(name: unknown): name is string {
  return typeof name === "string" && OWN_NAME.test(name);
}

/** True for names of the registry, numbered ones and those of a user's parts included. */
export function isMetricName(name: string): name is MetricName {
  if (EXACT.has(name)) return !name.endsWith(">");
  if (EXACT.has(name.replace(/_\d+$/, "_<k>"))) return true;
  return NAMED.some((prefix) => name.startsWith(prefix) && isOwnName(name.slice(prefix.length)));
}

/**
 * Checks a record of metrics: every name is registered and every value finite.
 * Errors: WEIR_E_CONFIG for an unknown name; WEIR_E_NON_FINITE for a value that must not go on.
 */
export function assertMetrics(values: Readonly<Record<string, number>>): void {
  for (const [name, value] of Object.entries(values)) {
    if (!isMetricName(name)) {
      throw new WeirError(
        "WEIR_E_CONFIG",
        `expected a registered metric name, got "${name}"; add it to src/streams/telemetry/metrics.ts`,
        { name },
      );
    }
    if (!Number.isFinite(value)) {
      throw new WeirError("WEIR_E_NON_FINITE", `expected a finite value for metric "${name}", got ${value}`, {
        name,
        value,
      });
    }
  }
}
