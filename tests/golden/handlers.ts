/**
 * One handler per key of goldens.json: runs weir's functions on the inputs and compares every expected field.
 * `inputs` are the leaves that are given or prose; all others are expected values, and the meta-test changes each in turn.
 */
import { advantagesByGroup, groupAdvantages, leaveOneOutAdvantages } from "../../src/algorithms/advantages.js";
import { accumulateRound, emptyAccumulation, hasVariance } from "../../src/algorithms/dynamic-sampling.js";
import { hybridReward } from "../../src/algorithms/hybrid.js";
import { klEstimate } from "../../src/algorithms/kl.js";
import { overlongPenalty } from "../../src/algorithms/overlong.js";
import { passAtK } from "../../src/algorithms/pass-at-k.js";
import { phaseOf } from "../../src/algorithms/phases.js";
import { learningRateMultiplier } from "../../src/algorithms/schedules.js";
import { mean, standardDeviation } from "../../src/algorithms/statistics.js";
import { truncateMiddle } from "../../src/algorithms/truncation.js";
import { parseJudgeReply } from "../../src/rewards/judge/reply.js";
import { parseNumericAnswer, releasedNumbersEqual } from "../../src/rewards/numbers.js";
import { exactMatch, normaliseAnswer, substringMatch, tokenF1 } from "../../src/rewards/qa.js";
import { scoreByRule } from "../../src/rewards/rule.js";
import { answerPart } from "../../src/rewards/text.js";
import { tokenLevelGroupAdvantages } from "../oracle/advantages.js";
import { batchPlan } from "../oracle/batch-arithmetic.js";
import { difficulty, isCarriedByPaper } from "../oracle/difficulty.js";
import { adaptKlCoefficient, klInReward, klLoss, klMatrix } from "../oracle/kl.js";
import { entropy, logprobs } from "../oracle/logprob.js";
import {
  aggregateLoss,
  aggregateLossFork,
  aggregateLossUpstream,
  type LossMode,
  microBatchLoss,
  microBatchLossFork,
} from "../oracle/loss-aggregation.js";
import { maskedMean, maskedVariance, maskedWhiten } from "../oracle/masked.js";
import { shapedRewards } from "../oracle/overlong.js";
import { policyLossBatch, tokenMeanGradient, totalPolicyLoss } from "../oracle/policy-loss.js";
import { sftMask, sftSequenceMean, sftTokenMean } from "../oracle/sft.js";
import { tokenPolicyLoss } from "../oracle/token-policy-loss.js";
import { type Json, type JsonObject, same } from "./compare.js";

export interface Handler {
  /** Patterns of leaves that are inputs or prose. */
  readonly inputs: readonly string[];
  /** Throws on the first expected value that differs. */
  check(golden: JsonObject): void;
}

// biome-ignore lint/suspicious/noExplicitAny: a golden's fields are read by name, and a missing one must fail in the comparison
type Fields = any;

function forCases(golden: JsonObject, check: (fields: Fields, path: string) => void): void {
  const cases = (Array.isArray(golden) ? golden : golden.cases) as Json[];
  if (!Array.isArray(cases) || cases.length === 0) throw new Error("cases: expected at least one");
  cases.forEach((fields, index) => {
    check(fields, `cases[${index}]`);
  });
}

type UpstreamMode = Exclude<LossMode, "seq-mean-token-sum-constant">;
const LOSS_MODES: readonly UpstreamMode[] = [
  "token-mean",
  "seq-mean-token-sum",
  "seq-mean-token-mean",
  "seq-mean-token-sum-norm",
];

/** The overlong settings that the overlong_to_advantage golden assumes without naming them: those of the release. */
const RELEASED_OVERLONG = { maxTokens: 10_000, bufferTokens: 1_000, factor: 1, mode: "released" } as const;
/** Epochs of the release, which the golden's total of training steps assumes without naming them. */
const RELEASED_EPOCHS = 30;

const released = { mode: "released", requireThink: true } as const;

export const handlers: Readonly<Record<string, Handler>> = {
  _about: { inputs: ["what", "fork", "upstream", "infinity"], check: () => {} },

  grpo_advantage: {
    inputs: ["formula", "cases.*.name", "cases.*.rewards.*", "cases.*.group.*", "cases.*.eps", "cases.*.norm_by_std"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const options = { epsilon: c.eps, normaliseByStd: c.norm_by_std };
        same(
          advantagesByGroup(c.rewards, c.group, (r) => groupAdvantages(r, options)),
          c.advantages,
          path,
        );
      }),
  },

  grpo_advantage_broadcast: {
    inputs: ["token_level_rewards.*.*", "mask.*.*", "group.*", "formula"],
    check: (golden: Fields) => {
      same(
        tokenLevelGroupAdvantages(golden.token_level_rewards, golden.mask, golden.group),
        golden.advantages,
        "advantages",
      );
    },
  },

  grpo_vectorized_upstream: {
    inputs: ["formula", "cases.*.rewards.*"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const vectorised = groupAdvantages(c.rewards, { variant: "vectorised" });
        if ("advantages" in c) same(vectorised, c.advantages, path);
        if ("advantages_vectorized" in c) same(vectorised, c.advantages_vectorized, path);
        if ("advantages_loop" in c) same(groupAdvantages(c.rewards), c.advantages_loop, path);
      }),
  },

  rloo_advantage: {
    inputs: ["formula", "cases.*.rewards.*", "cases.*.group.*"],
    check: (golden) =>
      forCases(golden, (c, path) =>
        same(advantagesByGroup(c.rewards, c.group, leaveOneOutAdvantages), c.advantages, path),
      ),
  },

  masked_whiten: {
    inputs: ["formula", "values.*.*", "mask.*.*"],
    check: (golden: Fields) => {
      same(maskedMean(golden.values, golden.mask), golden.masked_mean, "masked_mean");
      same(maskedVariance(golden.values, golden.mask), golden.unbiased_var, "unbiased_var");
      same(maskedWhiten(golden.values, golden.mask), golden.whitened_on_mask, "whitened_on_mask");
    },
  },

  ppo_clip_per_token: {
    inputs: [
      "formula",
      ...["name", "ratio", "advantage", "clip_low", "clip_high", "clip_c"].map((f) => `cases.*.${f}`),
    ],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const options = { clipLow: c.clip_low, clipHigh: c.clip_high, dualClip: c.clip_c };
        const token = tokenPolicyLoss(c.ratio, c.advantage, options);
        same(token.unclipped, c.loss1, `${path}.loss1`);
        same(token.clipped, c.loss2, `${path}.loss2`);
        same(token.loss, c.loss, `${path}.loss`);
        if (!kinks(c).includes(c.at_kink)) same(!c.at_kink, c.at_kink, `${path}.at_kink`);
        // On a boundary one rounding decides the counters and which branch is differentiated: either value will do.
        const either = (actual: number, others: readonly number[], expected: number, field: string) => {
          if (!c.at_kink || !others.includes(expected)) same(actual, expected, `${path}.${field}`);
        };
        either(token.countedClipped, [0, 1], c.counted_clipped, "counted_clipped");
        either(token.countedClippedLower, [0, 1], c.counted_clipped_lower, "counted_clipped_lower");
        either(token.derivative, [0, token.unclipped], c.dloss_dlogp, "dloss_dlogp");
      }),
  },

  ppo_clip_batch: {
    inputs: [
      "formula",
      "note",
      ...["old_logp", "new_logp", "advantages", "mask"].map((field) => `${field}.*.*`),
      ...["clip_low", "clip_high", "clip_c"].map((field) => `<variant>.${field}`),
    ],
    check: (golden: Fields) => {
      const { mask } = golden;
      const variants = Object.keys(golden).filter((key) => /^(fork|upstream)_/.test(key));
      if (variants.length === 0) throw new Error("ppo_clip_batch: expected at least one variant");
      for (const name of variants) {
        const c = golden[name];
        const variant = name.startsWith("fork") ? "fork" : "upstream";
        const batch = policyLossBatch({
          newLogprobs: golden.new_logp,
          oldLogprobs: golden.old_logp,
          advantages: golden.advantages,
          mask,
          clipLow: c.clip_low,
          clipHigh: c.clip_high,
          dualClip: c.clip_c,
          variant,
        });
        same(batch.perToken, c.per_token_loss_on_mask, `${name}.per_token_loss_on_mask`);
        same(batch.clipFraction, c.clipfrac, `${name}.clipfrac`);
        same(batch.oldKlK1, c.ppo_kl, `${name}.ppo_kl`);
        same(tokenMeanGradient(batch, mask), c.dloss_dlogp_token_mean, `${name}.dloss_dlogp_token_mean`);
        if (variant === "fork") {
          same(aggregateLossFork(batch.perToken, mask, "token-level"), c.pg_loss_token_level, `${name}.token`);
          same(aggregateLossFork(batch.perToken, mask, "sequence-level"), c.pg_loss_sequence_level, `${name}.sequence`);
        } else {
          same(batch.clipFractionLower, c.clipfrac_lower, `${name}.clipfrac_lower`);
          for (const mode of LOSS_MODES) {
            same(aggregateLossUpstream(batch.perToken, mask, mode), c[mode], `${name}.${mode}`);
          }
        }
      }
    },
  },

  loss_aggregation: {
    inputs: ["formula", "note", "<set>.loss.*.*", "<set>.mask.*.*", "<set>.note"],
    check: (golden: Fields) => {
      for (const [name, set] of Object.entries<Fields>(golden)) {
        if (typeof set !== "object") continue;
        if (set.note === undefined) {
          for (const mode of LOSS_MODES) {
            same(aggregateLossUpstream(set.loss, set.mask, mode), set.upstream[mode], `${name}.upstream.${mode}`);
          }
          same(aggregateLossFork(set.loss, set.mask, "token-level"), set.fork.token_level, `${name}.fork.token_level`);
          const sequence = aggregateLossFork(set.loss, set.mask, "sequence-level");
          same(sequence, set.fork.sequence_level, `${name}.fork.sequence_level`);
        } else checkGlobalAggregation(name, set);
      }
    },
  },

  microbatch_weighting: {
    inputs: ["note", "loss.*.*", "mask.*.*", "micro_batches.*.*"],
    check: (golden: Fields) => {
      const { loss, mask } = golden;
      const batches = golden.micro_batches;
      same(microBatchLossFork(loss, mask, batches), golden.fork_accumulated_loss, "fork_accumulated_loss");
      same(aggregateLoss(loss, mask, "token-mean"), golden.global_token_mean, "global_token_mean");
      same(microBatchLoss(loss, mask, batches, "token-mean"), golden.global_token_mean, "global_token_mean (split)");
    },
  },

  kl_estimators: {
    inputs: ["formula", "cases.*.logp", "cases.*.ref_logp"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        for (const name of ["k1", "abs", "k2", "k3"] as const) {
          same(klEstimate(c.logp, c.ref_logp, name), c[name], `${path}.${name}`);
        }
        same(klEstimate(c.logp, c.ref_logp, "k3", false), c.k3_unclamped, `${path}.k3_unclamped`);
      }),
  },

  kl_loss_masked_mean: {
    inputs: ["formula", "logp.*.*", "ref_logp.*.*", "mask.*.*"],
    check: (golden: Fields) => {
      same(klMatrix(golden.logp, golden.ref_logp, "k3"), golden.k3, "k3");
      same(klLoss(golden.logp, golden.ref_logp, golden.mask, "k3"), golden.kl_loss_token_mean, "kl_loss_token_mean");
    },
  },

  policy_loss_total: {
    inputs: ["formula", ...["pg_loss", "entropy", "entropy_coeff", "kl_loss", "kl_coef"].map((f) => `cases.*.${f}`)],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const terms = {
          policy: c.pg_loss,
          entropy: c.entropy,
          entropyCoefficient: c.entropy_coeff,
          kl: c.kl_loss,
          klCoefficient: c.kl_coef,
        };
        same(totalPolicyLoss(terms), c.total, path);
      }),
  },

  kl_in_reward: {
    inputs: ["formula", "scores.*.*", "old_logp.*.*", "ref_logp.*.*", "mask.*.*", "beta"],
    check: (golden: Fields) => {
      const { scores, mask, beta } = golden;
      const result = klInReward({ scores, logprobs: golden.old_logp, references: golden.ref_logp, mask, beta });
      same(result.rewards, golden.rewards, "rewards");
      same(result.currentKl, golden.current_kl, "current_kl");
    },
  },

  adaptive_kl_controller: {
    inputs: ["formula", ...["coef", "target", "horizon", "current_kl", "n_steps"].map((field) => `cases.*.${field}`)],
    check: (golden) =>
      forCases(golden, (c, path) => same(adaptKlCoefficient(c.coef, c, c.current_kl, c.n_steps), c.next, path)),
  },

  overlong_penalty: {
    inputs: ["formula", ...["length", "max_response_length", "buffer", "penalty_factor"].map((f) => `cases.*.${f}`)],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const options = { maxTokens: c.max_response_length, bufferTokens: c.buffer, factor: c.penalty_factor };
        same(overlongPenalty(c.length, { ...options, mode: "released" }), c.penalty_code, `${path}.penalty_code`);
        // Eq. 7 has no factor, so the golden has no value of it where the factor is not 1.
        const paper = c.penalty_factor === 1 ? overlongPenalty(c.length, { ...options, mode: "paper" }) : null;
        same(paper, c.penalty_paper_eq7, `${path}.penalty_paper_eq7`);
      }),
  },

  overlong_to_advantage: {
    inputs: ["formula", "note", "base_scores.*", "lengths.*"],
    check: (golden: Fields) => {
      const shaped = shapedRewards(golden.base_scores, golden.lengths, RELEASED_OVERLONG);
      same(shaped, golden.shaped, "shaped");
      same(groupAdvantages(shaped), golden.advantages, "advantages");
    },
  },

  dynamic_sampling: {
    inputs: [
      "rule",
      "note_metric",
      "per_group.*.uid",
      "per_group.*.acc.*",
      "scenario.n",
      "scenario.train_batch_size",
      "scenario.gen_batches.*.*",
      "acc_vs_shaped.acc.*",
      "acc_vs_shaped.shaped.*",
    ],
    check: (golden: Fields) => checkDynamicSampling(golden),
  },

  logprob_entropy: {
    inputs: ["formula", "cases.*.logits.*", "cases.*.temperature"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        same(logprobs(c.logits, c.temperature), c.logprobs, `${path}.logprobs`);
        same(entropy(c.logits, c.temperature), c.entropy, `${path}.entropy`);
      }),
  },

  sft: {
    inputs: [
      "formula",
      "nll.*.*",
      "mask.*.*",
      ...["prompt_length", "response_length_with_eos", "max_length"].map((field) => `loss_mask_example.${field}`),
      ...["warmup", "total", "min_ratio"].map((field) => `cosine_schedule.${field}`),
    ],
    check: (golden: Fields) => {
      const { nll, mask, loss_mask_example: example, cosine_schedule: cosine } = golden;
      same(sftSequenceMean(nll, mask), golden.paper_eq11_sequence_mean, "paper_eq11_sequence_mean");
      same(sftTokenMean(nll, mask, nll.length), golden.verl_token_mean_one_microbatch, "one_microbatch");
      same(sftTokenMean(nll, mask, 1), golden.verl_microbatch_size_1, "microbatch_size_1");
      const row = sftMask(example.prompt_length, example.response_length_with_eos, example.max_length);
      same(row.attentionMask, example.attention_mask, "attention_mask");
      same(row.lossMask, example.loss_mask, "loss_mask");
      same(row.lossMask.slice(0, -1), example.used_against_labels_shifted_by_one, "used_against_labels_shifted_by_one");
      same(row.targetPositions, example.supervised_target_positions, "supervised_target_positions");
      for (const [step, multiplier] of Object.entries(cosine.multipliers)) {
        const actual = learningRateMultiplier(Number(step), {
          kind: "cosine",
          warmupSteps: cosine.warmup,
          totalSteps: cosine.total,
          minRatio: cosine.min_ratio,
        });
        same(actual, multiplier, `cosine_schedule.${step}`);
      }
    },
  },

  difficulty: {
    inputs: ["formula", "cases.*.name", "cases.*.rewards.*"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        same(mean(c.rewards), c.mean_reward, `${path}.mean_reward`);
        const value = difficulty(c.rewards);
        same(value === Number.POSITIVE_INFINITY ? "Infinity" : value, c.difficulty, `${path}.difficulty`);
        same(isCarriedByPaper(c.rewards), c.carried_to_next_phase, `${path}.carried_to_next_phase`);
      }),
  },

  phase_assignment: {
    inputs: ["formula", "phases.*", "cases.*.length"],
    check: (golden: Fields) => forCases(golden, (c, path) => same(phaseOf(c.length, golden.phases), c.phase, path)),
  },

  middle_truncation: {
    inputs: ["formula", "cases.*.n", "cases.*.max", "big.n", "big.max"],
    check: (golden: Fields) => {
      const kept = (n: number, max: number) =>
        truncateMiddle(
          Array.from({ length: n }, (_, index) => index),
          max,
        );
      forCases(golden, (c, path) => same(kept(c.n, c.max), c.kept, path));
      const big = kept(golden.big.n, golden.big.max);
      const head = Math.floor(golden.big.max / 2);
      same([big[0], big[head - 1]], golden.big.head, "big.head");
      same([big[head], big.at(-1)], golden.big.tail, "big.tail");
      same(big.length, golden.big.kept, "big.kept");
    },
  },

  batch_arithmetic: {
    inputs: [
      "gpus",
      "ulysses_sp",
      "prompts_per_step",
      "rollouts",
      "mini_batch_prompts",
      "gen_batch_prompts",
      "max_gen_batches",
      "dataset_rows",
      "drop_last",
      "note",
    ],
    check: (golden: Fields) => {
      const plan = batchPlan({
        gpus: golden.gpus,
        sequenceParallel: golden.ulysses_sp,
        promptsPerStep: golden.prompts_per_step,
        rollouts: golden.rollouts,
        miniBatchPrompts: golden.mini_batch_prompts,
        generationBatchPrompts: golden.gen_batch_prompts,
        datasetRows: golden.dataset_rows,
        dropLast: golden.drop_last,
        epochs: RELEASED_EPOCHS,
      });
      same(plan.dataParallel, golden.dp, "dp");
      same(plan.trajectories, golden.trajectories, "trajectories");
      same(plan.miniBatchSequences, golden.mini_batch_sequences, "mini_batch_sequences");
      same(
        plan.sequencesPerRankPerMiniBatch,
        golden.sequences_per_dp_rank_per_minibatch,
        "sequences_per_dp_rank_per_minibatch",
      );
      same(plan.optimiserStepsPerStep, golden.optimizer_steps_per_rl_step, "optimizer_steps_per_rl_step");
      same(
        plan.trajectoriesPerGenerationBatch,
        golden.gen_trajectories_per_gen_batch,
        "gen_trajectories_per_gen_batch",
      );
      same(
        plan.generationBatchesPerEpoch,
        golden.gen_batches_per_epoch_if_none_filtered,
        "gen_batches_per_epoch_if_none_filtered",
      );
      same(plan.totalSteps, golden.total_training_steps_config, "total_training_steps_config");
    },
  },

  pass_at_k_unbiased: {
    inputs: ["note", "cases.*.n", "cases.*.c", "cases.*.k"],
    check: (golden) => forCases(golden, (c, path) => same(passAtK(c.n, c.c, c.k), c.value, path)),
  },

  reward_docqa_rule: {
    inputs: ["formula", "cases.*.name", "cases.*.response", "cases.*.ground_truth"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const input = { source: "musique_0_20000", response: c.response, goldAnswers: [c.ground_truth] };
        const result = scoreByRule(input, released);
        same(result.prediction, c.parsed, `${path}.parsed`);
        same(result.score, c.rule_score, `${path}.rule_score`);
        same(result.judgeable, c.judge_called_if_enabled, `${path}.judge_called_if_enabled`);
        // The golden's exact match is over the release's texts. The paper mode agrees with it but for \boxed{}, which it reads.
        const strict = exactMatch(result.prediction ?? "", result.gold ?? "");
        same(strict, c.strict_em, `${path}.strict_em`);
        const paper = scoreByRule(input, { mode: "paper", requireThink: true });
        same(paper.score === 1, c.name === "boxed_is_not_unwrapped" || c.strict_em, `${path}: the paper mode`);
      }),
  },

  qa_normalise: {
    inputs: ["*.text"],
    check: (golden) => forCases(golden, (c, path) => same(normaliseAnswer(c.text), c.normalised, path)),
  },

  qa_em_f1: {
    inputs: ["*.pred", "*.gold"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        same(exactMatch(c.pred, c.gold), c.em, `${path}.em`);
        same(substringMatch(c.pred, c.gold), c.sub_em, `${path}.sub_em`);
        same(tokenF1(c.pred, c.gold), c.f1, `${path}.f1`);
      }),
  },

  reward_multiple_choice_rule: {
    inputs: ["formula", "cases.*.name", "cases.*.response", "cases.*.ground_truth"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const input = { source: "long_toc_choices_0_20000", response: c.response, goldAnswers: [c.ground_truth] };
        const result = scoreByRule(input, released);
        same(result.prediction, c.parsed, `${path}.parsed`);
        same(result.score, c.score, `${path}.score`);
        same(result.judgeable, false, `${path}: the judge is never asked`);
      }),
  },

  reward_docmath_rule: {
    inputs: ["formula", "cases.*.name", "cases.*.response", "cases.*.ground_truth"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        const input = { source: "docmath_0_20000", response: c.response, goldAnswers: [c.ground_truth] };
        const result = scoreByRule(input, released);
        same(result.prediction, c.parsed, `${path}.parsed`);
        same(result.score, c.rule_score, `${path}.rule_score`);
        same(result.judgeable, c.judge_called_if_enabled, `${path}.judge_called_if_enabled`);
        const part = answerPart(c.response, false);
        same(part === null ? null : parseNumericAnswer(part, true), c.eval_parsed, `${path}.eval_parsed`);
      }),
  },

  docmath_number_equal: {
    inputs: ["note", "cases.*.pred", "cases.*.gold"],
    check: (golden) =>
      forCases(golden, (c, path) => {
        same(releasedNumbersEqual(c.pred, c.gold, "training"), c.train, `${path}.train`);
        same(releasedNumbersEqual(c.pred, c.gold, "evaluation"), c.eval, `${path}.eval`);
      }),
  },

  judge_parse: {
    inputs: ["rule", "cases.*.text"],
    check: (golden) =>
      // A reply that decides nothing is 0 in the release and a failure in weir (null); the golden states the release. In the paper's mode
      // nothing but the verdict in its brackets counts.
      forCases(golden, (c, path) => {
        same(parseJudgeReply(c.text, "released") ?? 0, c.score, path);
        same(parseJudgeReply(c.text, "paper") ?? 0, c.text.endsWith("[[YES]]") ? 1 : 0, `${path}, paper`);
      }),
  },

  hybrid_reward: {
    inputs: ["rule", "cases.*.rule", "cases.*.judge"],
    check: (golden) => forCases(golden, (c, path) => same(hybridReward(c.rule, c.judge), c.reward, path)),
  },
};

/** What `at_kink` may be: true on a boundary of the clip, either on that of the dual clip or where A is 0, else false. */
function kinks(c: Fields): boolean[] {
  const near = (a: number, b: number) => Math.abs(a - b) < 1e-9;
  const dual = c.clip_c !== null && c.advantage < 0 && near(c.ratio, c.clip_c);
  if (dual || c.advantage === 0) return [true, false];
  return [near(c.ratio, 1 - c.clip_low) || near(c.ratio, 1 + c.clip_high)];
}

/** The set whose counts stand in its note: "batch_num_tokens=14, dp_size=2 … global_batch_size=6, dp_size=2". */
function checkGlobalAggregation(name: string, set: Fields): void {
  const number = (field: string) => {
    const text = new RegExp(`${field}=(\\d+)`).exec(set.note)?.[1];
    if (text === undefined) throw new Error(`${name}.note: expected ${field}=…`);
    return Number(text);
  };
  const options = {
    batchTokens: number("batch_num_tokens"),
    globalSequences: number("global_batch_size"),
    dataParallel: number("dp_size"),
  };
  for (const [field, expected] of Object.entries(set)) {
    if (["loss", "mask", "note"].includes(field)) continue;
    const [, base, scale] = /^(.*?)(?:_scale_(\d+))?$/.exec(field) as unknown as [string, string, string | undefined];
    const mode = `${base.replace(/^(seq_mean)_/, "seq-mean-")}`.replaceAll("_", "-") as UpstreamMode;
    if (!LOSS_MODES.includes(mode)) throw new Error(`${name}: unknown field ${field}`);
    const withScale = scale === undefined ? options : { ...options, scale: Number(scale) };
    same(aggregateLossUpstream(set.loss, set.mask, mode, withScale), expected, `${name}.${field}`);
  }
}

function checkDynamicSampling(golden: Fields): void {
  const accuracy = new Map<string, number[]>();
  for (const group of golden.per_group as Fields[]) {
    accuracy.set(group.uid, group.acc);
    same(standardDeviation(group.acc, 0), group.std_ddof0, `${group.uid}.std_ddof0`);
    same(hasVariance(group.acc), group.keep, `${group.uid}.keep`);
  }
  const { scenario } = golden;
  const bounds = { groupsPerStep: scenario.train_batch_size, maxRounds: 0 };
  let state = emptyAccumulation<string>();
  for (const [index, round] of (scenario.gen_batches as string[][]).entries()) {
    const exit = accumulateRound(state, round, (uid) => accuracy.get(uid) ?? [], bounds);
    state = exit.state;
    same(state.kept, scenario[`kept_after_batch_${index + 1}`], `scenario.kept_after_batch_${index + 1}`);
    if (exit.kind !== "complete") continue;
    same(exit.trained, scenario.trained_prompts, "scenario.trained_prompts");
    same(exit.surplus, scenario.dropped, "scenario.dropped");
    same(state.rounds, scenario.num_gen_batches, "scenario.num_gen_batches");
    for (const uid of exit.trained) same(accuracy.get(uid)?.length, scenario.n, `${uid}: rollouts`);
  }
  const { acc, shaped, keep_by_acc, keep_by_seq_reward } = golden.acc_vs_shaped;
  same(hasVariance(acc), keep_by_acc, "acc_vs_shaped.keep_by_acc");
  same(hasVariance(shaped), keep_by_seq_reward, "acc_vs_shaped.keep_by_seq_reward");
}
