/**
 * `weir doctor --engine`: what a server is and can do, and whether a configuration can work with it. Nothing is trained, and nothing is
 * left at the server.
 */
import type { Config } from "../config/schema.js";
import type { ServerDescription } from "../contracts/server.js";
import { WeirError } from "../errors.js";
import { HttpClient } from "../remote/http.js";
import { realTime } from "../system/time.js";

export type ServerKind = ServerDescription["kind"];
export const SERVER_KINDS = ["vllm", "sglang", "tinker", "nats"] as const satisfies readonly ServerKind[];

/** What a server is asked with. */
export interface ServerAccess {
  readonly url: string;
  /** Its key; null where it wants none. */
  readonly secret: string | null;
  /** Name of the base model; null takes the only one. */
  readonly model: string | null;
  /** How weights are handed to a sampler. */
  readonly form: "adapter" | "checkpoint";
  readonly credentialsEnv: string | null;
}

export type Describe = (access: ServerAccess, signal: AbortSignal) => Promise<ServerDescription>;

/** Parts of a configuration that can be at a server. */
export type RemotePart = "sampler" | "trainer" | "policyStore" | "workQueue";

/** Of each of the questions that find out what a server is, ms. */
const ASK_MS = 10_000;

/** What answers at an address. Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE where it is no server that weir knows. */
export async function serverKindAt(url: string, secret: string | null, signal: AbortSignal): Promise<ServerKind> {
  if (/^(nats|tls|wss?):/.test(url)) return "nats";
  const headers = secret === null ? {} : { authorization: `Bearer ${secret}`, "x-api-key": secret };
  const client = new HttpClient({ url, headers, secret, patienceMs: 0, time: realTime });
  const ask = (path: string) => client.call({ method: "GET", path, deadlineMs: ASK_MS, signal, repeat: "never" });
  if ((await ask("/api/v1/healthz")).status === 200) return "tinker";
  const models = await ask("/v1/models");
  if (models.status === 401 || models.status === 403)
    throw new WeirError("WEIR_E_REMOTE", `${client.url} wants a key; name its environment variable with --key-env`, {
      url: client.url,
    });
  const owner = models.status === 200 ? ownerOf(models.json()) : null;
  if (owner === "vllm" || owner === "sglang") return owner;
  throw new WeirError(
    "WEIR_E_REMOTE",
    `${client.url} is no server that weir knows (${SERVER_KINDS.join(", ")}): it answers /v1/models with status ${models.status}${owner === null ? "" : `, as a server of "${owner}"`}; correct the address`,
    { url: client.url },
  );
}

/** Who an OpenAI-compatible server says that its models belong to. */
function ownerOf(answer: unknown): string | null {
  const [first] = ((answer as { readonly data?: unknown } | null)?.data ?? []) as readonly unknown[];
  const owner = (first as { readonly owned_by?: unknown } | undefined)?.owned_by;
  return typeof owner === "string" ? owner : null;
}

/** The parts of a configuration that work at an address. */
export function partsAt(config: Config, url: string): RemotePart[] {
  const { sampler, trainer, policyStore, workQueue } = config;
  const same = (other: string | null) => other !== null && originOf(other) === originOf(url);
  const samplerUrls = sampler.urls.length > 0 ? sampler.urls : sampler.actor === "tinker" ? [trainer.url] : [];
  const found: readonly (readonly [RemotePart, boolean])[] = [
    ["sampler", sampler.actor !== "engine" && samplerUrls.some(same)],
    ["trainer", trainer.actor !== "engine" && same(trainer.url)],
    ["policyStore", policyStore.actor === "nats" && same(policyStore.url ?? workQueue.url)],
    ["workQueue", workQueue.actor === "nats" && same(workQueue.url)],
  ];
  return found.filter(([, there]) => there).map(([part]) => part);
}

function originOf(url: string): string {
  const { protocol, host } = new URL(url);
  return `${protocol}//${host}`;
}

/** Rows of a report. */
export function descriptionRows(server: ServerDescription): (readonly [string, string])[] {
  const { sampler, trainer } = server;
  const yes = (able: boolean | undefined) => (able === false ? "no" : "yes");
  const list = (values: readonly (string | number)[]) => values.join(", ") || "none";
  return [
    ["server", `${server.kind} ${server.version ?? "(tells no version)"}`],
    ["address", server.url],
    ["models", list(server.models)],
    ["longest sequence", server.maxTokens === null ? "not told" : `${server.maxTokens} tokens`],
    ["samples", sampler === null ? "no" : "yes"],
    ...(sampler === null
      ? []
      : ([
          ["  log-probs", sampler.logprobBasis],
          ["  seeds", sampler.seeds],
          ["  weights taken", list(sampler.adopts)],
          ["  versions at once", String(sampler.heldVersions)],
          ["  versions within a response", yes(sampler.tokenVersions)],
          ["  entropies", yes(sampler.entropies)],
          ["  stops work that is cancelled", yes(sampler.abort)],
        ] as const)),
    ["trains", trainer === null ? "no" : trainer.trains === "adapter" ? "adapters" : "all weights"],
    ...(trainer === null
      ? []
      : ([
          ["  losses", list(trainer.losses)],
          ["  losses of one's own", yes(trainer.evaluates)],
          ["  clips gradients", yes(trainer.clipsGradients)],
          ["  can throw a gradient away", yes(trainer.discardsGradients)],
          ["  temperatures", trainer.temperatures === "one" ? "1 only" : "any"],
          ["  entropies", yes(trainer.entropies)],
          ["  weights published", list(trainer.publishes)],
        ] as const)),
    ...Object.entries(server.notes),
  ];
}
