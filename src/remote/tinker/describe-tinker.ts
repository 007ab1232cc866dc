/** What a Tinker-compatible server says of itself, for `weir doctor --engine`. Nothing is made there. */
import type { ServerDescription } from "../../contracts/server.js";
import { TinkerClient, type TinkerOptions } from "./client.js";
import { TINKER_SAMPLER } from "./sampler.js";
import { tinkerCapabilities } from "./trainer.js";

/** Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE for a wrong key or something that is no such server. */
export async function describeTinker(options: TinkerOptions, signal: AbortSignal): Promise<ServerDescription> {
  const client = new TinkerClient(options);
  const served = await client.served(signal);
  const [only] = served;
  return {
    kind: "tinker",
    url: client.http.url,
    version: null,
    models: served.map(({ name }) => name),
    maxTokens: served.length === 1 ? (only?.maxTokens ?? null) : null,
    sampler: TINKER_SAMPLER,
    trainer: tinkerCapabilities(true),
    notes: { "what it makes of token losses": "found out at the start of a run (trainer.lossScale)" },
    problems: served.length === 0 ? ["it serves no model; start it with one"] : [],
  };
}
