/** vLLM as a sampler: one server or several. */
import type { Sampler } from "../../contracts/sampler.js";
import type { ServerDescription } from "../../contracts/server.js";
import { describeServer } from "../generation/describe-server.js";
import { createServerSampler, type ServerSamplerOptions } from "../generation/server-sampler.js";
import { VllmServer } from "./vllm-server.js";

const VLLM = {
  kind: "vllm",
  seeds: "per-request",
  open: (client, { model, form, deadlineMs }) => new VllmServer({ client, model, form, deadlineMs }),
} as const satisfies Parameters<typeof createServerSampler>[0];

/** Errors: WEIR_E_CONFIG without an address, or with one that is none. */
export function createVllmSampler(options: ServerSamplerOptions): Sampler {
  return createServerSampler(VLLM, options);
}

/** What the server at `url` says of itself. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE. */
export function describeVllm(
  url: string,
  options: ServerSamplerOptions,
  signal: AbortSignal,
): Promise<ServerDescription> {
  return describeServer(VLLM, url, options, signal);
}
