import { z } from "zod";
import { SCHEDULES } from "../algorithms/schedules.js";
import { ALERT_LEVELS } from "../contracts/alert.js";
import { ADVANCE_RULES, RETROSPECTIVE_MODES } from "../contracts/curriculum.js";
import { BACKEND_CHOICES, EXECUTOR_CHOICES, LORA_TARGETS, PRECISIONS, WEIGHT_DTYPES } from "../contracts/engine.js";
import { IMPORTANCE_LEVELS, LOSS_AGGREGATIONS, REJECTION_LEVELS } from "../contracts/loss.js";
import { DECAY_SCOPES, KL_ESTIMATORS, OLD_LOGPROB_SOURCES, SFT_AGGREGATIONS } from "../contracts/trainer.js";
import { evaluationSchema } from "./evaluation-schemas.js";
import { policyStoreSchema, samplerSchema, trainerSchema, workQueueSchema } from "./part-schemas.js";
import type { PresetName } from "./presets.js";
import { dynamicSamplingSchema, rewardSchema } from "./reward-schemas.js";

/**
 * The one source of options: type, default, bounds and one-sentence doc of each.
 * docs/config.md is generated from it and a test proves that every option is read.
 * Defaults follow the paper (QwenLong-L1, arXiv 2505.17667); where the paper gives no number, the sentence says whose choice it is.
 */

const positiveInt = z.number().int().positive();
const nonNegativeInt = z.number().int().nonnegative();
const share = z.number().min(0).max(1);
const coefficient = z.number().nonnegative();
const actorName = z.string().min(1);

/** What follows from what preflight finds. */
const PREFLIGHT_RULES = ["refuse", "warn"] as const;

const runSchema = z.strictObject({
  directory: z.string().default("runs").describe("Folder that holds run folders."),
  id: z
    .string()
    .regex(/^(?!\.+$)[\w.-]{1,200}$/, "must be a folder name of letters, digits, `_`, `.` and `-`")
    .nullable()
    .default(null)
    .describe("Name of the run folder; null makes one from date, time and seed."),
  seed: nonNegativeInt.default(1).describe("Seed of every random choice (counter-based, I12)."),
  preflight: z
    .enum(PREFLIGHT_RULES)
    .default("refuse")
    .describe(
      "What follows where preflight finds that all rewards are equal (without a warm-up), all prompts are truncated, or the memory plan does not fit: `refuse` the run, or `warn` and train.",
    ),
});

const loraSchema = z.strictObject({
  rank: positiveInt.default(16).describe("Rank r of each adapter."),
  alpha: z.number().positive().default(32).describe("α: adapters are scaled by α/r."),
  targets: z
    .array(z.enum(LORA_TARGETS))
    .min(1)
    .default([...LORA_TARGETS])
    .describe("Matrices of each layer that get an adapter; everything else is frozen."),
});

const modelSchema = z.strictObject({
  path: z.string().describe("Hugging Face folder of the policy to start from."),
  saveDtype: z
    .enum(WEIGHT_DTYPES)
    .default("float32")
    .describe("Storage type of the final exported weights; checkpoints are always float32."),
  lora: loraSchema
    .nullable()
    .default(null)
    .describe("Train low-rank adapters (LoRA) instead of all weights, in warm-up and RL; null trains all weights."),
});

const engineSchema = z.strictObject({
  backend: z
    .enum(BACKEND_CHOICES)
    .default("auto")
    .describe("Numerics backend; `auto` takes tensorflow where it is set up, else wasm."),
  threads: nonNegativeInt
    .default(0)
    .describe(
      "Intra-op threads of each engine process; 0 leaves the choice to the backend, and divides the cores among the samplers of rollout.engines.",
    ),
  executor: z
    .enum(EXECUTOR_CHOICES)
    .default("auto")
    .describe("`compiled` runs traced graphs (tensorflow only), `eager` op by op; `auto` compiles where that works."),
  precision: z
    .enum(PRECISIONS)
    .default("float32")
    .describe("Element type of the large matrix products of the compiled executor; master weights stay float32."),
  memoryGiB: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe(
      "Memory budget of all engine processes together, GiB; null takes 80 % of what is free at start, within the container's limit; on a GPU, of its memory. With rollout.engines the trainer gets two parts of it and each sampler one.",
    ),
  requestTimeoutMs: positiveInt.default(600_000).describe("Deadline of one engine request in ms (I5)."),
  startTimeoutMs: positiveInt.default(120_000).describe("Deadline of engine start and model load in ms."),
  heartbeatMs: positiveInt.default(5_000).describe("Interval of the engine's heartbeats in ms."),
  maxRestarts: nonNegativeInt
    .default(3)
    .describe(
      "Engine restarts that are allowed without progress (a step not done before); after that the run fails. A sampler of rollout.engines is given up after as many without a finished call.",
    ),
  restartDelayMs: nonNegativeInt
    .default(500)
    .describe("Wait before the first engine restart in ms; doubles with each further one."),
});

const dataSchema = z.strictObject({
  train: z.array(z.string()).min(1).describe("Files of training tasks (verl-style parquet or jsonl)."),
  heldout: z.array(z.string()).default([]).describe("Files of held-out tasks for evaluation."),
  format: z
    .string()
    .min(1)
    .default("auto")
    .describe(
      "File format: `auto` looks at the columns; `verl`, `jsonl` (rows of verl, or weir's tasks), `longbench`, `docmath`, `frames`.",
    ),
  overlong: z
    .enum(["error", "drop", "truncate"])
    .default("error")
    .describe(
      "What to do with a prompt that leaves no room for its response: refuse, drop the task, or cut its middle.",
    ),
});

const phaseSchema = z.strictObject({
  maxTokens: positiveInt.describe("Upper bound L_k of the templated prompt length in tokens, inclusive (Eq. 9)."),
  steps: nonNegativeInt.describe(
    "RL steps of the phase (its limit under `mastery`); 0 in every phase leaves the RL stage out.",
  ),
});

const warmupSchema = z.strictObject({
  data: z
    .array(z.string())
    .default([])
    .describe("Files of SFT rows with `prompt` and `response` (jsonl or parquet); an empty list skips the warm-up."),
  epochs: z.number().positive().default(3).describe("Passes over the SFT rows (paper: 3)."),
  batchRows: positiveInt.default(128).describe("Rows per optimiser step (paper: 128)."),
  learningRate: coefficient.default(5e-6).describe("Peak learning rate of the warm-up (paper: 5e-6)."),
  schedule: z
    .enum(SCHEDULES)
    .default("cosine")
    .describe("Learning-rate schedule of the warm-up; the paper names none, cosine is the release's SFT default."),
  warmupShare: share
    .default(0.1)
    .describe("Share of the warm-up's steps with linearly rising learning rate (release default 0.1)."),
  aggregation: z
    .enum(SFT_AGGREGATIONS)
    .default("seq-mean")
    .describe("`seq-mean` is Eq. 11, `token-mean` the release's."),
  weightDecay: coefficient.default(0.01).describe("Decoupled weight decay during the warm-up."),
  beta2: z.number().min(0).lt(1).default(0.95).describe("Second AdamW beta of the warm-up (release default 0.95)."),
});

const curriculumSchema = z.strictObject({
  actor: actorName.default("phased").describe("Name of the curriculum part."),
  retrospective: z
    .strictObject({
      mode: z
        .enum(RETROSPECTIVE_MODES)
        .default("paper")
        .describe(
          "`paper` carries tasks of mean accuracy 0 into the next phase; `weighted` samples by smoothed difficulty 1/mean (Eq. 10); `none` carries nothing.",
        ),
      share: share.default(0.25).describe("Largest share of a phase's picks given to carried tasks."),
    })
    .prefault({}),
  advance: z
    .strictObject({
      by: z
        .enum(ADVANCE_RULES)
        .default("steps")
        .describe("Advance after the phase's steps (paper), or earlier on evidence of mastery."),
      rewardThreshold: z
        .number()
        .default(0.7)
        .describe("Mastery: lower confidence bound of the mean unshaped reward that must be reached."),
      klLimit: coefficient
        .default(0.1)
        .describe(
          "Mastery: largest kl/update of a step that counts towards `calmSteps`, nats; kl/old_k3 where the update's KL is not measured.",
        ),
      calmSteps: positiveInt.default(5).describe("Mastery: consecutive steps that must satisfy both limits."),
      fallbackThreshold: z
        .number()
        .default(0)
        .describe(
          "Mastery: fall back to the previous phase when the upper confidence bound of the mean reward stays below this; 0 never falls back.",
        ),
    })
    .prefault({}),
});

const rolloutSchema = z.strictObject({
  groupSize: z.number().int().min(1).default(8).describe("G, responses per prompt (paper: 8)."),
  promptsPerStep: positiveInt.default(128).describe("Prompts per RL step (paper: 128)."),
  promptsPerCall: positiveInt.default(16).describe("Prompts sent to the sampler in one call."),
  callsInFlight: positiveInt
    .nullable()
    .default(null)
    .describe(
      "Calls that the sampler is given at once; null takes one, or one for each of its engines, or sampler.callsPerServer for each of its servers.",
    ),
  temperature: z
    .number()
    .positive()
    .default(0.7)
    .describe("Sampling temperature (paper: 0.7); log-probs and entropy use it too."),
  topP: z.number().gt(0).max(1).default(0.95).describe("Nucleus mass (paper: 0.95); 1 switches it off."),
  topK: nonNegativeInt.default(0).describe("Keep only the k most likely tokens; 0 switches it off."),
  maxTokens: positiveInt.default(10_000).describe("Maximum response length in tokens (paper: 10,000)."),
  engines: nonNegativeInt
    .default(0)
    .describe(
      "Sampler processes beside the trainer's, read where sampler.actor is `engine`: each loads what is published, and one that dies is replaced; 0 samples in the trainer's process. They and the trainer share the cores and engine.memoryGiB.",
    ),
  queueGroups: positiveInt
    .default(32)
    .describe("Capacity of the queue of generated groups that wait for their rewards."),
});

const lossSchema = z.strictObject({
  algorithm: z
    .string()
    .min(1)
    .default("dapo")
    .describe(
      "Name of the loss part: `grpo`, `dapo`, `dr_grpo`, `gspo`, `cispo`, `sapo`, `gmpo`, `dppo_tv`, `reinforce`, or your own; docs/algorithms.md has each one's formula. `dapo` is Eq. 6 (token mean), `grpo` Eq. 4 (mean over sequences of token means).",
    ),
  aggregation: z.enum(LOSS_AGGREGATIONS).nullable().default(null).describe("Overrides the loss's own aggregation."),
  scaleTokens: positiveInt
    .nullable()
    .default(null)
    .describe(
      "Constant of `seq-mean-token-sum-norm` and `seq-mean-token-sum-constant`, tokens; null takes rollout.maxTokens.",
    ),
  clipLow: z
    .number()
    .gt(0)
    .lt(1)
    .nullable()
    .default(null)
    .describe(
      "ε_low; null takes the loss's own. For `dapo` that is 0.2: the paper gives no number, it is the release's.",
    ),
  clipHigh: z
    .number()
    .gt(0)
    .nullable()
    .default(null)
    .describe(
      "ε_high; null takes the loss's own. For `dapo` that is 0.28: the paper gives no number, it is DAPO's (the release runs 0.2).",
    ),
  dualClip: z
    .number()
    .gt(1)
    .nullable()
    .default(null)
    .describe(
      "Dual-clip constant c for negative advantages (`dppo_tv`: the largest ratio); null takes the loss's own; only `dppo_tv` has one.",
    ),
  largestRatio: z
    .number()
    .gt(1)
    .nullable()
    .default(null)
    .describe(
      "Bound of the ratio before it is clipped (TRL's delta), read by `grpo`, `dapo` and `dr_grpo`; null switches it off.",
    ),
  tauPositive: z.number().positive().default(1).describe("Temperature of the gate of `sapo` for positive advantages."),
  tauNegative: z
    .number()
    .positive()
    .default(1.05)
    .describe("Temperature of the gate of `sapo` for all other advantages."),
  klCoefficient: coefficient
    .default(0)
    .describe("Weight of the KL term against the reference policy (paper: removed)."),
  klEstimator: z.enum(KL_ESTIMATORS).default("k3").describe("Estimator of that KL."),
  klClamp: z
    .number()
    .positive()
    .nullable()
    .default(10)
    .describe("Largest k3 of a token in that KL; beyond it the gradient is 0 (verl: 10); null does not clamp k3."),
  monitorKl: z
    .boolean()
    .default(false)
    .describe("Keep a reference policy and report kl/ref even with a zero coefficient (as the release does)."),
  monitorShare: share
    .default(0.125)
    .describe(
      "Share of each mini-batch's groups, at least one, on which kl/ref is measured while the coefficient is 0; with one, all are.",
    ),
  entropyCoefficient: coefficient.default(0).describe("Weight of the entropy bonus (release: 0.001 by default)."),
});

const optimiserSchema = z.strictObject({
  learningRate: coefficient.default(2e-6).describe("Peak learning rate (paper: 2e-6)."),
  schedule: z
    .enum(SCHEDULES)
    .default("constant")
    .describe("Learning-rate schedule over all RL steps (release: constant)."),
  warmupSteps: nonNegativeInt.default(0).describe("Steps of linearly rising learning rate (release: 0)."),
  finalShare: share
    .default(0)
    .describe(
      "Share of the peak learning rate that `cosine` approaches; reached one step after the last, so that no step has rate 0.",
    ),
  beta1: z.number().min(0).lt(1).default(0.9).describe("First AdamW beta."),
  beta2: z.number().min(0).lt(1).default(0.999).describe("Second AdamW beta."),
  epsilon: z.number().positive().default(1e-8).describe("AdamW ε."),
  weightDecay: coefficient.default(0.01).describe("Decoupled weight decay (release: 0.01)."),
  decayScope: z.enum(DECAY_SCOPES).default("all").describe("Tensors that decay: every one, or matrices only."),
  maxGradNorm: z
    .number()
    .positive()
    .nullable()
    .default(1)
    .describe("Global L2 norm to which gradients are clipped (release: 1); null switches it off."),
  resetAtPhase: z
    .boolean()
    .default(false)
    .describe("Reset AdamW's moments when a phase begins; the paper does not say."),
});

const correctionSchema = z.strictObject({
  importance: z
    .enum(["none", ...IMPORTANCE_LEVELS])
    .default("none")
    .describe(
      "Importance weights π_old/π_sampler of the loss: one per `token`, or their product per `sequence`; `none` leaves them out (verl's default).",
    ),
  lower: z
    .number()
    .nonnegative()
    .nullable()
    .default(null)
    .describe(
      "Smallest importance weight; null truncates weights at `upper` (TIS), a number removes tokens outside [lower, upper] (IcePop: 0.5 and 5).",
    ),
  upper: z.number().positive().default(2).describe("Largest importance weight (verl: 2)."),
  rejection: z
    .enum(["none", ...REJECTION_LEVELS])
    .default("none")
    .describe(
      "Removes what another policy sampled too differently: each `token` by itself, or whole sequences by the sum, mean or maximum over their tokens.",
    ),
  rejectionEstimator: z
    .enum(KL_ESTIMATORS)
    .default("k1")
    .describe("What rejection compares: the ratio π_old/π_sampler (`k1`), or `k2` or `k3` of its logarithm in nats."),
  rejectionLower: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe("Smallest ratio that stays, with `k1` only; null takes 1/rejectionUpper (verl)."),
  rejectionUpper: z
    .number()
    .positive()
    .default(2)
    .describe("Largest ratio that stays (`k1`), or largest estimate in nats (`k2`, `k3`)."),
  allowUncorrected: z
    .boolean()
    .default(false)
    .describe("Allow async.maxLag above 0 without importance weights and without a loss that bounds its ratio."),
});

const updateSchema = z.strictObject({
  miniBatchPrompts: positiveInt
    .nullable()
    .default(32)
    .describe("Prompts per optimiser step (paper: 32); null takes the whole RL step at once."),
  epochs: positiveInt.default(1).describe("Passes over a step's batch (release: 1)."),
  oldLogprobs: z
    .enum(OLD_LOGPROB_SOURCES)
    .default("recompute")
    .describe(
      "Source of π_old's log-probs: the trainer (release; an extra forward pass for every mini-batch after the first), or the sampler.",
    ),
  microBatchTokens: positiveInt
    .default(8_192)
    .describe("Padded tokens of one micro-batch; bounds memory, never changes the loss (I6)."),
  klShare: share
    .default(0.125)
    .describe(
      "Share of each mini-batch's groups, at least one, on which the KL of its optimiser step is measured (`kl/update`, and what the guard is shown); 0 measures nothing.",
    ),
  correction: correctionSchema.prefault({}),
});

const asyncSchema = z.strictObject({
  maxLag: nonNegativeInt
    .default(0)
    .describe("Largest lag, in policy versions, of a sample when it is trained; 0 trains synchronously."),
  inFlight: z
    .enum(["finish", "continue"])
    .default("finish")
    .describe(
      "What becomes of rollouts that are being sampled when weights are published: `finish` with the old ones, or `continue` with the new ones, where the sampler can (each token's version is recorded).",
    ),
  maxAttempts: positiveInt
    .default(3)
    .describe(
      "Times that a task is issued for one pick of the curriculum while its groups become stale; what a stop or a lost engine took is always issued again.",
    ),
});

const stagesSchema = z.strictObject({
  maxRestarts: nonNegativeInt
    .default(3)
    .describe(
      "Restarts of a stage of the pipeline in a row, without an item finished in between, before the run fails.",
    ),
  restartDelayMs: nonNegativeInt
    .default(500)
    .describe("Wait before the first restart of a stage in ms; doubles with each further one in a row."),
});

const spikeSchema = z.strictObject({
  window: z.number().int().min(4).default(20).describe("Steps of history that robust z-scores are computed from."),
  z: z
    .number()
    .positive()
    .default(6)
    .describe("Robust z (median/MAD) from which a deviation from the steps before raises an alarm."),
  klLimit: z
    .number()
    .positive()
    .default(0.5)
    .describe("kl/update in nats that always raises an alarm; kl/old_k3 where the update's KL is not measured."),
  entropyLow: coefficient
    .default(0.01)
    .describe("Entropy in nats below which collapse is reported, unless nine of ten responses are right."),
  entropyHigh: z.number().positive().default(6).describe("Entropy in nats above which divergence is reported."),
  mismatchLimit: z
    .number()
    .positive()
    .nullable()
    .default(null)
    .describe(
      "mismatch_abs in nats that raises an alarm (I8); null goes by precision: 0.01 for weir's engine in float32, 0.1 in bfloat16; where sampler or trainer is another, 0.001 if both say that they compute in float32, 0.03 in float16, else 0.1.",
    ),
  truncatedShare: z
    .number()
    .gt(0)
    .max(1)
    .default(0.95)
    .describe("Share of responses of a step that end by length from which an alarm is raised."),
  staleShare: z
    .number()
    .gt(0)
    .max(1)
    .default(0.3)
    .describe("Share of a step's finished groups that were dropped as too old from which an alarm is raised."),
});

const SNAPSHOT_PLACES = ["memory", "disk"] as const;

const guardSchema = z.strictObject({
  actor: actorName
    .default("auto")
    .describe(
      "Name of the guard part, which judges each gradient before it is applied for good: `standard` (detectors on the candidate; skips, shrinks or goes back), `finite` (commits whatever is finite) or your own; `auto` is `standard` with weir's trainer and with a trainer given by value that can throw gradients away, else `finite`.",
    ),
  klLimit: z
    .number()
    .positive()
    .default(0.5)
    .describe(
      "KL in nats of a trial step (guard.trial) above which the guard `standard` applies only a share of the step; beyond a hundred times this it goes back.",
    ),
  aepo: z
    .strictObject({
      low: coefficient.describe("Entropy in nats below which negative advantages count again."),
      high: z.number().positive().describe("Entropy in nats above which they no longer do."),
    })
    .refine(({ low, high }) => low < high, "expected low < high")
    .nullable()
    .default(null)
    .describe(
      "AEPO (arXiv 2512.12967 Eq. 11) by the guard `standard`: responses with a negative advantage leave the loss while entropy is high; null leaves it off.",
    ),
  entropyTarget: z
    .strictObject({
      target: z.number().positive().describe("Entropy in nats that the coefficient is adapted towards."),
      change: z.number().positive().default(0.005).describe("Change of the coefficient per RL step."),
      max: z.number().positive().default(0.05).describe("Largest coefficient; the smallest is 0."),
    })
    .nullable()
    .default(null)
    .describe(
      "The guard `standard` adapts the entropy coefficient, which begins at loss.entropyCoefficient (arXiv 2505.22312); null leaves it as configured.",
    ),
  trial: z
    .boolean()
    .default(true)
    .describe(
      "Take each optimiser step, measure its KL on update.klShare, and only then ask the guard, which can still make it smaller or undo it (where the trainer can, which keeps the trained weights and moments twice for that time); false asks before the step.",
    ),
  maxRollbacks: nonNegativeInt
    .default(3)
    .describe(
      "Rollbacks that the guard may ask for without the run coming further than before; one more pauses the run for a person.",
    ),
  snapshots: z
    .strictObject({
      everySteps: positiveInt
        .nullable()
        .default(null)
        .describe(
          "Steps between two snapshots that a rollback can go back to; null: each step where weights and moments take at most 16 MiB, else so rarely that they take about 3 % of the time, as the sizes of model, step and prompts say.",
        ),
      keep: positiveInt.default(2).describe("Newest snapshots kept."),
      place: z
        .enum(SNAPSHOT_PLACES)
        .default("memory")
        .describe(
          "Where snapshots lie: `memory` is a file system in memory while one has the room, else the run folder; `disk` is the run folder.",
        ),
    })
    .prefault({}),
  replayGiB: coefficient
    .default(1)
    .describe(
      "Room in the run folder for the weights and moments that `weir replay` needs with the mini-batches that were skipped; batches beyond it are saved without.",
    ),
  afterRollback: z
    .strictObject({
      learningRate: z
        .number()
        .gt(0)
        .max(1)
        .default(0.5)
        .describe(
          "After a rollback that the guard asked for the learning rate is multiplied by this, once for each such rollback in a row; not where the fault was the sampler's, the judge's or the data's.",
        ),
      clip: z.number().gt(0).max(1).default(1).describe("The same for loss.clipLow and loss.clipHigh."),
      recoverSteps: positiveInt
        .nullable()
        .default(10)
        .describe(
          "Steps past the one that led to the last rollback after which learning rate, clip bounds and lag go back to what they were; null leaves them.",
        ),
      skipBatch: z
        .boolean()
        .default(true)
        .describe(
          "After such a rollback, pass over the tasks of the batch that led to it; otherwise draw other responses to them.",
        ),
      maxLag: positiveInt
        .nullable()
        .default(null)
        .describe("After such a rollback, async.maxLag is this, where it was higher; null leaves it."),
    })
    .prefault({}),
  noUpdateSteps: positiveInt
    .default(5)
    .describe("Consecutive RL steps without a change of weights that raise an alert."),
  equalRewardSteps: positiveInt
    .default(5)
    .describe("Consecutive RL steps with the same reward for every response that raise an alert."),
  unscoredShare: z
    .number()
    .gt(0)
    .max(1)
    .default(0.5)
    .describe("Share of unscored responses in a step that raises an alert."),
  repeatSteps: positiveInt
    .default(10)
    .describe("RL steps after which an alarm whose cause lasts is updated; doubles each time."),
});

const checkpointSchema = z.strictObject({
  everySteps: nonNegativeInt
    .default(5)
    .describe("RL steps between checkpoints (release: 5); 0 writes them at phase ends and at the end only."),
  warmupEverySteps: nonNegativeInt
    .default(50)
    .describe("Warm-up steps between checkpoints, our choice; 0 writes one at the warm-up's end only."),
  keep: positiveInt.default(2).describe("Number of latest checkpoints to keep."),
});

const webhookSchema = z.strictObject({
  url: z
    .url({ protocol: /^https?$/ })
    .nullable()
    .default(null)
    .describe(
      "Address that is told of alarms, rollbacks, pauses and the run's end, each by a POST with JSON; null tells nobody. It is stored with the run: put a secret in `tokenEnv`.",
    ),
  tokenEnv: z
    .string()
    .nullable()
    .default(null)
    .describe("Environment variable with a token that is sent as `authorization: Bearer`."),
  minLevel: z.enum(ALERT_LEVELS).default("warn").describe("Least level of an alarm that is told."),
  timeoutMs: positiveInt.default(10_000).describe("Deadline of one request in ms (I5)."),
  retries: nonNegativeInt
    .default(3)
    .describe("Further tries after 429, 5xx, no answer in time or a broken connection."),
});

const monitorSchema = z.strictObject({
  enabled: z.boolean().default(true).describe("Serve the live monitor."),
  host: z.string().default("127.0.0.1").describe("Address to listen on; anything but loopback needs a token."),
  port: z.number().int().min(0).max(65_535).default(0).describe("Port; 0 takes a free one."),
  tokenEnv: z.string().nullable().default(null).describe("Environment variable that holds the monitor's token."),
  tracesPerStep: nonNegativeInt
    .default(16)
    .describe("Rollouts per step shown as traces (all of them go to the run folder)."),
  webhook: webhookSchema.prefault({}),
});

const logSchema = z.strictObject({
  level: z.enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"]).default("info").describe("pino level."),
  file: z.boolean().default(true).describe("Write the log to log.ndjson in the run folder."),
});

const amount = z.number().nonnegative();
const DISTRIBUTION =
  "must be a number, or one of { uniform: [low, high] }, { lognormal: { median, sigma } }, { quantiles: [lowest, …, highest] }";
const distribution = z.union(
  [
    amount,
    z.strictObject({ uniform: z.tuple([amount, amount]) }),
    z.strictObject({ lognormal: z.strictObject({ median: z.number().positive(), sigma: amount }) }),
    z.strictObject({ quantiles: z.array(amount).min(2) }),
  ],
  { error: DISTRIBUTION },
);

const latencySchema = z.strictObject({
  sampleCall: distribution.default(0.5).describe("Seconds of a sampler call before its first token."),
  sampleToken: distribution.default(0.03).describe("Seconds per token of the longest response of a call."),
  reward: distribution.default({ lognormal: { median: 0.05, sigma: 0.5 } }).describe("Seconds of one reward."),
  logprobs: distribution
    .default(2)
    .describe("Seconds of one call for log-probs of a whole step's groups; fewer groups take that share of it."),
  forwardBackward: distribution.default(8).describe("Seconds of forward and backward of one mini-batch."),
  optimStep: distribution.default(0.5).describe("Seconds of one optimiser step."),
  publish: distribution.default(1).describe("Seconds from the trainer's weights to a published policy."),
  adopt: distribution.default(2).describe("Seconds in which a sampler loads a published policy."),
  checkpoint: distribution.default(5).describe("Seconds in which the trainer saves or loads its state."),
  restart: distribution.default(20).describe("Seconds in which a lost engine starts again."),
});

const simulationSchema = z.strictObject({
  samplers: nonNegativeInt
    .nullable()
    .default(null)
    .describe(
      "Sampler engines beside the trainer; 0: the trainer's own engine samples; null takes rollout.engines. All of `simulation.*` is read by `weir simulate` only.",
    ),
  faults: share.default(0).describe("Probability of a fault (crash, error, hang or slowness) at each await of a part."),
  tasks: positiveInt.default(64).describe("Training tasks per phase."),
  responseTokens: distribution
    .default({ lognormal: { median: 400, sigma: 0.6 } })
    .describe("Tokens of a response, cut at rollout.maxTokens."),
  informativeShare: share.default(0.6).describe("Share of groups whose rewards differ."),
  solvedShare: share
    .default(0.5)
    .describe("Share of the other groups in which every response is right; in the rest none is."),
  unscoredShare: share.default(0).describe("Share of responses that the reward abstains from."),
  latencies: latencySchema.prefault({}),
});

export const configSchema = z.strictObject({
  run: runSchema.prefault({}),
  model: modelSchema,
  engine: engineSchema.prefault({}),
  data: dataSchema,
  phases: z
    .array(phaseSchema)
    .min(1)
    .default([
      { maxTokens: 20_000, steps: 100 },
      { maxTokens: 60_000, steps: 100 },
    ])
    .describe("Curriculum phases, growing (paper: 20K and 60K; it gives no step counts, 100 is our choice)."),
  warmup: warmupSchema.prefault({}),
  curriculum: curriculumSchema.prefault({}),
  rollout: rolloutSchema.prefault({}),
  dynamicSampling: dynamicSamplingSchema.prefault({}),
  reward: rewardSchema.prefault({}),
  sampler: samplerSchema.prefault({}),
  trainer: trainerSchema.prefault({}),
  policyStore: policyStoreSchema.prefault({}),
  workQueue: workQueueSchema.prefault({}),
  advantage: z
    .strictObject({
      actor: actorName
        .default("grpo")
        .describe(
          "Name of the advantage part: `grpo` (Eq. 5), `dr_grpo`, `rloo`, `opo`, `reinforce_pp`, `reinforce_pp_baseline`, `gdpo`, or your own.",
        ),
      epsilon: z
        .number()
        .positive()
        .default(1e-6)
        .describe("Added to standard deviations by `grpo` and `gdpo` (verl: 1e-6; TRL: 1e-4)."),
      rewardWeights: z
        .record(z.string(), z.number())
        .default({})
        .describe(
          "Weights of the reward's parts in `gdpo`, and of length shaping as `shaping`; empty takes all parts with weight 1.",
        ),
    })
    .prefault({}),
  loss: lossSchema.prefault({}),
  optimiser: optimiserSchema.prefault({}),
  update: updateSchema.prefault({}),
  async: asyncSchema.prefault({}),
  stages: stagesSchema.prefault({}),
  spikes: spikeSchema.prefault({}),
  guard: guardSchema.prefault({}),
  evaluation: evaluationSchema.prefault({}),
  checkpoint: checkpointSchema.prefault({}),
  monitor: monitorSchema.prefault({}),
  log: logSchema.prefault({}),
  simulation: simulationSchema.prefault({}),
});

/** Every option resolved. */
export type Config = z.output<typeof configSchema>;
/** What a user writes: everything with a default may be left out. */
export type ConfigInput = z.input<typeof configSchema> & {
  /** A named bundle of options; the configuration's own win over it. */
  readonly preset?: PresetName | undefined;
};
