import { z } from "zod";
import { ACTOR_STATES, type ActorState, type ActorStatus, type LagStatus } from "../../src/contracts/actor-status.js";
import type { Alert } from "../../src/contracts/alert.js";
import { BEHAVIOURS } from "../../src/contracts/behaviour.js";
import type { Initiator, KnobState, KnobTurn } from "../../src/contracts/knob.js";
import type { MetricName, MetricRecord } from "../../src/contracts/metrics.js";
import type { RewardOutcome } from "../../src/contracts/reward.js";
import type { Json } from "../../src/contracts/task.js";
import type { Trace } from "../../src/contracts/trace.js";

/**
 * What the channels carry. Records of src/contracts are checked against their interfaces; the rest is defined here.
 * Unknown fields are ignored, so that additions do not break a consumer.
 */

const time = z.number().describe("Wall clock, ms since 1970.");
const step = z.number().int().nonnegative().describe("RL step; 0 before the first.");

export const jsonSchema: z.ZodType<Json> = z.json() as z.ZodType<Json>;

export const metricRecordSchema: z.ZodType<MetricRecord> = z
  .object({ step, phase: z.number().int(), time, values: z.record(z.string(), z.number()) })
  .describe("Scalars of one step, by registered name.");

/** Many metric records by column: how a snapshot carries the history. */
export const metricBlockSchema = z
  .object({
    steps: z.array(z.number()),
    phases: z.array(z.number()),
    times: z.array(z.number()),
    columns: z.record(z.string(), z.array(z.number().nullable())).describe("One value per row; null where absent."),
  })
  .describe("Metric records by column.");
export type MetricBlock = z.output<typeof metricBlockSchema>;

export const alertSchema: z.ZodType<Alert> = z
  .object({
    id: z.string(),
    level: z.enum(["info", "warn", "error"]),
    rule: z.string(),
    metric: z.string() as z.ZodType<MetricName>,
    value: z.number(),
    threshold: z.number(),
    z: z.number().nullable(),
    step,
    phase: z.number().int(),
    policyVersion: z.number().int(),
    text: z.string(),
    culprits: z.array(z.object({ rolloutId: z.string(), contribution: z.number(), tokenIndex: z.number().int() })),
    time,
  })
  .describe("An alarm of a detector, with the rollouts that caused it.");

export const outcomeSchema: z.ZodType<RewardOutcome> = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("scored"),
    value: z.number(),
    parts: z.record(z.string(), z.number()),
    prediction: z.string().nullable(),
  }),
  z.object({ kind: z.literal("abstained"), reason: z.string() }),
  z.object({ kind: z.literal("timedOut"), afterMs: z.number(), reason: z.string() }),
  z.object({ kind: z.literal("failed"), code: z.string(), reason: z.string() }),
  z.object({ kind: z.literal("invalid"), reason: z.string() }),
]);

const finish = z.enum(["stop", "length", "aborted"]);

export const traceSummarySchema = z
  .object({
    id: z.string(),
    groupId: z.string(),
    taskId: z.string(),
    source: z.string(),
    step,
    phase: z.number().int(),
    sampleIndex: z.number().int(),
    carried: z.boolean(),
    policyVersion: z.number().int(),
    outcome: z.enum(["scored", "abstained", "timedOut", "failed", "invalid"]),
    reward: z.number().nullable(),
    advantage: z.number().nullable(),
    promptTokens: z.number().int(),
    completionTokens: z.number().int(),
    meanLogprob: z.number().nullable().describe("Mean log-prob of the response's tokens, nats."),
    meanEntropy: z.number().nullable().describe("Mean entropy at the response's tokens, nats."),
    finish,
    goldAnswer: z.string(),
    promptExcerpt: z.string().describe("End of the prompt, which holds the question."),
    excerpt: z.string().describe("End of the response, which holds the answer."),
    time,
  })
  .describe("A sampled rollout, without its token data.");
export type TraceSummary = z.output<typeof traceSummarySchema>;

type TraceHead = Omit<Trace, "prompt" | "tokens">;
const traceHeadSchema: z.ZodType<TraceHead> = z.object({
  id: z.string(),
  groupId: z.string(),
  taskId: z.string(),
  source: z.string(),
  step,
  phase: z.number().int(),
  sampleIndex: z.number().int(),
  carried: z.boolean(),
  policyVersion: z.number().int(),
  lag: z
    .number()
    .int()
    .nullable()
    .default(null)
    .describe("Largest lag of its tokens when they were trained, policy versions; null where it was not trained."),
  completion: z.string(),
  goldAnswer: z.string(),
  outcome: outcomeSchema,
  reward: z.number().nullable(),
  advantage: z.number().nullable(),
  promptTokens: z.number().int(),
  behaviours: z
    .array(z.object({ behaviour: z.enum(BEHAVIOURS), start: z.number().int(), end: z.number().int() }))
    .default([])
    .describe("Behaviours that the words of the response show, as half-open intervals of its tokens."),
  judgedBehaviours: z
    .record(z.enum(BEHAVIOURS), z.number().int())
    .nullable()
    .default(null)
    .describe("What the judge counted; null where it was not asked, or gave no counts."),
  finish,
  time,
});

export const groupMemberSchema = z.object({
  id: z.string(),
  sampleIndex: z.number().int(),
  outcome: z.enum(["scored", "abstained", "timedOut", "failed", "invalid"]),
  reward: z.number().nullable(),
  advantage: z.number().nullable(),
});
export type GroupMember = z.output<typeof groupMemberSchema>;

const perToken = (meaning: string) =>
  z
    .array(z.number().nullable())
    .default([])
    .describe(`${meaning}; null where it is not known of a token, empty where of none.`);

/** A whole trace comes in pages, each well below the size of a message. */
export const tracePartSchema = z.discriminatedUnion("part", [
  z.object({
    part: z.literal("head"),
    trace: traceHeadSchema,
    group: z.array(groupMemberSchema).default([]).describe("The rollouts of its group, itself included."),
  }),
  z.object({ part: z.literal("prompt"), offset: z.number().int(), text: z.string() }),
  z.object({
    part: z.literal("tokens"),
    offset: z.number().int(),
    ids: z.array(z.number().int()),
    texts: z.array(z.string()),
    logprobs: z.array(z.number()),
    entropies: z.array(z.number()).describe("Nats; empty where the sampler gives no entropies."),
    weights: perToken("Weight in the loss from rollout correction"),
    advantages: perToken("Advantage"),
    ratios: perToken("π/π_old at the gradient"),
    klOld: perToken("k3 of the policy after the step against π_old, nats"),
    klRef: perToken("k3 of π_old against the reference, nats"),
    lossShares: perToken("Signed share of the step's loss, 1"),
  }),
]);
export type TracePart = z.output<typeof tracePartSchema>;

/** A state of a statechart, as drawn: names, nesting and targets of events. */
export interface StateDefinition {
  readonly key: string;
  readonly type: "atomic" | "compound" | "parallel" | "final" | "history";
  readonly initial: string | null;
  readonly states: readonly StateDefinition[];
  /** Event name to the keys of the states it leads to. */
  readonly on: Readonly<Record<string, readonly string[]>>;
}
export const stateDefinitionSchema: z.ZodType<StateDefinition> = z.object({
  key: z.string(),
  type: z.enum(["atomic", "compound", "parallel", "final", "history"]),
  initial: z.string().nullable(),
  get states() {
    return z.array(stateDefinitionSchema);
  },
  on: z.record(z.string(), z.array(z.string())),
});

export const machineStateSchema = z
  .object({
    machine: z.string(),
    value: jsonSchema.describe("State value as XState gives it: a name, or an object of names."),
    since: time.describe("When this value was entered, ms since 1970."),
    definition: stateDefinitionSchema.nullable(),
  })
  .describe("A statechart and the state it is in.");
export type MachineState = z.output<typeof machineStateSchema>;

export const pipelineGaugeSchema = z
  .object({
    name: z.string(),
    bound: z.number().int(),
    depth: z.number().int().describe("Current number of items; never above the bound."),
    highWater: z.number().int(),
    waitingProducers: z.number().int(),
    waitingConsumers: z.number().int(),
    passed: z.number().int().describe("Items delivered to consumers so far."),
    perSecond: z.number().nullable().describe("Items passed per second, over the last seconds."),
    time,
  })
  .describe("A named bounded queue of the pipeline.");
export type PipelineGauge = z.output<typeof pipelineGaugeSchema>;

const actorState: z.ZodType<ActorState> = z.enum(ACTOR_STATES);
const whole = z.number().int().nonnegative();

export const actorStatusSchema: z.ZodType<ActorStatus> = z.object({
  name: z.string(),
  parent: z.string().nullable().describe("Name of the supervisor; null for the run itself."),
  state: actorState,
  workers: whole.describe("Items that it works on at once, at most."),
  busy: whole.describe("Items in work now."),
  handled: whole.describe("Items finished so far."),
  dropped: whole.describe("Items given up with a reason so far."),
  restarts: whole,
  queue: z.string().nullable().describe("Its mailbox among the queues of `pipeline`; null where it has none."),
  policyVersion: z.number().int().nullable().describe("Version that it samples from or trains, if any."),
  detail: z.string().nullable().describe("Why it restarts or has failed."),
});

export const lagStatusSchema: z.ZodType<LagStatus> = z
  .object({ bound: whole.describe("The largest lag that is trained on."), tokens: z.array(whole) })
  .describe("Tokens of the last batch by lag: `tokens[k]` were sampled k versions before the policy that was trained.");

export const actorChangeSchema = z.object({
  actor: z.string(),
  from: actorState.nullable().describe("State of its change before; null where none is known."),
  state: actorState,
  reason: z.string().nullable().describe("The error; null where it runs again."),
  restarts: whole,
  time,
});
export type ActorChange = z.output<typeof actorChangeSchema>;

export const actorTreeSchema = z
  .object({
    actors: z.array(actorStatusSchema).describe("In the order of flow; empty for a past run."),
    lag: lagStatusSchema.nullable().describe("Null before the first batch."),
    changes: z.array(actorChangeSchema).describe("Restarts and failures, oldest first; the newest 20."),
    time,
  })
  .describe("The supervision tree with the state of each actor, the lag of the last batch, and what changed last.");
export type ActorTree = z.output<typeof actorTreeSchema>;

const initiatorSchema: z.ZodType<Initiator> = z.object({
  kind: z.enum(["program", "operator", "guard", "rollback"]),
  name: z.string().describe("Client and address of an operator, the rule of a guard; empty for a program."),
});

export const knobStateSchema: z.ZodType<KnobState> = z.object({
  path: z.string().describe("Path of the option, such as `optimiser.learningRate`; the command `set` takes it."),
  value: z.number().nullable().describe("In use now; null takes the option's own default."),
  configured: z.number().nullable().describe("What the configuration says."),
  min: z.number(),
  max: z.number(),
  integer: z.boolean(),
  unit: z.string().describe("Empty for a number without a unit."),
  meaning: z.string(),
});

export const knobTurnSchema = z.object({
  path: z.string(),
  old: jsonSchema,
  new: jsonSchema,
  by: initiatorSchema,
  reason: z.string().nullable(),
  step: step.describe("RL steps that were done when it took effect."),
  time,
}) satisfies z.ZodType<KnobTurn & { readonly step: number; readonly time: number }>;
export type ListedTurn = z.output<typeof knobTurnSchema>;

export const knobBoardSchema = z
  .object({
    knobs: z.array(knobStateSchema).describe("Those that this run has, in the order of the configuration."),
    turns: z.array(knobTurnSchema).describe("Oldest first; the newest 100."),
    turnCount: whole.describe("Turns so far, listed or not."),
  })
  .describe("The options that can be changed while the run goes on, with who turned them from what to what.");
export type KnobBoard = z.output<typeof knobBoardSchema>;

export const phaseBandSchema = z.object({
  k: z.number().int(),
  minTokens: z.number().int(),
  maxTokens: z.number().int(),
  fromStep: z.number().int(),
  toStep: z.number().int().nullable().describe("Last step of the band; null while it runs."),
});
export type PhaseBand = z.output<typeof phaseBandSchema>;

export const evaluationSchema = z.object({
  stage: z.string(),
  step,
  /** Accuracy is correct / (n − unscored): responses without a score do not count. */
  buckets: z.record(
    z.string(),
    z.object({
      n: z.number().int(),
      correct: z.number(),
      unscored: z.number().int(),
      meanReward: z.number().nullable(),
    }),
  ),
  benchmarks: z
    .record(
      z.string(),
      z.object({
        items: whole,
        responses: whole,
        scored: whole.describe("Responses that have a score."),
        scoreOverAll: z.number(),
        scoreOverScored: z.number().nullable().describe("Null where no response has a score."),
        passAt: z.array(z.object({ k: whole, value: z.number() })).readonly(),
      }),
    )
    .optional()
    .describe("By name; absent without benchmarks."),
});
export type Evaluation = z.output<typeof evaluationSchema>;

export const preflightSchema = z
  .object({
    rollouts: whole.describe("Trial responses."),
    outcomes: z.record(z.string(), z.number()),
    rewardHistogram: z.record(z.string(), z.number()).describe("Count of each unshaped reward."),
    truncatedShare: z.number(),
    zeroVarianceShare: z.number(),
    tasksPerPhase: z.array(whole),
    memory: z.string().describe("Memory plan of the largest pass."),
    findings: z.array(
      z.object({
        cause: z.string(),
        refuses: z.boolean().describe("The run is refused for it, unless `run.preflight` is `warn`."),
        what: z.string(),
        remedy: z.string(),
      }),
    ),
    time,
  })
  .describe("What a trial batch showed before training.");
export type PreflightInfo = z.output<typeof preflightSchema>;

export const runInfoSchema = z
  .object({
    id: z.string(),
    status: z.enum(["starting", "running", "paused", "completed", "stopped", "failed"]),
    live: z.boolean().describe("False when the run is shown from its folder."),
    startedAt: time,
    endedAt: time.nullable(),
    step,
    plannedSteps: z.number().int().nullable(),
    phase: z.number().int().nullable(),
    seed: z.number().int().nullable(),
    model: z.string().nullable(),
    engine: z.string().nullable(),
    phases: z.array(phaseBandSchema),
    checkpoints: z.array(z.object({ step, path: z.string(), time })).describe("The newest 100."),
    checkpointCount: z.number().int().nonnegative().optional().describe("Checkpoints written so far, listed or not."),
    resumes: z.array(z.object({ step, time })).describe("The newest 100."),
    resumeCount: z.number().int().nonnegative().optional(),
    rollbacks: z
      .array(z.object({ fromStep: step, toStep: step, time }))
      .optional()
      .describe("Returns to a snapshot; the newest 100."),
    rollbackCount: z.number().int().nonnegative().optional(),
    evaluations: z.array(evaluationSchema).describe("The newest 100."),
    evaluationCount: z.number().int().nonnegative().optional(),
    preflight: preflightSchema.optional(),
    note: z.string().nullable().describe("Why the run ended or is paused, in one sentence."),
  })
  .describe("State of the run as a whole.");
export type RunInfo = z.output<typeof runInfoSchema>;

export const logLineSchema = z
  .object({ level: z.enum(["debug", "info", "warn", "error"]), text: z.string(), time })
  .describe("A line of the run's log: commands and their senders, phases, evaluations, resumes.");
export type LogLine = z.output<typeof logLineSchema>;

const when = { step, time };
const perhaps = z.number().nullable();

/** What happened to the run's updates: verdicts that are not commit, alarms as they last, rollbacks, and who turned what. */
export const guardEventSchema = z
  .discriminatedUnion("kind", [
    z
      .object({
        kind: z.literal("verdict"),
        ...when,
        stage: z.enum(["warmup", "rl"]),
        miniBatch: whole,
        verdict: z.enum(["shrink", "skip", "rollback"]),
        reason: z.string(),
        rule: z.string().nullable(),
        scale: perhaps.describe("Share of the step that was applied; null but for `shrink`."),
        kl: perhaps.describe("k3 of the trial step, nats; null without one."),
        gradNorm: perhaps.describe("Before clipping; null where it was not finite or is not known."),
        loss: perhaps.describe("Null where it was not finite."),
      })
      .describe("The guard did not commit an update as it was."),
    z
      .object({
        kind: z.literal("prepared"),
        ...when,
        maskNegatives: z.boolean(),
        entropyCoefficient: perhaps,
        reason: z.string(),
      })
      .describe("The guard changed an RL step before its gradients were computed."),
    z
      .object({
        kind: z.literal("alarm"),
        ...when,
        id: z.string().describe("Of the alert."),
        state: z.enum(["raised", "updated", "ended"]),
        rule: z.string(),
        metric: z.string(),
        value: perhaps.describe("The value of this step; null where it is not finite or the alarm has ended."),
        worst: perhaps.describe("The value furthest from what is allowed, so far."),
        fromStep: step,
        toStep: step.describe("The last step that showed it, so far."),
      })
      .describe("An alarm was raised, lasts, or has ended."),
    z
      .object({
        kind: z.literal("rollback"),
        ...when,
        fromStep: step.describe("Last RL step that was done, or under way, …"),
        toStep: step.describe("… and the one whose end the run went back to."),
        reason: z.string(),
        rule: z.string().nullable(),
        by: initiatorSchema,
        undone: whole.describe("Rollouts that ended `rolledBack`."),
        count: whole.describe("Rollbacks of the run so far."),
      })
      .describe("The run went back to a snapshot."),
    z
      .object({
        kind: z.literal("knob"),
        ...when,
        path: z.string(),
        old: jsonSchema,
        new: jsonSchema,
        by: initiatorSchema,
        reason: z.string().nullable(),
      })
      .describe("An option was changed while the run went on."),
    z
      .object({
        kind: z.literal("batch"),
        ...when,
        path: z.string(),
        miniBatch: whole,
        reason: z.string(),
        replayable: z.boolean(),
      })
      .describe("A mini-batch that was not applied was saved."),
  ])
  .describe("An event of the guard's timeline.");
export type GuardEvent = z.output<typeof guardEventSchema>;

export const runConfigSchema = z
  .object({
    resolved: jsonSchema.describe("Every option as the run was started with; null where it is not known."),
    changes: z
      .array(z.object({ path: z.string(), old: jsonSchema, new: jsonSchema, ...when }))
      .describe("Oldest first."),
  })
  .describe("The run's configuration, and the options that changed on a resume.");
export type RunConfig = z.output<typeof runConfigSchema>;

export const comparedRunSchema = z
  .discriminatedUnion("part", [
    z.object({ part: z.literal("run"), run: runInfoSchema, config: runConfigSchema }),
    z.object({
      part: z.literal("block"),
      run: z.string().describe("Id of the run."),
      block: whole.describe("Number of the block, from 0."),
      records: metricBlockSchema,
    }),
  ])
  .describe("Another run that is shown next to this one: its state, and blocks of its metrics.");
export type ComparedRun = z.output<typeof comparedRunSchema>;
