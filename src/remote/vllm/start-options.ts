/** What a vLLM server was started with, as far as its routes and its development mode tell, and what is missing. */
import { z } from "zod";
import type { ProductPrecision } from "../../contracts/precision.js";
import type { PolicyForm } from "../generation/generation-server.js";
import { toldPrecision } from "../generation/told-precision.js";
import type { HttpClient } from "../http.js";

export const GENERATE = "/inference/v1/generate";
export const ADAPTER_ROUTES = ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"] as const;
export const FOLDER_ROUTES = [
  "/pause",
  "/resume",
  "/is_paused",
  "/collective_rpc",
  "/reset_prefix_cache",
  "/update_weight_version",
  "/weight_info",
] as const;

export interface ServerInfo {
  /** Largest rank of an adapter; null without adapters; left out where it is not known. */
  readonly maxRank?: number | null;
  readonly chunkedPrefill?: boolean;
  readonly cpu?: boolean;
  /** Left out where it is not known. */
  readonly precision?: ProductPrecision | null;
  readonly notes?: Readonly<Record<string, string>>;
}

const infoSchema = z.object({
  vllm_config: z.object({
    model_config: z
      .object({ dtype: z.string().nullish(), quantization: z.string().nullish(), logprobs_mode: z.string().nullish() })
      .nullish(),
    lora_config: z
      .object({ max_lora_rank: z.number(), max_loras: z.number().nullish(), max_cpu_loras: z.number().nullish() })
      .nullish(),
    scheduler_config: z
      .object({ enable_chunked_prefill: z.boolean().nullish(), max_num_seqs: z.number().nullish() })
      .nullish(),
    device_config: z.object({ device: z.string().nullish() }).nullish(),
  }),
});

/** Empty where the server tells nothing that can be read. */
export async function serverInfo(client: HttpClient, deadlineMs: number, signal: AbortSignal): Promise<ServerInfo> {
  const path = "/server_info?config_format=json";
  const answer = await client.call({ method: "GET", path, deadlineMs, signal, repeat: "always" });
  const parsed = answer.status === 200 ? infoSchema.safeParse(answer.json()) : null;
  if (!parsed?.success) return {};
  const { model_config, lora_config, scheduler_config, device_config } = parsed.data.vllm_config;
  const known: Readonly<Record<string, string | number | null | undefined>> = {
    precision: model_config?.dtype?.replace(/^torch\./, ""),
    quantisation: model_config?.quantization,
    "log-probs": model_config?.logprobs_mode,
    device: device_config?.device,
    "sequences at once": scheduler_config?.max_num_seqs,
    "largest rank": lora_config?.max_lora_rank,
    "adapters in one batch": lora_config?.max_loras,
    "adapters in memory": lora_config?.max_cpu_loras,
  };
  return {
    maxRank: lora_config?.max_lora_rank ?? null,
    chunkedPrefill: scheduler_config?.enable_chunked_prefill ?? false,
    cpu: device_config?.device === "cpu",
    precision: model_config?.quantization ? null : toldPrecision(model_config?.dtype),
    notes: Object.fromEntries(Object.entries(known).flatMap(([name, value]) => (value ? [[name, String(value)]] : []))),
  };
}

/** What a server lacks for policies of a form. `has`: whether it has a route. */
export function startProblems(has: (path: string) => boolean, info: ServerInfo, form: PolicyForm): string[] {
  const problems: string[] = [];
  if (!has(GENERATE)) problems.push(`it has no ${GENERATE}; start it with --enable-scale-out`);
  if (form === "adapter" && !ADAPTER_ROUTES.every(has))
    problems.push("it loads no adapters while it runs; start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True");
  if (form === "adapter" && info.maxRank === null)
    problems.push("it takes no adapters; start it with --enable-lora and --max-lora-rank of model.lora.rank or more");
  if (form === "checkpoint" && !FOLDER_ROUTES.every(has))
    problems.push("it takes no weights while it runs; start it with VLLM_SERVER_DEV_MODE=1");
  if (info.cpu && info.chunkedPrefill)
    problems.push("on a CPU several requests with seeds end its engine; start it with --no-enable-chunked-prefill");
  return problems;
}
