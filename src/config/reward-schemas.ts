/** Options of rewards, of the judge, and of the groups that are trained on. */
import { z } from "zod";
import { SHORT_STEP_RULES, UNVIABLE_RULES } from "../contracts/group.js";
import { REWARD_MODES } from "../contracts/reward.js";

const positiveInt = z.number().int().positive();
const nonNegativeInt = z.number().int().nonnegative();
const coefficient = z.number().nonnegative();
const share = z.number().min(0).max(1);
const actorName = z.string().min(1);

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
  overlong: z
    .strictObject({
      bufferTokens: nonNegativeInt
        .default(0)
        .describe("L_cache of Eq. 7 in tokens; 0 switches the penalty off (release: 1,000)."),
      factor: coefficient.default(1).describe("Scale of the length penalty (release: 1)."),
    })
    .prefault({}),
  judge: z
    .strictObject({
      actor: actorName
        .default("openai")
        .describe("Name of the judge part: `openai` (a server that speaks OpenAI's protocol) or your own."),
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
      apiKeyEnv: z.string().nullable().default(null).describe("Environment variable that holds the judge's API key."),
      timeoutMs: positiveInt.default(30_000).describe("Deadline of one judge request in ms."),
      retries: nonNegativeInt.default(4).describe("Further tries after 429, 5xx or a broken connection."),
      concurrency: positiveInt.default(20).describe("Judge requests in flight (release: 20 threads)."),
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
