/** Shortens exchanges with vLLM to what its sampler reads of them, and names folders by what they hold. */
import type { PublishedPolicy } from "../../src/contracts/published-policy.js";
import { ADAPTER_ROUTES, FOLDER_ROUTES, GENERATE } from "../../src/remote/vllm/start-options.js";
import type { Exchange } from "../remote/exchanges.js";

/** The policy as a recording has it: its folder is named by what it holds. */
export function recordedPolicy(policy: PublishedPolicy): PublishedPolicy {
  return { ...policy, artifact: { ...policy.artifact, uri: `/policies/${policy.artifact.kind}` } };
}

export function shortened(exchange: Exchange, policies: readonly PublishedPolicy[]): Exchange {
  const { path, answer, body } = exchange;
  let text = JSON.stringify(body ?? null);
  for (const policy of policies) text = text.replaceAll(policy.artifact.uri, recordedPolicy(policy).artifact.uri);
  const asked = body === undefined ? {} : { body: JSON.parse(text) as unknown };
  return { ...exchange, ...asked, answer: shortAnswer(path, answer) };
}

function shortAnswer(path: string, answer: unknown): unknown {
  if (path === "/openapi.json") {
    const { paths } = answer as { readonly paths: Readonly<Record<string, unknown>> };
    const kept = [GENERATE, ...ADAPTER_ROUTES, ...FOLDER_ROUTES, "/server_info"].filter((route) => route in paths);
    return { paths: Object.fromEntries(kept.map((route) => [route, {}])) };
  }
  if (path.startsWith("/server_info")) {
    const { vllm_config } = answer as {
      readonly vllm_config: Readonly<Record<string, Readonly<Record<string, unknown>> | null>>;
    };
    const read = {
      model_config: ["dtype", "logprobs_mode"],
      lora_config: ["max_lora_rank", "max_loras", "max_cpu_loras"],
      scheduler_config: ["enable_chunked_prefill", "max_num_seqs"],
      device_config: ["device"],
    };
    const parts = Object.entries(read).map(([part, fields]) => {
      const given = vllm_config[part];
      return [part, given ? Object.fromEntries(fields.map((field) => [field, given[field]])) : null];
    });
    return { vllm_config: Object.fromEntries(parts) };
  }
  if (path === "/v1/models") {
    const { data } = answer as { readonly data: readonly Readonly<Record<string, unknown>>[] };
    return { data: data.map(({ id, parent, max_model_len }) => ({ id, parent, max_model_len })) };
  }
  if (path === "/metrics")
    return String(answer)
      .split("\n")
      .filter((line) => /^vllm:(num_requests_(running|waiting)|kv_cache_usage_perc)\b/.test(line))
      .join("\n");
  return answer;
}
