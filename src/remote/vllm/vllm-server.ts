/**
 * The HTTP interface of one vLLM server: token ids in and out by /inference/v1/generate, adapters by /v1/load_lora_adapter, whole folders
 * by the routes of its development mode. Follows vLLM 0.32. Every sampling parameter is sent, so that no default of the server counts.
 */
import { z } from "zod";
import type { SamplingParams } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import { readModelConfig } from "../../model/io/config.js";
import type { Call, Draw, Drawn, GenerationServer, Peek, ServerFacts } from "../generation/generation-server.js";
import { requestSeed } from "../generation/request-seed.js";
import {
  askMs,
  askServer,
  type GenerationServerOptions,
  lostAdapter,
  MIB,
  modelsSchema,
  peekMs,
  TOP,
} from "../generation/server-calls.js";
import type { HttpAnswer, HttpCall } from "../http.js";
import { servedModel } from "../served-model.js";
import { drawnOf } from "./choices.js";
import { metricsOf } from "./metrics.js";
import {
  ADAPTER_ROUTES,
  FOLDER_ROUTES,
  GENERATE,
  type ServerInfo,
  serverInfo,
  startProblems,
} from "./start-options.js";

/** Sequences of one request: more than a server's --max-num-seqs are refused, which is 32 or more on every machine for training. */
const SEQUENCES_PER_REQUEST = 32;
/** Bytes of one token in an answer, at most: ids, log-prob and rank as JSON, twice. */
const BYTES_PER_TOKEN = 512;

const versionSchema = z.object({ version: z.string() });
const apiSchema = z.object({ paths: z.record(z.string(), z.unknown()) });
const weightsSchema = z.object({ weight_version: z.string() });
const pausedSchema = z.object({ is_paused: z.boolean() });

/** What vLLM calls the weights that it was started with. */
const STARTED_WITH = "default";

export class VllmServer implements GenerationServer {
  /** Name of the base model, once the server was asked. */
  private base: string | null = null;
  private onCpu = false;

  constructor(private readonly options: GenerationServerOptions) {}

  get url(): string {
    return this.options.client.url;
  }

  async inspect({ signal }: Call): Promise<ServerFacts> {
    const { form, model } = this.options;
    const { data } = await this.ask("/v1/models", modelsSchema, signal);
    const bases = data.filter(({ parent }) => parent === null || parent === undefined);
    const { version } = await this.ask("/version", versionSchema, signal);
    const { paths } = await this.ask("/openapi.json", apiSchema, signal);
    const has = (path: string) => path in paths;
    const info: ServerInfo = has("/server_info")
      ? await serverInfo(this.options.client, askMs(this.options), signal)
      : {};
    this.onCpu = info.cpu === true;
    const problems = startProblems(has, info, form);
    const develops = FOLDER_ROUTES.every(has);
    const label = develops ? (await this.ask("/weight_info", weightsSchema, signal)).weight_version : STARTED_WITH;
    this.base = servedModel(
      bases.map(({ id }) => id),
      model,
      { url: this.url, option: "sampler.model" },
    );
    return {
      version,
      models: bases.map(({ id }) => id),
      maxTokens: bases.find(({ id }) => id === this.base)?.max_model_len ?? null,
      adopts: [
        ...(ADAPTER_ROUTES.every(has) && info.maxRank !== null ? ["adapter" as const] : []),
        ...(develops ? ["checkpoint" as const] : []),
      ],
      adapters: data.flatMap(({ id, parent }) => (parent ? [id] : [])),
      maxRank: info.maxRank ?? null,
      seeds: "per-request",
      precision: info.precision ?? null,
      label: label === STARTED_WITH ? null : label,
      paused: develops ? (await this.ask("/is_paused", pausedSchema, signal)).is_paused : false,
      notes: info.notes ?? {},
      problems,
    };
  }

  async peek(
    promptIds: readonly number[],
    { temperature, topK }: { readonly temperature: number; readonly topK: number },
    { signal }: Call,
  ): Promise<Peek> {
    const params = { temperature, topP: 1, topK, maxTokens: 1, stopIds: [] };
    const body = {
      model: this.model,
      token_ids: promptIds,
      sampling_params: { ...samplingParams(params), n: 1, seed: 1, logprobs: TOP },
      stream: false,
    };
    const answer = await this.generate({ json: body, deadlineMs: peekMs(this.options), signal, maxBytes: MIB });
    return drawnOf(answer.json(), this.url).peek();
  }

  async draw({ adapter, promptIds, seeds, params, ...draw }: Draw, { signal }: Call): Promise<readonly Drawn[]> {
    const parts: (readonly number[])[] = [];
    for (let at = 0; at < seeds.length; at += SEQUENCES_PER_REQUEST)
      parts.push(seeds.slice(at, at + SEQUENCES_PER_REQUEST));
    const one = async (part: readonly number[], i: number) => {
      const body = {
        model: adapter ?? this.model,
        request_id: parts.length === 1 ? draw.id : `${draw.id}-${i}`,
        token_ids: promptIds,
        sampling_params: { ...samplingParams(params), n: part.length, seed: requestSeed(part), logprobs: 0 },
        cache_salt: draw.cacheSalt,
        stream: false,
      };
      const maxBytes = MIB + part.length * params.maxTokens * BYTES_PER_TOKEN;
      const answer = await this.generate({ json: body, deadlineMs: draw.deadlineMs, signal, maxBytes }, adapter);
      return drawnOf(answer.json(), this.url).sequences(STARTED_WITH);
    };
    return (await Promise.all(parts.map(one))).flat();
  }

  async loadAdapter(name: string, folder: string, { signal }: Call): Promise<void> {
    const call: HttpCall = {
      path: "/v1/load_lora_adapter",
      json: { lora_name: name, lora_path: folder },
      deadlineMs: this.options.deadlineMs,
      signal,
      repeat: "always",
    };
    const { client } = this.options;
    let answer = await client.call(call);
    if (answer.status === 400 && answer.text().includes("already been loaded")) {
      // An earlier run, or a call whose answer was lost. Its folder may be gone, and is read again when memory is short.
      await this.unloadAdapter(name, { signal });
      answer = await client.call(call);
    }
    if (
      answer.status === 404 ||
      /no adapter|not found|does not exist/i.test(answer.status === 200 ? "" : answer.text())
    )
      throw new WeirError(
        "WEIR_E_REMOTE",
        `${this.url} cannot read the adapter folder ${folder}; trainer and server have to see it under the same path: set policyStore.directory to a folder that both share`,
        { url: this.url, folder },
      );
    if (answer.status !== 200) throw client.refusal(call, answer);
  }

  async unloadAdapter(name: string, { signal }: Call): Promise<void> {
    const call: HttpCall = {
      path: "/v1/unload_lora_adapter",
      json: { lora_name: name },
      deadlineMs: askMs(this.options),
      signal,
      repeat: "always",
    };
    const answer = await this.options.client.call(call);
    if (answer.status !== 200 && answer.status !== 404) throw this.options.client.refusal(call, answer);
  }

  /** Errors: WEIR_E_CAPABILITY for a model with tied embeddings at a server on a CPU, which keeps the output head that it had. */
  async loadFolder(folder: string, label: string, { signal }: Call): Promise<void> {
    if (this.onCpu && (await readModelConfig(folder)).tieWordEmbeddings)
      throw new WeirError(
        "WEIR_E_CAPABILITY",
        `${this.url} runs on a CPU, where vLLM does not renew the output head of a model with tied embeddings; train adapters (model.lora), or sample on a GPU or the embedded engine`,
        { url: this.url },
      );
    const post = (path: string, json?: unknown) =>
      this.options.client.ok({
        path,
        ...(json === undefined ? {} : { json }),
        deadlineMs: this.options.deadlineMs,
        signal,
        repeat: "never",
      });
    await post("/pause?mode=keep");
    try {
      // Should the exchange fail half-way, no label claims to be what is there.
      await post("/update_weight_version", { new_version: `${label}-loading` });
      await post("/collective_rpc", { method: "reload_weights", kwargs: { weights_path: folder } });
      await post("/reset_prefix_cache");
      await post("/update_weight_version", { new_version: label });
    } finally {
      await this.resume({ signal: AbortSignal.timeout(askMs(this.options)) });
    }
  }

  async resume({ signal }: Call): Promise<void> {
    await this.options.client.ok({ path: "/resume", deadlineMs: askMs(this.options), signal, repeat: "always" });
  }

  async load({
    signal,
  }: Call): Promise<{ readonly running: number; readonly waiting: number; readonly cacheUse: number | null }> {
    const call: HttpCall = {
      method: "GET",
      path: "/metrics",
      deadlineMs: askMs(this.options),
      signal,
      repeat: "always",
    };
    const values = metricsOf((await this.options.client.ok(call)).text());
    return {
      running: values.get("vllm:num_requests_running") ?? 0,
      waiting: values.get("vllm:num_requests_waiting") ?? 0,
      cacheUse: values.get("vllm:kv_cache_usage_perc") ?? null,
    };
  }

  private get model(): string {
    return this.base ?? this.options.model ?? "";
  }

  /** Errors: WEIR_E_REMOTE_STATE where the adapter is not there; WEIR_E_UNREACHABLE where the engine behind the server has ended. */
  private async generate(
    asked: Pick<HttpCall, "json" | "deadlineMs" | "signal"> & { readonly maxBytes: number },
    adapter: string | null = null,
  ): Promise<HttpAnswer> {
    const { client } = this.options;
    const call: HttpCall = { path: GENERATE, repeat: "never", ...asked };
    const answer = await client.call(call);
    if (answer.status === 200) return answer;
    if (answer.status === 404 && adapter !== null) throw lostAdapter(this.url, adapter);
    const refusal = client.refusal(call, answer);
    if (answer.status >= 500) await this.assertHealthy(refusal, asked.signal);
    throw refusal;
  }

  private async assertHealthy(cause: WeirError, signal: AbortSignal): Promise<void> {
    const call: HttpCall = { method: "GET", path: "/health", deadlineMs: askMs(this.options), signal, repeat: "never" };
    const { status } = await this.options.client.call(call);
    if (status === 200) return;
    throw new WeirError(
      "WEIR_E_UNREACHABLE",
      `${this.url} answers, but its engine has ended; start it anew`,
      { url: this.url },
      { cause },
    );
  }

  private ask<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    return askServer(this.options, "vLLM", path, schema, signal);
  }
}

function samplingParams({
  temperature,
  topP,
  topK,
  maxTokens,
  stopIds,
}: SamplingParams): Readonly<Record<string, unknown>> {
  return {
    temperature,
    top_p: topP,
    top_k: topK,
    min_p: 0,
    repetition_penalty: 1,
    presence_penalty: 0,
    frequency_penalty: 0,
    max_tokens: maxTokens,
    min_tokens: 0,
    stop_token_ids: stopIds,
    // The stop ids say where a response ends, and nothing else.
    ignore_eos: true,
    skip_special_tokens: false,
    detokenize: false,
  };
}
