import { counterKey } from "../../algorithms/random.js";
import { truncateMiddle } from "../../algorithms/truncation.js";
import type { ChatMessage } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { HttpClient } from "../../remote/http.js";
import { patientFetch } from "../../remote/patient-fetch.js";
import { realTime } from "../../system/time.js";
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

/** Responses to a conversation, `samples` of them; null where the model refused it. */
export type Answers = readonly string[] | null;

export interface Answerer {
  ask(asked: readonly Asked[], told: (done: number) => void): Promise<readonly Answers[]>;
}

/** Conversations per call of the engine. */
const PROMPTS_PER_CALL = 4;
/** Requests to a server at the same time. */
const REQUESTS = 8;
/** How long a server that is away is waited for, and how long one request may take, ms. */
const PATIENCE_MS = 60_000;
const DEADLINE_MS = 600_000;

/** Runs `work` with a model folder. Prompts that do not fit are cut in the middle. Errors: those of the engine. */
export async function withFolder<T>(
  folder: string,
  backend: string | undefined,
  options: AskOptions,
  work: (answerer: Answerer) => Promise<T>,
): Promise<T> {
  const tokenizer = await loadTokenizer(folder);
  return withEngine(folder, backend, (engine, signal) => {
    const { maxTokens, samples, temperature, topP, seed } = options;
    const limit = engine.model.maxPositions - maxTokens;
    if (limit < 1)
      throw new WeirError(
        "WEIR_E_USAGE",
        `--max-tokens: expected fewer than the model's ${engine.model.maxPositions} positions, got ${maxTokens}`,
        { maxTokens },
      );
    const params = {
      ...{ temperature, topP, topK: 0, maxTokens },
      stopIds: withEndOfTurn(engine.model.stopIds, tokenizer.endOfTurn),
    };
    const promptOf = ({ id, messages }: Asked) => ({
      promptIds: truncateMiddle(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).ids, limit),
      seeds: Array.from({ length: samples }, (_, sample) => counterKey(seed, "data-check", id, sample)),
    });
    return work({
      async ask(asked, told) {
        const answers: string[][] = [];
        for (let start = 0; start < asked.length; start += PROMPTS_PER_CALL) {
          const call = asked.slice(start, start + PROMPTS_PER_CALL);
          const { sequences } = await engine.sampler.sample(
            {
              ...{ id: `data-check-${start}`, prompts: call.map(promptOf), params },
              ...{ policy: null, purpose: "evaluation", deadlineMs: Number.POSITIVE_INFINITY },
            },
            { signal },
          );
          for (const drawn of sequences)
            answers.push(drawn.map(({ tokenIds }) => tokenizer.decode(tokenIds, { skipSpecialTokens: true })));
          told(answers.length);
        }
        return answers;
      },
    });
  });
}

export interface EndpointOptions extends AskOptions {
  /** Base URL up to and including /v1. */
  readonly url: string;
  readonly model: string;
  /** Null sends none. */
  readonly key: string | null;
}

/** A server. Errors of `ask`: WEIR_E_UNREACHABLE; a request that is refused has no answers. */
export function endpointAnswerer(options: EndpointOptions): Answerer {
  const { url, model, key, samples, maxTokens, temperature, topP, seed } = options;
  const client = new HttpClient({
    ...{ url, secret: key, patienceMs: PATIENCE_MS, time: realTime, fetch: patientFetch },
    ...(key === null ? {} : { headers: { authorization: `Bearer ${key}` } }),
  });
  const { signal } = new AbortController();
  const answersTo = async ({ id, messages }: Asked): Promise<Answers> => {
    const texts: string[] = [];
    // One sample a request: servers differ in whether they take `n`.
    for (let sample = 0; sample < samples; sample++) {
      const json = {
        ...{ model, messages, temperature, top_p: topP, max_tokens: maxTokens },
        seed: counterKey(seed, "data-check", id, sample) >>> 1,
      };
      const answer = await client.call({
        ...{ path: "/chat/completions", json, deadlineMs: DEADLINE_MS, signal, repeat: "always" },
      });
      if (answer.status === 401 || answer.status === 403 || answer.status === 404)
        throw client.refusal({ path: "/chat/completions" }, answer);
      const text = answer.status >= 200 && answer.status < 300 ? contentOf(answer.text()) : null;
      if (text === null) return null;
      texts.push(text);
    }
    return texts;
  };
  return {
    async ask(asked, told) {
      const answers = new Array<Answers>(asked.length).fill(null);
      let [next, done] = [0, 0];
      const worker = async () => {
        for (let at = next++; at < asked.length; at = next++) {
          answers[at] = await answersTo(asked[at] as Asked);
          told(++done);
        }
      };
      await Promise.all(Array.from({ length: Math.min(REQUESTS, asked.length) }, worker));
      return answers;
    },
  };
}

/** choices[0].message of a completion: its content, behind its reasoning where the server gives that apart; null for anything else. */
function contentOf(body: string): string | null {
  try {
    const parsed = JSON.parse(body) as {
      choices?: readonly { message?: { content?: unknown; reasoning_content?: unknown } }[];
    } | null;
    const { content, reasoning_content: reasoning } = parsed?.choices?.[0]?.message ?? {};
    if (typeof content !== "string") return null;
    return typeof reasoning === "string" && reasoning !== "" ? `<think>${reasoning}</think>${content}` : content;
  } catch {
    return null;
  }
}
