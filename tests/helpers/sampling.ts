import type { PolicySpan } from "../../src/contracts/policy-version.js";
import type { SampleRequest, SamplerCapabilities } from "../../src/contracts/sampler.js";

/** A request for whatever policy the sampler has. */
export function sampleRequest(
  given: Pick<SampleRequest, "prompts" | "params"> & Partial<SampleRequest>,
): SampleRequest {
  return { id: "test", policy: null, purpose: "evaluation", deadlineMs: 60_000, ...given };
}

/** One span over all tokens. */
export function wholeSpan(tokens: number, version = 0, sha256 = ""): PolicySpan[] {
  return [{ version, sha256, start: 0, end: tokens }];
}

export const PLAIN_CAPABILITIES: SamplerCapabilities = {
  logprobBasis: "scaled",
  seeds: "per-sequence",
  tokenVersions: false,
  adopts: ["handle"],
  heldVersions: 1,
  entropies: true,
  abort: true,
};

/** The calls of a sampler that holds one policy for ever. */
export const FIXED_POLICY = {
  adopt: async () => undefined,
  release: async () => undefined,
  load: async () => ({ running: 0, waiting: 0, cacheUse: null, versions: [0] }),
};
