import { createSamplerResponder } from "../../actors/evaluation/sampler-responder.js";
import { counterKey } from "../../algorithms/random.js";
import type { Responder } from "../../contracts/responder.js";
import type { ChatMessage } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { openEndpoint } from "../eval/policies.js";
import { withEngine } from "../with-engine.js";

/** Models that are asked about tasks: a folder in the embedded engine, or a server that speaks OpenAI's chat protocol. */

export interface AskOptions {
  readonly samples: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly seed: number;
}

/** A conversation to be answered; its id keys the randomness of its samples. */
export interface Asked {
  readonly id: string;
  readonly messages: readonly ChatMessage[];
}

/** Answers conversations, `samples` times each: the responses that came, perhaps none. Errors: those of the engine; WEIR_E_UNREACHABLE. */
export type Ask = (asked: readonly Asked[], told: (done: number) => void) => Promise<readonly (readonly string[])[]>;

/** Conversations per call of the engine. */
const PROMPTS_PER_CALL = 4;
/** Requests to a server at the same time, and how long one may take, ms. */
const REQUESTS = 8;
const DEADLINE_MS = 600_000;

/** Runs `work` with a model folder. Prompts that do not fit are cut in the middle. Errors: those of the engine. */
export async function withFolder<T>(
  folder: string,
  backend: string | undefined,
  options: AskOptions,
  work: (ask: Ask) => Promise<T>,
): Promise<T> {
  const tokenizer = await loadTokenizer(folder);
  return withEngine(folder, backend, (engine, signal) => {
    const { maxTokens, temperature, topP } = options;
    const { maxPositions, stopIds } = engine.model;
    if (maxTokens >= maxPositions)
      throw new WeirError(
        "WEIR_E_USAGE",
        `--max-tokens: expected fewer than the model's ${maxPositions} positions, got ${maxTokens}`,
        { maxTokens },
      );
    const responder = createSamplerResponder({
      ...{ sampler: engine.sampler, tokenizer, policy: null, deadlineMs: Number.POSITIVE_INFINITY },
      sampling: { temperature, topP, topK: 0, maxTokens, stopIds: withEndOfTurn(stopIds, tokenizer.endOfTurn) },
      ...{ maxPromptTokens: maxPositions - maxTokens, questionsPerCall: PROMPTS_PER_CALL, callsInFlight: 1 },
    });
    return work(askBy(responder, options, signal));
  });
}

export interface AskedServer {
  /** Base URL up to and including /v1. */
  readonly url: string;
  readonly model: string;
  readonly apiKeyEnv: string | null;
}

/** Runs `work` with a server. Errors: WEIR_E_CONFIG for an address or key that cannot be used. */
export async function withServer<T>(
  { url, model, apiKeyEnv }: AskedServer,
  options: AskOptions,
  work: (ask: Ask) => Promise<T>,
): Promise<T> {
  const endpoint = { url, model, apiKeyEnv, tokenizer: null, concurrency: REQUESTS, timeoutMs: DEADLINE_MS };
  const sampling = { ...options, maxInput: Number.POSITIVE_INFINITY, rows: 1 };
  const { responder, close } = await openEndpoint(endpoint, sampling);
  try {
    return await work(askBy(responder, options, new AbortController().signal));
  } finally {
    await close();
  }
}

function askBy(responder: Responder, { samples, seed }: AskOptions, signal: AbortSignal): Ask {
  return async (asked, told) => {
    const answers: string[][] = asked.map(() => []);
    let [next, done] = [0, 0];
    const worker = async () => {
      for (let start = next; start < asked.length; start = next) {
        next += responder.questionsPerCall;
        const call = asked.slice(start, next).map(({ id, messages }) => ({
          ...{ id, messages },
          seeds: Array.from({ length: samples }, (_, sample) => counterKey(seed, "data-check", id, sample)),
        }));
        const replies = await responder.respond(call, { signal });
        for (const [i, reply] of replies.entries())
          answers[start + i] = reply.answers.flatMap((answer) => (answer.kind === "answered" ? [answer.text] : []));
        done += call.length;
        told(done);
      }
    };
    await Promise.all(Array.from({ length: responder.callsInFlight }, worker));
    return answers;
  };
}
