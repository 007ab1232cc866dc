/** What one server that generates from token ids says of itself, for `weir doctor --engine` and the check of a configuration. */
import type { ServerDescription } from "../../contracts/server.js";
import { WeirError } from "../../errors.js";
import { probeBasis } from "./logprob-probe.js";
import { type ServerKind, type ServerSamplerOptions, serverCapabilities, serverClient } from "./server-sampler.js";

/** Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE for a wrong key or something that is no such server. */
export async function describeServer(
  kind: ServerKind & { readonly kind: ServerDescription["kind"] },
  url: string,
  options: ServerSamplerOptions,
  signal: AbortSignal,
): Promise<ServerDescription> {
  const server = kind.open(serverClient(url, options), options);
  const facts = await server.inspect({ signal });
  const problems = [...facts.problems];
  const capabilities = {
    ...serverCapabilities(kind, options),
    seeds: facts.seeds,
    adopts: facts.adopts,
    precision: facts.precision,
  };
  if (facts.paused) problems.push("it is paused: a run ended while it exchanged weights; the next run wakes it");
  if (options.logprobs === "auto" && problems.length === 0)
    try {
      capabilities.logprobBasis = await probeBasis(server, { signal });
    } catch (error) {
      if (!WeirError.isInstance(error) || error.code !== "WEIR_E_REMOTE") throw error;
      problems.push(error.message.replace(/^WEIR_E_\w+: /, ""));
    }
  return {
    kind: kind.kind,
    url: server.url,
    version: facts.version,
    models: facts.models,
    maxTokens: facts.maxTokens,
    sampler: capabilities,
    trainer: null,
    notes: { ...facts.notes, ...(facts.adapters.length > 0 ? { "adapters loaded": facts.adapters.join(", ") } : {}) },
    problems,
  };
}
