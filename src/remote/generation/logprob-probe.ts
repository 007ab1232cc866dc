/**
 * Finds out what a server's log-probs are of, from three draws of one token after the same prompt. Let a be the largest log-prob at
 * temperature 1. At another temperature it is still a (`raw`) or another value; with top-k 1 it is a again (`scaled`) or 0 (`processed`).
 */
import type { LogprobBasis } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import type { GenerationServer } from "./generation-server.js";

/** Prompts of ids that every vocabulary has; a later one is asked where the model is certain of the next token after the earlier ones. */
const PROMPTS = [[1], [2], [3], [1, 2, 3], [3, 1, 2]] as const;
/** Above it the three cases cannot be told apart. */
const CERTAIN = -0.05;
/** Far from 1, so that even the flat distribution of an untrained model changes. */
const PROBE_TEMPERATURE = 0.25;
/** Differences below it are arithmetic. */
const TOLERANCE = 1e-3;
/** Largest sum of probabilities that is one but for rounding in bfloat16. */
const WHOLE = 1.02;

/** Errors: those of `peek`; WEIR_E_REMOTE for a server whose values are no log-probs, or that cannot be judged. */
export async function probeBasis(
  server: GenerationServer,
  options: { readonly signal: AbortSignal },
): Promise<LogprobBasis> {
  for (const prompt of PROMPTS) {
    const plain = await server.peek(prompt, { temperature: 1, topK: 0 }, options);
    const largest = plain.top[0] ?? plain.drawn;
    assertLogprobs(server.url, plain.top);
    if (largest > CERTAIN) continue;
    const heated = await server.peek(prompt, { temperature: PROBE_TEMPERATURE, topK: 0 }, options);
    if (Math.abs((heated.top[0] ?? heated.drawn) - largest) < TOLERANCE) return "raw";
    const only = await server.peek(prompt, { temperature: 1, topK: 1 }, options);
    return Math.abs(only.drawn - largest) < TOLERANCE ? "scaled" : "processed";
  }
  throw new WeirError(
    "WEIR_E_REMOTE",
    `${server.url}: it cannot be found out what its log-probs are of, since the model is certain of each token; set sampler.logprobs`,
    { url: server.url },
  );
}

function assertLogprobs(url: string, top: readonly number[]): void {
  const mass = top.reduce((sum, value) => sum + Math.exp(value), 0);
  if (mass <= WHOLE) return;
  throw new WeirError(
    "WEIR_E_REMOTE",
    `${url} gives values in the place of log-probs whose probabilities sum to ${mass.toPrecision(3)}; start it with --logprobs-mode processed_logprobs or raw_logprobs`,
    { url },
  );
}
