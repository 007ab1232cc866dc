/**
 * Sampler and trainer on the same tokens at the same version, before anything is trained (I8): with other weights, another tokenizer, or
 * log-probs of another kind, training would go on for hours and learn nothing.
 */
import { counterKey } from "../../algorithms/random.js";
import type { Group } from "../../contracts/group.js";
import { WeirError } from "../../errors.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { mismatchLimitOf, type PairPrecisions } from "../../streams/telemetry/limits.js";
import { logprobsComparable } from "./capabilities.js";
import { foreignPrecisions } from "./foreign-engines.js";
import type { RunContext } from "./run-context.js";
import { sampleTimeoutMs } from "./sampler-engines.js";

/** |sampler log-prob − trainer log-prob| over the tokens that both scored, nats. */
export interface EngineComparison {
  readonly tokens: number;
  readonly mean: number;
  readonly largest: number;
}

/** A response as the sampler scored it, at `temperature`. */
interface Drawn {
  readonly promptIds: readonly number[]; // [P]
  readonly tokenIds: readonly number[]; // [T]
  readonly logprobs: readonly number[]; // [T]
}

/** Responses that are compared: some hundred tokens tell other weights apart, and cost the trainer one small pass. */
const MOST_RESPONSES = 8;
/** Tokens of a response that is drawn for the comparison alone. */
const MOST_TOKENS = 32;

/**
 * Compares responses of the trial batch; where their log-probs are not those of the policy, some that are drawn at temperature 1 from
 * the whole vocabulary, for which every kind of log-probs is the same. Null where both are the embedded engine, which is its own check.
 * Errors: WEIR_E_MISMATCH where the mean difference exceeds `spikes.mismatchLimit`; those of sampler and trainer.
 */
export async function compareEngines(
  context: RunContext,
  groups: readonly Group[],
  signal: AbortSignal,
): Promise<EngineComparison | null> {
  const precisions = foreignPrecisions(context);
  if (precisions === null) return null;
  const { config, parts, log } = context;
  const comparable = logprobsComparable(config, parts.sampler);
  const drawn = comparable ? drawnIn(groups) : await drawPlainly(context, groups, signal);
  const temperature = comparable ? config.rollout.temperature : 1;
  const { logprobs } = await parts.trainer.logprobs(
    drawn.map(({ promptIds, tokenIds }) => ({ promptIds, completions: [tokenIds] })),
    { signal, temperature, which: "policy", microBatchTokens: config.update.microBatchTokens },
  );
  const differences = drawn.flatMap((one, p) =>
    one.logprobs.map((value, t) => Math.abs(value - (logprobs[p]?.[0]?.[t] ?? Number.NaN))),
  );
  if (differences.length === 0) return null;
  const mean = differences.reduce((sum, value) => sum + value, 0) / differences.length;
  const largest = differences.reduce((most, value) => Math.max(most, value), 0);
  const found: EngineComparison = { tokens: differences.length, mean, largest };
  log.info({ actor: "preflight", ...found }, "log-probs of sampler and trainer were compared");
  // What is not a number is no agreement either.
  const limit = config.spikes.mismatchLimit ?? mismatchLimitOf(config.engine.precision, precisions);
  if (!(mean <= limit)) throw mismatch(context, found, { limit, precisions });
  return found;
}

/** The first response to each prompt of the trial batch. */
function drawnIn(groups: readonly Group[]): readonly Drawn[] {
  const responses = groups.flatMap(({ members }) => members.slice(0, 1).map(({ rollout }) => rollout));
  return responses
    .slice(0, MOST_RESPONSES)
    .map(({ promptIds, tokenIds, samplerLogprobs }) => ({ promptIds, tokenIds, logprobs: samplerLogprobs }));
}

async function drawPlainly(
  { config, parts, policies, tokenizer }: RunContext,
  groups: readonly Group[],
  signal: AbortSignal,
): Promise<readonly Drawn[]> {
  const prompts = groups.slice(0, MOST_RESPONSES).flatMap(({ members }, p) => {
    const promptIds = members[0]?.rollout.promptIds;
    return promptIds === undefined ? [] : [{ promptIds, seeds: [counterKey(config.run.seed, "comparison", p)] }];
  });
  const reply = await parts.sampler.sample(
    {
      id: `comparison-${counterKey(config.run.seed, "comparison")}`,
      prompts,
      params: {
        ...{ temperature: 1, topP: 1, topK: 0, maxTokens: Math.min(MOST_TOKENS, config.rollout.maxTokens) },
        stopIds: withEndOfTurn(parts.trainer.model.stopIds, tokenizer.endOfTurn),
      },
      policy: { exactly: policies.version.n },
      purpose: "evaluation",
      deadlineMs: sampleTimeoutMs(config),
    },
    { signal },
  );
  return reply.sequences.flatMap((sequences, p) =>
    sequences.map(({ tokenIds, logprobs }) => ({ promptIds: prompts[p]?.promptIds ?? [], tokenIds, logprobs })),
  );
}

function mismatch(
  { parts, policies }: RunContext,
  found: EngineComparison,
  { limit, precisions }: { readonly limit: number; readonly precisions: PairPrecisions },
): WeirError {
  const { tokens, mean, largest } = found;
  return new WeirError(
    "WEIR_E_MISMATCH",
    `preflight: the sampler "${parts.sampler.kind}" and the trainer "${parts.trainer.kind}" give the same ${tokens} tokens at policy version ` +
      `${policies.version.n} log-probs that differ by ${shown(mean)} nats on average (at most ${shown(largest)}; limit ${limit}, where the sampler computes in ${precisions.sampler ?? UNTOLD} and the trainer in ${precisions.trainer ?? UNTOLD}): they do not have ` +
      "the same weights or tokenizer, or the log-probs are of another kind; compare model.path with sampler.model and trainer.baseModel, " +
      "and set sampler.logprobs; where only rounding keeps them apart, as with quantised weights or products in TF32, raise spikes.mismatchLimit",
    { ...found, limit },
  );
}

const UNTOLD = "a precision that it does not tell";
const shown = (value: number) =>
  Number.isFinite(value) ? Number(value.toPrecision(3)) : "an amount that is not finite";
