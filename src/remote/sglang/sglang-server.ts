/**
 * The HTTP interface of one SGLang server, after the documentation and source of SGLang 0.5.23: token ids in and out by /generate,
 * adapters by /load_lora_adapter, whole folders by /update_weights_from_disk. Every sampling parameter is sent, so that no default of
 * the server counts. Each sequence is a row of one request with a seed of its own, which counts with --enable-deterministic-inference.
 */
import { z } from "zod";
import { WeirError } from "../../errors.js";
import type { Call, Draw, Drawn, GenerationServer, Peek, ServerFacts } from "../generation/generation-server.js";
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
import { toldPrecision } from "../generation/told-precision.js";
import type { HttpAnswer, HttpCall } from "../http.js";
import { servedModel } from "../served-model.js";
import { rowsOf } from "./rows.js";

/** Bytes of one token in an answer, at most. */
const BYTES_PER_TOKEN = 256;
/** What SGLang calls the weights that it was started with. */
const STARTED_WITH = "default";

const modelSchema = z.object({ model_path: z.string(), weight_version: z.string().nullish() });
const infoSchema = z.object({
  version: z.string().nullish(),
  enable_lora: z.boolean().nullish(),
  max_lora_rank: z.number().nullish(),
  max_loras_per_batch: z.number().nullish(),
  enable_deterministic_inference: z.boolean().nullish(),
  dtype: z.string().nullish(),
  quantization: z.string().nullish(),
  device: z.string().nullish(),
  max_running_requests: z.number().nullish(),
});
const doneSchema = z.object({
  success: z.boolean(),
  error_message: z.string().nullish(),
  message: z.string().nullish(),
});
const loadsSchema = z.object({
  loads: z.array(
    z.object({ num_running_reqs: z.number(), num_waiting_reqs: z.number(), token_usage: z.number().nullish() }),
  ),
});

export class SglangServer implements GenerationServer {
  constructor(private readonly options: GenerationServerOptions) {}

  get url(): string {
    return this.options.client.url;
  }

  async inspect({ signal }: Call): Promise<ServerFacts> {
    const { form, model } = this.options;
    const served = await this.ask("/model_info", modelSchema, signal);
    const info = await this.ask("/server_info", infoSchema, signal);
    const { data } = await this.ask("/v1/models", modelsSchema, signal);
    const bases = data.filter(({ parent }) => !parent);
    servedModel(
      bases.map(({ id }) => id),
      model,
      { url: this.url, option: "sampler.model" },
    );
    const lora = info.enable_lora === true;
    const label = served.weight_version ?? STARTED_WITH;
    const known = {
      precision: info.dtype,
      quantisation: info.quantization,
      device: info.device,
      "sequences at once": info.max_running_requests,
      "largest rank": info.max_lora_rank,
      "adapters in one batch": info.max_loras_per_batch,
      model: served.model_path,
    };
    return {
      version: info.version ?? null,
      models: bases.map(({ id }) => id),
      maxTokens: bases[0]?.max_model_len ?? null,
      adopts: [...(lora ? ["adapter" as const] : []), "checkpoint"],
      adapters: data.flatMap(({ id, parent }) => (parent ? [id] : [])),
      maxRank: info.max_lora_rank ?? null,
      seeds: info.enable_deterministic_inference ? "per-sequence" : "none",
      precision: info.quantization ? null : toldPrecision(info.dtype),
      label: label === STARTED_WITH ? null : label,
      paused: null,
      notes: Object.fromEntries(
        Object.entries(known).flatMap(([name, value]) => (value ? [[name, String(value)]] : [])),
      ),
      problems:
        form === "adapter" && !lora
          ? ["it takes no adapters; start it with --enable-lora, --max-lora-rank and --lora-target-modules all"]
          : [],
    };
  }

  async peek(
    promptIds: readonly number[],
    at: { readonly temperature: number; readonly topK: number },
    { signal }: Call,
  ): Promise<Peek> {
    const params = { ...at, topP: 1, maxTokens: 1, stopIds: [] };
    const body = {
      ...this.body([promptIds], null),
      sampling_params: [samplingParams(params, 1)],
      top_logprobs_num: TOP,
    };
    const answer = await this.generate({ json: body, deadlineMs: peekMs(this.options), signal, maxBytes: MIB });
    return rowsOf(answer.json(), this.url).peek();
  }

  async draw(
    { id, adapter, cacheSalt, promptIds, seeds, params, deadlineMs }: Draw,
    { signal }: Call,
  ): Promise<readonly Drawn[]> {
    const body = {
      ...this.body(
        seeds.map(() => promptIds),
        adapter,
      ),
      rid: id,
      sampling_params: seeds.map((seed) => samplingParams(params, seed)),
      cache_salt: cacheSalt,
    };
    const maxBytes = MIB + seeds.length * params.maxTokens * BYTES_PER_TOKEN;
    const answer = await this.generate({ json: body, deadlineMs, signal, maxBytes }, adapter);
    return rowsOf(answer.json(), this.url).sequences(STARTED_WITH);
  }

  async loadAdapter(name: string, folder: string, { signal }: Call): Promise<void> {
    const load = () => this.tell("/load_lora_adapter", { lora_name: name, lora_path: folder }, signal);
    const failed = await load();
    if (failed === null) return;
    if (!/already (loaded|exists)/i.test(failed.text)) throw failed.refusal;
    // An earlier run, or a call whose answer was lost. Its folder may be gone, and is read again when memory is short.
    await this.unloadAdapter(name, { signal });
    const again = await load();
    if (again !== null) throw again.refusal;
  }

  async unloadAdapter(name: string, { signal }: Call): Promise<void> {
    const failed = await this.tell("/unload_lora_adapter", { lora_name: name }, signal);
    if (failed !== null && !/not (loaded|exist|found|registered)|does not exist/i.test(failed.text))
      throw failed.refusal;
  }

  async loadFolder(folder: string, label: string, { signal }: Call): Promise<void> {
    const post = (path: string, json: unknown) =>
      this.options.client.ok({ path, json, deadlineMs: this.options.deadlineMs, signal, repeat: "never" });
    // Running requests give up their cache and compute it again from the new weights.
    await post("/pause_generation", { mode: "retract" });
    try {
      // Should the exchange fail half-way, no label claims to be what is there.
      await post("/update_weight_version", { new_version: `${label}-loading`, abort_all_requests: false });
      const update = { model_path: folder, weight_version: label, flush_cache: true, abort_all_requests: false };
      const failed = await this.tell("/update_weights_from_disk", update, signal);
      if (failed !== null) throw failed.refusal;
    } finally {
      await this.resume({ signal: AbortSignal.timeout(askMs(this.options)) });
    }
  }

  async resume({ signal }: Call): Promise<void> {
    await this.options.client.ok({
      path: "/continue_generation",
      json: {},
      deadlineMs: askMs(this.options),
      signal,
      repeat: "always",
    });
  }

  async load({
    signal,
  }: Call): Promise<{ readonly running: number; readonly waiting: number; readonly cacheUse: number | null }> {
    const { loads } = await this.ask("/v1/loads?include=core", loadsSchema, signal);
    const uses = loads.flatMap(({ token_usage }) => token_usage ?? []);
    return {
      running: loads.reduce((sum, load) => sum + load.num_running_reqs, 0),
      waiting: loads.reduce((sum, load) => sum + load.num_waiting_reqs, 0),
      cacheUse: uses.length > 0 ? Math.max(...uses) : null,
    };
  }

  private body(rows: readonly (readonly number[])[], adapter: string | null): Readonly<Record<string, unknown>> {
    return {
      input_ids: rows,
      ...(adapter === null ? {} : { lora_path: adapter }),
      return_logprob: true,
      logprob_start_len: -1,
      stream: false,
    };
  }

  /** Errors: WEIR_E_REMOTE_STATE where the adapter is not there; WEIR_E_UNREACHABLE where the server is no longer well. */
  private async generate(
    asked: Pick<HttpCall, "json" | "deadlineMs" | "signal"> & { readonly maxBytes: number },
    adapter: string | null = null,
  ): Promise<HttpAnswer> {
    const { client } = this.options;
    const call: HttpCall = { path: "/generate", repeat: "never", ...asked };
    const answer = await client.call(call);
    if (answer.status === 200) return answer;
    if (adapter !== null && /never been loaded|not loaded/.test(answer.text())) throw lostAdapter(this.url, adapter);
    const refusal = client.refusal(call, answer);
    if (answer.status < 500) throw refusal;
    const health: HttpCall = {
      method: "GET",
      path: "/health",
      deadlineMs: askMs(this.options),
      signal: asked.signal,
      repeat: "never",
    };
    const { status } = await client.call(health);
    if (status === 200) throw refusal;
    throw new WeirError(
      "WEIR_E_UNREACHABLE",
      `${this.url} answers, but is not well (status ${status}); start it anew`,
      {
        url: this.url,
      },
    );
  }

  /** Has the server do something; null, or what it says against it. */
  private async tell(
    path: string,
    json: unknown,
    signal: AbortSignal,
  ): Promise<{ readonly text: string; readonly refusal: WeirError } | null> {
    const { client, deadlineMs } = this.options;
    const call: HttpCall = { path, json, deadlineMs, signal, repeat: "always" };
    const answer = await client.call(call);
    const done = answer.status === 200 || answer.status === 400 ? doneSchema.safeParse(answer.json()) : null;
    if (done?.success && done.data.success) return null;
    const text = done?.success ? (done.data.error_message ?? done.data.message ?? "") : answer.text();
    return { text, refusal: client.refusal(call, answer) };
  }

  private ask<T>(path: string, schema: z.ZodType<T>, signal: AbortSignal): Promise<T> {
    return askServer(this.options, "SGLang", path, schema, signal);
  }
}

function samplingParams(
  { temperature, topP, topK, maxTokens, stopIds }: Draw["params"],
  seed: number,
): Readonly<Record<string, unknown>> {
  return {
    temperature,
    top_p: topP,
    top_k: topK === 0 ? -1 : topK,
    min_p: 0,
    repetition_penalty: 1,
    presence_penalty: 0,
    frequency_penalty: 0,
    max_new_tokens: maxTokens,
    min_new_tokens: 0,
    stop_token_ids: stopIds,
    // With it SGLang takes no notice of stop ids either.
    ignore_eos: stopIds.length === 0,
    skip_special_tokens: false,
    no_stop_trim: true,
    n: 1,
    sampling_seed: seed,
  };
}
