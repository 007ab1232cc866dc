/**
 * A policy behind an OpenAI-compatible server: one chat completion per response. Invariants: what the server refuses or does not answer
 * in time is one response less, never an empty one; a server that is away ends the evaluation, which can be gone on with.
 */
import { z } from "zod";
import type { Answer, Answers, Question, Responder } from "../../contracts/responder.js";
import type { ChatMessage } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { Semaphore } from "../../system/semaphore.js";
import { realTime, type Time } from "../../system/time.js";
import { requestSeed } from "../generation/request-seed.js";
import { HttpClient } from "../http.js";
import { patientFetch } from "../patient-fetch.js";

export interface ChatResponderOptions {
  /** Base URL up to and including /v1. */
  readonly url: string;
  readonly model: string;
  readonly secret: string | null;
  readonly temperature: number;
  readonly topP: number;
  readonly maxTokens: number;
  /** Deadline of one try, ms, and how long a server that is away is tried again. */
  readonly deadlineMs: number;
  readonly patienceMs: number;
  /** Requests at the same time. */
  readonly concurrency: number;
  /** Counts tokens of a prompt, and cuts one that is too long; null sends prompts as they are. */
  readonly fit: PromptFit | null;
  readonly time?: Time;
  readonly fetch?: typeof globalThis.fetch;
}

export interface PromptFit {
  measure(messages: readonly ChatMessage[]): number;
  /** Null where it cannot be made to fit. */
  fit(messages: readonly ChatMessage[]): { readonly messages: readonly ChatMessage[]; readonly tokens: number } | null;
}

/** Refusals that every request would meet. */
const HOPELESS = new Set([401, 403, 404]);
/** How long the look takes that tells a slow answer from a server that is away, ms. */
const LOOK_MS = 5_000;
const MAX_ANSWER_BYTES = 16 * 2 ** 20;

const completionSchema = z.object({
  choices: z
    .array(
      z.object({
        message: z.object({
          content: z.string().nullish(),
          reasoning_content: z.string().nullish(),
          reasoning: z.string().nullish(),
        }),
        finish_reason: z.string().nullish(),
      }),
    )
    .min(1),
  usage: z.object({ prompt_tokens: z.number(), completion_tokens: z.number() }).partial().nullish(),
});

interface Reply {
  readonly answer: Answer;
  readonly promptTokens: number | null;
}

/** Errors of `respond`: WEIR_E_UNREACHABLE where the server is away, WEIR_E_REMOTE where it refuses key or model. */
export function createChatResponder(options: ChatResponderOptions): Responder {
  const { url, secret, patienceMs, concurrency, fit, time = realTime, fetch = patientFetch } = options;
  const headers: Record<string, string> = secret === null ? {} : { authorization: `Bearer ${secret}` };
  const client = new HttpClient({ url, headers, secret, patienceMs, time, fetch });
  const slots = new Semaphore(concurrency);
  const respondOne = async ({ messages, seeds }: Question, signal: AbortSignal): Promise<Answers> => {
    const questionTokens = fit?.measure(messages) ?? null;
    const fitted = fit === null ? { messages, tokens: null } : fit.fit(messages);
    if (fitted === null) return { questionTokens, promptTokens: null, answers: seeds.map(() => TOO_LONG) };
    const replies = await Promise.all(
      seeds.map((seed) => slots.run(signal, () => ask(client, options, fitted.messages, seed, signal))),
    );
    const counted = replies.find(({ promptTokens }) => promptTokens !== null)?.promptTokens ?? null;
    return {
      questionTokens: questionTokens ?? counted,
      promptTokens: fitted.tokens ?? counted,
      answers: replies.map(({ answer }) => answer),
    };
  };
  return {
    kind: "openai",
    questionsPerCall: 1,
    callsInFlight: concurrency,
    measure: (messages) => fit?.measure(messages) ?? null,
    respond: (questions, { signal }) => Promise.all(questions.map((question) => respondOne(question, signal))),
  };
}

const TOO_LONG: Answer = {
  kind: "unanswered",
  code: "WEIR_E_PROMPT_TOO_LONG",
  reason: "the prompt without its longest message leaves no room for it",
};

const missing = (code: string, reason: string): Reply => ({
  answer: { kind: "unanswered", code, reason },
  promptTokens: null,
});

async function ask(
  client: HttpClient,
  { model, temperature, topP, maxTokens, deadlineMs }: ChatResponderOptions,
  messages: readonly ChatMessage[],
  seed: number,
  signal: AbortSignal,
): Promise<Reply> {
  const json = {
    ...{ model, messages, temperature, top_p: topP, max_tokens: maxTokens },
    ...{ seed: requestSeed([seed]), n: 1, stream: false },
  };
  const call = {
    path: "/chat/completions",
    json,
    deadlineMs,
    signal,
    repeat: "always",
    maxBytes: MAX_ANSWER_BYTES,
  } as const;
  try {
    const answer = await client.call(call);
    if (answer.status >= 200 && answer.status < 300) return replyOf(answer.json());
    const refusal = client.refusal(call, answer);
    if (HOPELESS.has(answer.status)) throw refusal;
    return missing(refusal.code, refusal.message);
  } catch (error) {
    signal.throwIfAborted();
    if (!WeirError.isInstance(error)) throw error;
    const status = error.details.status;
    if (typeof status === "number" && HOPELESS.has(status)) throw error;
    if (error.code === "WEIR_E_UNREACHABLE" && !(await answers(client, signal))) throw error;
    return missing(error.code, error.message);
  }
}

/** Whether the server answers anything at all now. */
async function answers(client: HttpClient, signal: AbortSignal): Promise<boolean> {
  return client
    .call({ method: "GET", path: "/models", deadlineMs: LOOK_MS, signal, repeat: "never" })
    .then(() => true)
    .catch(() => false);
}

function replyOf(body: unknown): Reply {
  const parsed = completionSchema.safeParse(body);
  const choice = parsed.data?.choices[0];
  if (choice === undefined)
    return missing("WEIR_E_REMOTE", `expected a chat completion, got ${JSON.stringify(body)?.slice(0, 200)}`);
  const { content, reasoning_content, reasoning } = choice.message;
  const thought = reasoning_content ?? reasoning ?? null;
  const promptTokens = parsed.data?.usage?.prompt_tokens ?? null;
  if (typeof content !== "string" && thought === null)
    return { ...missing("WEIR_E_REMOTE", "the server's message has no content"), promptTokens };
  return {
    promptTokens,
    answer: {
      kind: "answered",
      // A thought that was cut off has no end, as in a response that holds both.
      text:
        thought === null
          ? (content ?? "")
          : `<think>\n${thought}${typeof content === "string" ? `\n</think>\n\n${content}` : ""}`,
      tokens: parsed.data?.usage?.completion_tokens ?? null,
      finish: choice.finish_reason === "length" ? "length" : "stop",
    },
  };
}
