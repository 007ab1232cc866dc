/** The policy that `weir eval --bench` asks: a model folder, a run's checkpoint, the sampler of a configuration, or a chat server. */
import { join } from "node:path";
import { fitPrompt } from "../../actors/evaluation/fit-prompt.js";
import { createSamplerResponder } from "../../actors/evaluation/sampler-responder.js";
import type { PartRegistry } from "../../actors/parts/registry.js";
import type { SamplerPool } from "../../actors/rollout/sampler-pool.js";
import { samplerCalls, sampleTimeoutMs } from "../../actors/run/sampler-engines.js";
import type { Config } from "../../config/schema.js";
import type { Responder } from "../../contracts/responder.js";
import type { Sampler } from "../../contracts/sampler.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { readModelConfig } from "../../model/io/config.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { createChatResponder } from "../../remote/chat/chat-responder.js";
import { stepName } from "../../store/checkpoint-store.js";
import { CHECKPOINTS_FOLDER } from "../../store/run-folder.js";
import { environmentSecret } from "../../system/environment-secret.js";
import { resolveModelFolder } from "../commands/export.js";
import { note } from "../output.js";

/** How responses are drawn. */
export interface EvalSampling {
  readonly temperature: number;
  readonly topP: number;
  readonly maxTokens: number;
  /** Longest templated prompt, tokens; a model with fewer positions has its own. */
  readonly maxInput: number;
  /** Prompts per sampler call. */
  readonly rows: number;
  readonly samples: number;
}

export interface OpenPolicy {
  readonly responder: Responder;
  /** What the policy is: part of the settings of an evaluation. */
  readonly identity: Json;
  close(): Promise<void>;
}

export interface EndpointOptions {
  readonly url: string;
  readonly model: string;
  readonly apiKeyEnv: string | null;
  /** Folder whose tokenizer counts tokens and cuts prompts; null leaves both to the server. */
  readonly tokenizer: string | null;
  readonly concurrency: number;
  readonly timeoutMs: number;
}

/** How long a server that is away is tried again, ms: a restart takes a minute or two. */
const PATIENCE_MS = 120_000;

/** The folder of a run's newest model, or of its checkpoint of a step. Errors: WEIR_E_FILE_MISSING, WEIR_E_CHECKPOINT_DAMAGED. */
export async function modelOfRun(run: string, step: number | null): Promise<string> {
  return resolveModelFolder(step === null ? run : join(run, CHECKPOINTS_FOLDER, stepName(step)), note);
}

/** Errors: WEIR_E_CONFIG for an address or key that cannot be used; those of the tokenizer. */
export async function openEndpoint(endpoint: EndpointOptions, sampling: EvalSampling): Promise<OpenPolicy> {
  const { url, model, apiKeyEnv, tokenizer: folder, concurrency, timeoutMs } = endpoint;
  const tokenizer = folder === null ? null : await loadTokenizer(folder);
  const fit =
    tokenizer === null
      ? null
      : {
          measure: (messages: Parameters<Responder["measure"]>[0]) =>
            tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).ids.length,
          fit: (messages: Parameters<Responder["measure"]>[0]) => {
            const { fitted } = fitPrompt(messages, tokenizer, sampling.maxInput);
            return fitted && { messages: fitted.messages, tokens: fitted.ids.length };
          },
        };
  const { temperature, topP, maxTokens } = sampling;
  const responder = createChatResponder({
    ...{ url, model, temperature, topP, maxTokens, concurrency, fit },
    ...{
      secret: environmentSecret(apiKeyEnv, { option: "--api-key-env", what: "the server's key" }),
      deadlineMs: timeoutMs,
      patienceMs: PATIENCE_MS,
    },
  });
  return { responder, identity: { kind: "endpoint", url, model }, close: async () => undefined };
}

/** The error of an evaluation whose sampler is its trainer's. */
export const needsTrainer = () =>
  new WeirError("WEIR_E_CAPABILITY", "an evaluation has no trainer; choose another sampler.actor");

/** Errors: those of the model folder, of the engine, and of a server. */
export async function openSampler(
  config: Config,
  registry: PartRegistry,
  pool: SamplerPool | null,
  weights: { readonly sha256: string },
  sampling: EvalSampling,
): Promise<OpenPolicy> {
  const tokenizer = await loadTokenizer(config.model.path);
  const model = await readModelConfig(config.model.path);
  const sampler: Sampler = registry.build("sampler", { sampler: config.sampler.actor });
  try {
    const embedded = config.sampler.actor === "engine";
    if (embedded) await pool?.start();
    await sampler.connect?.({ signal: new AbortController().signal });
    const { temperature, topP, maxTokens, maxInput, rows, samples } = sampling;
    const calls = samplerCalls({
      ...config,
      rollout: { ...config.rollout, engines: Math.max(1, config.rollout.engines) },
    });
    const responder = createSamplerResponder({
      ...{ sampler, tokenizer, policy: null },
      sampling: {
        ...{ temperature, topP: temperature === 0 ? 1 : topP, topK: 0, maxTokens },
        stopIds: withEndOfTurn(model.eosIds, tokenizer.endOfTurn),
      },
      maxPromptTokens: Math.min(maxInput, model.maxPositions - maxTokens),
      deadlineMs: sampleTimeoutMs(config),
      questionsPerCall: Math.max(1, Math.floor(rows / samples)),
      // One more than is worked on: while the responses of one call are scored, others are drawn.
      callsInFlight: calls + 1,
    });
    const identity = embedded
      ? { kind: "model", weights: weights.sha256 }
      : {
          kind: config.sampler.actor,
          urls: [...config.sampler.urls],
          model: config.sampler.model ?? config.model.path,
        };
    return { responder, identity, close: async () => sampler.dispose?.() };
  } catch (error) {
    await sampler.dispose?.();
    throw error;
  }
}
