/** SGLang as a sampler: one server or several. Its wire is followed from its documentation and source, not from a server that ran. */
import type { Sampler } from "../../contracts/sampler.js";
import type { ServerDescription } from "../../contracts/server.js";
import { describeServer } from "../generation/describe-server.js";
import { createServerSampler, type ServerSamplerOptions } from "../generation/server-sampler.js";
import { SglangServer } from "./sglang-server.js";

const SGLANG = {
  kind: "sglang",
  seeds: "none",
  open: (client, { model, form, deadlineMs }) => new SglangServer({ client, model, form, deadlineMs }),
} as const satisfies Parameters<typeof createServerSampler>[0];

/** Errors: WEIR_E_CONFIG without an address, or with one that is none. */
export function createSglangSampler(options: ServerSamplerOptions): Sampler {
  return createServerSampler(SGLANG, options);
}

/** What the server at `url` says of itself. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE. */
export function describeSglang(
  url: string,
  options: ServerSamplerOptions,
  signal: AbortSignal,
): Promise<ServerDescription> {
  return describeServer(SGLANG, url, options, signal);
}
