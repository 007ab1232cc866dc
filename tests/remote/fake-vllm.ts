/** A vLLM server as far as its sampler speaks to it, behind a `fetch`: routes, statuses and texts of 0.32 over a tiny model. */
import { drawTokens } from "./flat-model.js";

interface Sampling {
  readonly temperature: number;
  readonly top_k: number;
  readonly max_tokens: number;
  readonly stop_token_ids: readonly number[];
  readonly n: number;
  readonly seed: number;
  readonly logprobs: number;
}

interface GenerateBody {
  readonly model: string;
  readonly token_ids: readonly number[];
  readonly sampling_params: Sampling;
  readonly cache_salt?: string;
}

export interface FakeVllmOptions {
  readonly basis?: "raw" | "scaled" | "processed";
  readonly key?: string;
  readonly lora?: boolean;
  readonly develop?: boolean;
  readonly generate?: boolean;
  readonly maxRank?: number;
  readonly dtype?: string;
}

type Answer = { readonly status: number; readonly body: unknown };

const ok = (body: unknown): Answer => ({ status: 200, body });
const error = (status: number, message: string): Answer => ({ status, body: { error: { message, code: status } } });

export class FakeVllm {
  /** Paths and bodies of all calls. */
  readonly calls: { readonly path: string; readonly body: Record<string, unknown> }[] = [];
  adapters = new Map<string, string>();
  label = "default";
  folder = "base";
  paused = false;
  /** Nothing listens. */
  down = false;
  /** Answers are held back until it is resolved. */
  gate: Promise<void> | null = null;
  /** Requests that their clients gave up. */
  hungUp = 0;
  /** Folders that can be read; null: all. */
  readable: Set<string> | null = null;
  private waiting: (() => void)[] = [];

  constructor(private readonly options: FakeVllmOptions = {}) {}

  /** The process is ended and started anew: whatever it was given is gone. */
  restart(): void {
    this.adapters = new Map();
    this.label = "default";
    this.folder = "base";
    this.paused = false;
    this.down = false;
  }

  paths(prefix = ""): string[] {
    return this.calls.map(({ path }) => path).filter((path) => path.startsWith(prefix));
  }

  readonly fetch: typeof globalThis.fetch = async (input, init = {}) => {
    const url = new URL(String(input));
    init.signal?.throwIfAborted();
    if (this.down) throw refused();
    const body = init.body ? (JSON.parse(String(init.body)) as Record<string, unknown>) : {};
    this.calls.push({ path: url.pathname + url.search, body });
    const { key } = this.options;
    const sent = new Headers(init.headers).get("authorization");
    const guarded = url.pathname.startsWith("/v1") || url.pathname.startsWith("/inference");
    let answer: Answer = error(401, "Unauthorized");
    if (key === undefined || !guarded || sent === `Bearer ${key}`) answer = await this.route(url, body, init.signal);
    if (this.down) throw refused();
    const text = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body);
    return new Response(text, { status: answer.status });
  };

  private async route({ pathname }: URL, body: Record<string, unknown>, signal?: AbortSignal | null): Promise<Answer> {
    const { maxRank = 16, lora = true, dtype = "torch.bfloat16" } = this.options;
    switch (pathname) {
      case "/v1/models":
        return ok({ data: [{ id: "policy", owned_by: "vllm", max_model_len: 64, parent: null }, ...this.loaded()] });
      case "/version":
        return ok({ version: "0.32.0" });
      case "/openapi.json":
        return ok({ paths: Object.fromEntries(this.routes().map((path) => [path, {}])) });
      case "/health":
        return ok("");
      case "/metrics":
        return ok(
          'vllm:num_requests_running{engine="0"} 2.0\nvllm:num_requests_waiting{engine="0"} 1.0\nvllm:kv_cache_usage_perc{engine="0"} 0.25\n',
        );
      case "/server_info":
        return ok({ vllm_config: { lora_config: lora ? { max_lora_rank: maxRank } : null, model_config: { dtype } } });
      case "/weight_info":
        return ok({ weight_version: this.label });
      case "/is_paused":
        return ok({ is_paused: this.paused });
      case "/pause":
        this.paused = true;
        return ok({ status: "paused" });
      case "/resume":
        this.paused = false;
        for (const go of this.waiting.splice(0)) go();
        return ok({ status: "resumed" });
      case "/collective_rpc":
        return this.reload((body.kwargs as { weights_path: string }).weights_path);
      case "/reset_prefix_cache":
        return ok({ success: true });
      case "/update_weight_version":
        this.label = String(body.new_version);
        return ok({ success: true });
      case "/v1/load_lora_adapter":
        return this.loadAdapter(String(body.lora_name), String(body.lora_path));
      case "/v1/unload_lora_adapter":
        return this.adapters.delete(String(body.lora_name)) ? ok("Success: removed") : error(404, "cannot be found");
      case "/inference/v1/generate":
        return this.generate(body as unknown as GenerateBody, signal);
      default:
        return error(404, "Not Found");
    }
  }

  private loaded() {
    return [...this.adapters.keys()].map((id) => ({ id, parent: "policy" }));
  }

  private routes(): string[] {
    const { develop = true, lora = true, generate = true } = this.options;
    return [
      ...(generate ? ["/inference/v1/generate"] : []),
      ...(lora ? ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"] : []),
      ...(develop
        ? [
            "/pause",
            "/resume",
            "/is_paused",
            "/collective_rpc",
            "/reset_prefix_cache",
            "/update_weight_version",
            "/weight_info",
            "/server_info",
          ]
        : []),
    ];
  }

  private reload(folder: string): Answer {
    if (this.readable?.has(folder) === false) return error(500, `${folder} does not exist`);
    this.folder = folder;
    return ok({ results: [null] });
  }

  private loadAdapter(name: string, folder: string): Answer {
    if (this.adapters.has(name)) return error(400, `The lora adapter '${name}' has already been loaded.`);
    if (this.readable?.has(folder) === false) return error(404, `No adapter found for ${folder}`);
    this.adapters.set(name, folder);
    return ok(`Success: LoRA adapter '${name}' added successfully.`);
  }

  private async generate(
    { model, token_ids, sampling_params: p, cache_salt }: GenerateBody,
    signal?: AbortSignal | null,
  ): Promise<Answer> {
    await this.held(signal);
    if (model !== "policy" && !this.adapters.has(model)) return error(404, `The model \`${model}\` does not exist.`);
    if (token_ids.length + p.max_tokens > 64) return error(400, "longer than the maximum model length of 64");
    if (/[@/\\\0]/.test(cache_salt ?? "")) return error(400, "Parameter 'cache_salt' must not contain '@', '/'");
    if (p.temperature === 0 && p.n > 1) return error(400, "n must be 1 when using greedy sampling");
    const weights = model === "policy" ? this.folder : `${this.folder}+${this.adapters.get(model)}`;
    const choices = Array.from({ length: p.n }, (_, index) => {
      const { tokens, stopped } = drawTokens(
        {
          ...{ weights, promptIds: token_ids, temperature: p.temperature, topK: p.top_k },
          ...{ maxTokens: p.max_tokens, stopIds: p.stop_token_ids, seed: p.seed + index },
        },
        this.options.basis ?? "processed",
      );
      const entry = (token_id: number, logprob: number) => ({ token_id, logprob, rank: 1 });
      return {
        index,
        token_ids: tokens.map(({ id }) => id),
        finish_reason: stopped ? "stop" : "length",
        weight_versions: [{ version: this.label, start: 0, end: tokens.length }],
        logprobs: {
          content: tokens.map(({ id, logprob, top }) => ({
            ...entry(id, logprob),
            top_logprobs: [
              entry(id, logprob),
              ...top.slice(0, p.logprobs).map(([other, value]) => entry(other, value)),
            ],
          })),
        },
      };
    });
    return ok({ request_id: "generate-tokens-1", output_mode: "tokens", choices });
  }

  /** Waits for the gate and for the end of a pause; rejects where the client hangs up. */
  private async held(signal?: AbortSignal | null): Promise<void> {
    if (this.gate === null && !this.paused) return;
    let onAbort: () => void = () => undefined;
    const hangUp = new Promise<never>((_, reject) => {
      onAbort = () => {
        this.hungUp += 1;
        reject(signal?.reason as Error);
      };
    });
    hangUp.catch(() => undefined);
    signal?.addEventListener("abort", onAbort);
    if (this.gate !== null) await Promise.race([this.gate, hangUp]);
    if (this.paused) await Promise.race([new Promise<void>((resolve) => this.waiting.push(resolve)), hangUp]);
    signal?.removeEventListener("abort", onAbort);
  }
}

function refused(): TypeError {
  return new TypeError("fetch failed", {
    cause: Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" }),
  });
}
