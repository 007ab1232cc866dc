/** Builds the sampler over servers that generate from token ids, for whichever wire they speak. */
import type { LogprobBasis, SamplerCapabilities } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import { realTime, type Time } from "../../system/time.js";
import { HttpClient } from "../http.js";
import { patientFetch } from "../patient-fetch.js";
import { AdapterWeights } from "./adapter-weights.js";
import { FolderWeights } from "./folder-weights.js";
import type { GenerationServer, PolicyForm } from "./generation-server.js";
import { ServerGroup } from "./server-group.js";
import { ServerMember } from "./server-member.js";

export interface ServerSamplerOptions {
  /** Base addresses, one for each server. */
  readonly urls: readonly string[];
  /** Name of the base model at the servers; null takes the only one. */
  readonly model: string | null;
  readonly secret: string | null;
  /** What the log-probs are of; `auto` asks the servers. */
  readonly logprobs: LogprobBasis | "auto";
  /** How policies are handed over. */
  readonly form: PolicyForm;
  readonly callsPerServer: number;
  readonly patienceMs: number;
  /** Deadline of loading weights, ms; a request has its own. */
  readonly deadlineMs: number;
  readonly time?: Time;
  readonly fetch?: typeof globalThis.fetch;
}

/** How one kind of server is spoken to. */
export interface ServerKind {
  readonly kind: string;
  readonly seeds: SamplerCapabilities["seeds"];
  open(client: HttpClient, options: ServerSamplerOptions): GenerationServer;
}

/** A server holds as many adapters as its disk: it reads again what it has pushed out of memory. Far beyond any lag. */
const ADAPTERS_HELD = 1_000;

/** The client of one server. It tries once: what to do about a lost server is the group's to decide. */
export function serverClient(
  url: string,
  { secret, time = realTime, fetch = patientFetch }: ServerSamplerOptions,
): HttpClient {
  const headers = secret === null ? {} : { authorization: `Bearer ${secret}` };
  return new HttpClient({ url, headers, secret, patienceMs: 0, time, fetch });
}

/** What such a sampler can do; its servers tell the basis and the seeds once they are connected to. */
export function serverCapabilities(
  { seeds }: Pick<ServerKind, "seeds">,
  { form, logprobs }: Pick<ServerSamplerOptions, "form" | "logprobs">,
): SamplerCapabilities {
  return {
    logprobBasis: logprobs === "auto" ? "raw" : logprobs,
    seeds,
    tokenVersions: form === "checkpoint",
    adopts: [form],
    heldVersions: form === "adapter" ? ADAPTERS_HELD : 1,
    entropies: false,
    abort: true,
  };
}

/** Errors: WEIR_E_CONFIG without an address, or with one that is none. */
export function createServerSampler(kind: ServerKind, options: ServerSamplerOptions): ServerGroup {
  const { urls, form, logprobs, time = realTime } = options;
  if (urls.length === 0)
    throw new WeirError(
      "WEIR_E_CONFIG",
      `option "sampler.urls": the sampler "${kind.kind}" needs the address of a server`,
      {
        path: "sampler.urls",
      },
    );
  const members = [...new Set(urls)].map((url) => {
    const server = kind.open(serverClient(url, options), options);
    const weights = form === "adapter" ? new AdapterWeights(server) : new FolderWeights(server);
    return new ServerMember(server, weights, {
      logprobs: logprobs === "auto" ? null : logprobs,
      now: () => time.now(),
    });
  });
  return new ServerGroup({
    kind: kind.kind,
    members,
    capabilities: serverCapabilities(kind, options),
    form,
    callsPerServer: options.callsPerServer,
    patienceMs: options.patienceMs,
    time,
  });
}
