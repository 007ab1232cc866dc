/** Options of rewards, of the judge, and of the groups that are trained on. */
import { z } from "zod";
import { SHORT_STEP_RULES, UNVIABLE_RULES } from "../contracts/group.js";
import { ASK_JUDGE_RULES, type AskJudgeRule, COMBINATIONS, REWARD_MODES } from "../contracts/reward.js";

const positiveInt = z.number().int().positive();
const nonNegativeInt = z.number().int().nonnegative();
const coefficient = z.number().nonnegative();
const share = z.number().min(0).max(1);
const actorName = z.string().min(1);

const weightsSchema = z
  .strictObject({
    rule: coefficient.default(0.5).describe("Weight of the rule in a weighted mean."),
    judge: coefficient.default(0.5).describe("Weight of the judge in a weighted mean."),
  })
  .refine(({ rule, judge }) => rule + judge > 0, "expected weights that are not both 0");

/** What one family of tasks has of its own; null takes what holds for all. */
const familySchema = (family: string, askJudge: AskJudgeRule | null) =>
  z
    .strictObject({
      combine: z
        .enum(COMBINATIONS)
        .nullable()
        .default(null)
        .describe(`The same for ${family}; null takes that of all.`),
      askJudge: z
        .enum(ASK_JUDGE_RULES)
        .nullable()
        .default(askJudge)
        .describe(
          `The same for ${family}; null takes that of all.${askJudge === null ? "" : ` The release asks no judge here.`}`,
        ),
      weights: weightsSchema.nullable().default(null).describe(`The same for ${family}; null takes those of all.`),
    })
    .prefault({});

const hybridSchema = z.strictObject({
  combine: z
    .enum(COMBINATIONS)
    .default("max")
    .describe(
      "How the reward `hybrid` combines rule and judge: `max` (Eq. 14), `weighted` (weighted mean), `first` (the rule's where it is a success, else the judge's).",
    ),
  askJudge: z
    .enum(ASK_JUDGE_RULES)
    .default("rule-failed")
    .describe(
      "When the judge is asked, given that an answer was found: where the rule's reward is below `reward.correctAt` (paper), always, or never. A reward without a verdict is the rule's.",
    ),
  weights: weightsSchema.prefault({}),
  families: z
    .strictObject({
      multipleChoice: familySchema("multiple-choice tasks", "never"),
      numeric: familySchema("numeric tasks", null),
      qa: familySchema("question-answering tasks", null),
    })
    .prefault({}),
});

const rulesSchema = z.strictObject({
  workers: positiveInt
    .default(2)
    .describe("Threads that rules run in at most; each computes one reward at a time and starts when it is needed."),
  timeoutMs: positiveInt
    .default(10_000)
    .describe(
      "Deadline of one rule in ms, from when a thread takes it; beyond it the thread is ended, another takes its place, and the outcome is `timedOut`.",
    ),
  module: z
    .string()
    .min(1)
    .nullable()
    .default(null)
    .describe("Path of an ES module whose default export is a rule of your own, in place of the built-in ones."),
});

const behavioursSchema = z.strictObject({
  judgeShare: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .describe(
      "Share of the responses in which the reward's judge counts behaviours as well (docs/behaviours.md); it changes no reward.",
    ),
  timeoutMs: positiveInt
    .default(60_000)
    .describe(
      "Deadline of these questions of a step in ms, from the beginning of its update; later answers are left out.",
    ),
});

export const rewardSchema = z.strictObject({
  actor: actorName.default("rule").describe("Name of the reward part: `rule`, `hybrid` or your own."),
  mode: z
    .enum(REWARD_MODES)
    .default("paper")
    .describe("Rules of the paper (exact match) or of the code release (substring)."),
  correctAt: z
    .number()
    .default(1)
    .describe(
      "Smallest unshaped reward that counts as correct, in accuracy and in difficulty (rules give 0 or 1); rounding errors are tolerated.",
    ),
  requireThink: z.boolean().default(true).describe("A response without `</think>` has no answer."),
  concurrency: positiveInt.default(16).describe("Rewards computed concurrently."),
  timeoutMs: positiveInt
    .default(60_000)
    .describe("Deadline of one reward in ms; beyond it the outcome is `timedOut` (I5)."),
  rules: rulesSchema.prefault({}),
  hybrid: hybridSchema.prefault({}),
  overlong: z
    .strictObject({
      bufferTokens: nonNegativeInt
        .default(0)
        .describe("L_cache of Eq. 7 in tokens; 0 switches the penalty off (release: 1,000)."),
      factor: coefficient.default(1).describe("Scale of the length penalty (release: 1)."),
    })
    .prefault({}),
  behaviours: behavioursSchema.prefault({}),
  judge: z
    .strictObject({
      actor: actorName
        .default("openai")
        .describe(
          "Name of the judge part: `openai` (a server that speaks OpenAI's protocol), `local` (a model folder in an engine process of its own) or your own.",
        ),
      url: z
        .string()
        .nullable()
        .default(null)
        .describe("Base URL of an OpenAI-compatible server, up to and including /v1."),
      price: z
        .strictObject({
          promptPerMillion: coefficient.describe("Price of a million prompt tokens."),
          completionPerMillion: coefficient.describe("Price of a million completion tokens, in the same currency."),
        })
        .nullable()
        .default(null)
        .describe("Prices of the judge's tokens, for the metric `judge/cost`; null measures no cost."),
      failureLimit: share
        .default(0.1)
        .describe("Share of a step's questions to the judge without a verdict at which an alarm is raised."),
      slowSeconds: z
        .number()
        .positive()
        .nullable()
        .default(null)
        .describe(
          "95 % quantile of the judge's answering time at which an alarm is raised, s; null takes half of `reward.judge.timeoutMs`.",
        ),
      model: z.string().default("").describe("Model name sent to the judge."),
      path: z
        .string()
        .min(1)
        .nullable()
        .default(null)
        .describe("Hugging Face folder of the judge `local`: a chat model, whose weights stay as they are."),
      memoryGiB: z
        .number()
        .positive()
        .nullable()
        .default(null)
        .describe(
          "Memory that the judge `local` plans for, GiB, of that of all engine processes together; null gives it as much as a sampler of rollout.engines gets.",
        ),
      apiKeyEnv: z.string().nullable().default(null).describe("Environment variable that holds the judge's API key."),
      template: z
        .string()
        .nullable()
        .default(null)
        .describe(
          "File with a prompt of your own: the user's message with {problem}, {prediction} and {gold} in it; lines before a line `---` are the system message, and lines `--- user` and `--- assistant` begin turns with examples. Null takes the built-in one.",
        ),
      maxTokens: positiveInt
        .nullable()
        .default(null)
        .describe("Most tokens of a judge's reply; a reply that is cut is a failure. Null leaves it to the server."),
      maxReplyBytes: positiveInt
        .default(1 << 20)
        .describe("Most bytes of the server's answer that are read; a longer one is a failure."),
      maxPredictionChars: positiveInt
        .default(8_000)
        .describe("A longer prediction is shortened in the middle before the judge sees it (characters)."),
      timeoutMs: positiveInt.default(30_000).describe("Deadline of one judge request in ms."),
      groupTimeoutMs: positiveInt
        .default(50_000)
        .describe(
          "Deadline of a question with all its requests, and of all questions of a rollout group that are open at the same time, in ms; keep it below reward.timeoutMs.",
        ),
      retries: nonNegativeInt
        .default(4)
        .describe("Further tries after 429, 5xx, a broken connection, a late answer or one that is no JSON."),
      hedgeAfterMs: positiveInt
        .nullable()
        .default(null)
        .describe(
          "Time in ms after which a second request is sent beside one without answer; the first answer counts. Null sends none.",
        ),
      concurrency: positiveInt
        .default(20)
        .describe("Judge requests in flight, second ones included (release: 20 threads)."),
      requestsPerMinute: positiveInt
        .nullable()
        .default(null)
        .describe("Most judge requests begun in any 60 s; null sets no limit."),
      tokensPerMinute: positiveInt
        .nullable()
        .default(null)
        .describe("Most tokens of judge requests begun in any 60 s, prompt and reply; null sets no limit."),
      breaker: z
        .strictObject({
          window: positiveInt.default(20).describe("Last requests that the circuit breaker looks back on."),
          failures: positiveInt
            .default(5)
            .describe("Least number of failures among them with which it opens: the judge is then given no questions."),
          share: z
            .number()
            .gt(0)
            .max(1)
            .default(0.5)
            .describe("Least share of failures among them with which it opens, in (0, 1]."),
          openMs: positiveInt
            .default(10_000)
            .describe("Time in ms after which a judge without questions is tried by one request, again and again."),
        })
        .prefault({}),
      cache: z
        .strictObject({
          directory: z
            .string()
            .nullable()
            .default(null)
            .describe("Folder in which replies are kept for later runs; null keeps them in memory only."),
          maxBytes: nonNegativeInt
            .default(64 * 1024 * 1024)
            .describe("Most bytes of replies in memory, and in the folder; 0 asks every question anew."),
        })
        .prefault({}),
    })
    .prefault({}),
});

export const dynamicSamplingSchema = z.strictObject({
  filter: actorName
    .default("variance")
    .describe(
      "Name of the filter part, which says which groups are trained on: `variance` (drops groups of equal rewards), `none` or your own.",
    ),
  enabled: z
    .boolean()
    .default(true)
    .describe("Filter groups and draw others in the place of those that are dropped (DAPO); false keeps all."),
  maxRounds: positiveInt.default(10).describe("Generation rounds per step (release: 10)."),
  oversample: z
    .number()
    .min(1)
    .default(1)
    .describe("Groups generated per missing group in a round (release: 384/128 = 3); surplus groups are dropped."),
  onExhausted: z
    .enum(SHORT_STEP_RULES)
    .default("proceed")
    .describe("When `maxRounds` is reached: train on the groups found so far (at least one), or fail; our choice."),
  minScoredShare: z
    .number()
    .gt(0)
    .max(1)
    .default(0.75)
    .describe(
      "Share of a group's responses that must be scored for the group to be trained on (I1), rounded up; at least 2 responses, and at least as many as the advantage part needs.",
    ),
  unviable: z
    .enum(UNVIABLE_RULES)
    .default("regenerate")
    .describe(
      "A group with fewer scored responses: `regenerate` draws it again as another attempt where its reward failed or timed out; `drop` goes on without it. It enters no mean either way.",
    ),
  maxAttempts: positiveInt
    .default(3)
    .describe("Times that a group is drawn in all before `unviable` drops it; 1 never draws it again."),
});
