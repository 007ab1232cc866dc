/** What a Tinker-compatible server says of itself. */
import type { ServerDescription } from "../../contracts/server.js";
import { WeirError } from "../../errors.js";
import { TinkerClient, type TinkerOptions } from "./client.js";
import { TINKER_SAMPLER } from "./sampler.js";
import { TINKER_TRAINER } from "./trainer.js";

/**
 * Asks for the models, and begins a session, in which nothing is made: it shows whether the key is taken.
 * Errors: WEIR_E_UNREACHABLE; WEIR_E_REMOTE where it is no such server.
 */
export async function describeTinker(options: TinkerOptions, signal: AbortSignal): Promise<ServerDescription> {
  const client = new TinkerClient(options);
  const served = await client.served(signal);
  const refused = await refusedSession(client, signal);
  const [only] = served;
  return {
    kind: "tinker",
    url: client.http.url,
    version: null,
    models: served.map(({ name }) => name),
    maxTokens: served.length === 1 && only !== undefined ? only.maxTokens : null,
    sampler: TINKER_SAMPLER,
    trainer: TINKER_TRAINER,
    notes: {
      "loss scale": "found out when a run begins, unless trainer.lossScale says it",
      "models at a time": "a run takes two, for its policy and its reference, and a third while a state is loaded",
      adapters: "all of the attention's matrices or none, and the same of the MLP's; the server decides on alpha",
    },
    problems: [
      ...(served.length === 0 ? ["the server serves no model; start it with one"] : []),
      ...(refused === null ? [] : [`the server begins no session: ${refused}; check the key`]),
    ],
  };
}

async function refusedSession(client: TinkerClient, signal: AbortSignal): Promise<string | null> {
  try {
    await client.open(signal);
    return null;
  } catch (error) {
    if (WeirError.isInstance(error) && error.code === "WEIR_E_REMOTE") return error.message;
    throw error;
  } finally {
    client.close();
  }
}
