/** Addresses of what a server has saved: `tinker://MODEL/NAME`, or with what is saved, `tinker://MODEL/weights/NAME`. */
import { WeirError } from "../../errors.js";
import { HttpClient } from "../http.js";
import { patientFetch } from "../patient-fetch.js";
import type { TinkerClient, TinkerOptions } from "./client.js";

const ADDRESS = /^tinker:\/\/([\w.:-]+)\/((?:(?:weights|sampler_weights)\/)?[\w.-]+)$/;
/** Longest wait for an archive, which may be gigabytes. */
const DOWNLOAD_MS = 600_000;
const MAX_BYTES = 2 ** 32;
const MAX_REDIRECTS = 3;

/** Errors: WEIR_E_REMOTE for an address of another form. */
export function parseAddress(address: string): { readonly model: string; readonly name: string } {
  const found = ADDRESS.exec(address);
  if (found !== null) return { model: found[1] as string, name: found[2] as string };
  throw new WeirError(
    "WEIR_E_REMOTE",
    `the server gave the address ${JSON.stringify(address)}, tinker://MODEL/NAME is expected`,
  );
}

/** Its place below `training_runs`; `kind` is put before a name that says none. */
export function pathOf(address: string, kind: "weights" | "sampler_weights" | null = null): string {
  const { model, name } = parseAddress(address);
  return `${model}/checkpoints/${kind === null || name.includes("/") ? name : `${kind}/${name}`}`;
}

/** The archive of saved weights. The server may send elsewhere for it; the key does not go there. */
export async function download(
  client: TinkerClient,
  options: TinkerOptions,
  address: string,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const call = { method: "GET", deadlineMs: DOWNLOAD_MS, signal, repeat: "always", maxBytes: MAX_BYTES } as const;
  let http = client.http;
  let path = `/api/v1/training_runs/${pathOf(address)}/archive`;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
    const answer = await http.call({ ...call, path });
    if (answer.status >= 200 && answer.status < 300) return answer.bytes;
    const location = answer.headers.get("location");
    if (answer.status < 300 || answer.status >= 400 || location === null)
      throw http.refusal({ method: "GET", path }, answer);
    const from = new URL(client.http.url);
    const to = new URL(location, from);
    path = `${to.pathname}${to.search}`;
    const headers = to.origin === from.origin && options.apiKey !== null ? { "x-api-key": options.apiKey } : {};
    const { fetch = patientFetch } = options;
    http = new HttpClient({ ...options, fetch, url: to.origin, headers, secret: options.apiKey });
  }
  throw new WeirError("WEIR_E_REMOTE", `the archive of ${address} was sent on more than ${MAX_REDIRECTS} times`);
}
