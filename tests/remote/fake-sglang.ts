/** An SGLang server as far as its sampler speaks to it, behind a `fetch`, written after SGLang 0.5.23: routes, statuses and texts. */
import { drawTokens } from "./flat-model.js";

interface Sampling {
  readonly temperature: number;
  readonly top_k: number;
  readonly max_new_tokens: number;
  readonly stop_token_ids: readonly number[];
  readonly ignore_eos: boolean;
  readonly sampling_seed: number;
}

interface GenerateBody {
  readonly rid?: string;
  readonly input_ids: readonly (readonly number[])[];
  readonly sampling_params: readonly Sampling[];
  readonly lora_path?: string;
  readonly top_logprobs_num?: number;
}

export interface FakeSglangOptions {
  readonly basis?: "raw" | "scaled" | "processed";
  readonly lora?: boolean;
  readonly deterministic?: boolean;
}

type Answer = { readonly status: number; readonly body: unknown };
type Body = Readonly<Record<string, unknown>>;

const ok = (body: unknown): Answer => ({ status: 200, body });
const refused = (message: string): Answer => ({ status: 400, body: { error: { message } } });
const failed = (error_message: string): Answer => ({ status: 400, body: { success: false, error_message } });

export class FakeSglang {
  readonly calls: { readonly path: string; readonly body: Body }[] = [];
  adapters = new Map<string, string>();
  label = "default";
  folder = "base";
  down = false;
  /** Folders that can be read; null: all. */
  readable: Set<string> | null = null;

  constructor(private readonly options: FakeSglangOptions = {}) {}

  restart(): void {
    this.adapters = new Map();
    this.label = "default";
    this.folder = "base";
    this.down = false;
  }

  readonly fetch: typeof globalThis.fetch = async (input, init = {}) => {
    const { pathname, search } = new URL(String(input));
    init.signal?.throwIfAborted();
    const lost = new TypeError("fetch failed", {
      cause: Object.assign(new Error("refused"), { code: "ECONNREFUSED" }),
    });
    if (this.down) throw lost;
    const body = init.body ? (JSON.parse(String(init.body)) as Body) : {};
    this.calls.push({ path: pathname + search, body });
    const { status, body: answer } = this.route(pathname, body);
    return new Response(JSON.stringify(answer), { status });
  };

  private route(path: string, body: Body): Answer {
    const { lora = true, deterministic = true } = this.options;
    switch (path) {
      case "/model_info":
        return ok({
          model_path: "/models/tiny",
          served_model_name: "tiny",
          is_generation: true,
          weight_version: this.label,
        });
      case "/server_info":
        return ok({
          ...{
            version: "0.5.23",
            enable_lora: lora,
            max_lora_rank: 16,
            max_loras_per_batch: 8,
            dtype: "float32",
            device: "cuda",
          },
          ...{ enable_deterministic_inference: deterministic, max_running_requests: 128 },
        });
      case "/v1/models": {
        const adapters = [...this.adapters].map(([id, root]) => ({ id, root, parent: "tiny", max_model_len: null }));
        return ok({ object: "list", data: [{ id: "tiny", root: "tiny", max_model_len: 64 }, ...adapters] });
      }
      case "/v1/loads":
        return ok({
          version: "0.5.23",
          loads: [{ dp_rank: 0, num_running_reqs: 2, num_waiting_reqs: 1, token_usage: 0.25 }],
        });
      case "/health":
        return ok({});
      case "/pause_generation":
      case "/continue_generation":
        return ok({ message: "done", status: "ok" });
      case "/update_weight_version":
        this.label = String(body.new_version);
        return ok({ success: true, message: "Weight version updated", new_version: this.label });
      case "/update_weights_from_disk":
        return this.update(String(body.model_path), String(body.weight_version));
      case "/load_lora_adapter":
        return this.load(String(body.lora_name), String(body.lora_path));
      case "/unload_lora_adapter":
        if (!this.adapters.delete(String(body.lora_name)))
          return failed(`The following requested LoRA adapters are not loaded: ${body.lora_name}`);
        return ok({ success: true, error_message: "", loaded_adapters: Object.fromEntries(this.adapters) });
      case "/generate":
        return this.generate(body as unknown as GenerateBody);
      default:
        return { status: 404, body: { detail: "Not Found" } };
    }
  }

  private update(folder: string, label: string): Answer {
    if (this.readable?.has(folder) === false)
      return {
        status: 400,
        body: { success: false, message: `Failed to get model config: ${folder}`, num_paused_requests: 0 },
      };
    this.folder = folder;
    this.label = label;
    return ok({
      success: true,
      message: `Succeeded to update model weights. Weight version updated to ${label}.`,
      num_paused_requests: 0,
    });
  }

  private load(name: string, folder: string): Answer {
    if (this.options.lora === false) return failed("LoRA is not enabled. Please set `--enable-lora` to enable LoRA.");
    if (this.adapters.has(name)) return failed(`Failed to load LoRA adapter ${name} because it is already loaded`);
    if (this.readable?.has(folder) === false) return failed(`Can't find adapter_config.json at '${folder}'`);
    this.adapters.set(name, folder);
    return ok({ success: true, error_message: "", loaded_adapters: Object.fromEntries(this.adapters) });
  }

  private generate({
    rid = "probe",
    input_ids,
    sampling_params,
    lora_path,
    top_logprobs_num = 0,
  }: GenerateBody): Answer {
    if (lora_path !== undefined && !this.adapters.has(lora_path))
      return refused(`Got LoRA adapter that has never been loaded: ${lora_path}\nAll loaded adapters: [].`);
    const weights = lora_path === undefined ? this.folder : `${this.folder}+${this.adapters.get(lora_path)}`;
    const rows = input_ids.map((promptIds, i) => {
      const p = sampling_params[i] as Sampling;
      const { tokens, stopped } = drawTokens(
        {
          ...{ weights, promptIds, temperature: p.temperature, topK: p.top_k === -1 ? 0 : p.top_k },
          ...{ maxTokens: p.max_new_tokens, stopIds: p.ignore_eos ? [] : p.stop_token_ids, seed: p.sampling_seed },
        },
        this.options.basis ?? "scaled",
      );
      const last = tokens.at(-1)?.id;
      return {
        text: "",
        output_ids: tokens.map(({ id }) => id),
        meta_info: {
          id: `${rid}_${i}`,
          finish_reason: stopped ? { type: "stop", matched: last } : { type: "length", length: tokens.length },
          prompt_tokens: promptIds.length,
          completion_tokens: tokens.length,
          weight_version: this.label,
          output_token_logprobs: tokens.map(({ id, logprob }) => [logprob, id, null]),
          ...(top_logprobs_num > 0
            ? {
                output_top_logprobs: tokens.map(({ top }) =>
                  top.slice(0, top_logprobs_num).map(([id, value]) => [value, id, null]),
                ),
              }
            : {}),
        },
      };
    });
    return ok(rows);
  }
}
