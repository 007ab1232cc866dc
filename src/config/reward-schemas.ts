/** Options of rewards, of the judge, and of the groups that are trained on. */
import { z } from "zod";
import { SHORT_STEP_RULES } from "../contracts/group.js";
import { REWARD_MODES } from "../contracts/reward.js";

const positiveInt = z.number().int().positive();
const nonNegativeInt = z.number().int().nonnegative();
const coefficient = z.number().nonnegative();
const actorName = z.string().min(1);

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
        .describe("Name of the judge part: `openai` (a server that speaks OpenAI's protocol) or your own."),
      url: z
        .string()
        .nullable()
        .default(null)
        .describe("Base URL of an OpenAI-compatible server, up to and including /v1."),
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
  minScored: positiveInt
    .default(2)
    .describe(
      "Scored responses that a group needs to be trained on (I1); at most rollout.groupSize, at least the minimum of the advantage part (2 for the built-in ones).",
    ),
});
