/** What the clients of generation servers have in common: their options, the deadlines of short calls, questions and their answers. */
import { z } from "zod";
import { WeirError } from "../../errors.js";
import type { HttpClient } from "../http.js";
import type { PolicyForm } from "./generation-server.js";

export interface GenerationServerOptions {
  readonly client: HttpClient;
  /** Name of the base model; null takes the only one. */
  readonly model: string | null;
  /** How policies are to be handed over; what that needs of the server is looked for. */
  readonly form: PolicyForm;
  /** Deadline of loading weights, and of any other call but a draw, ms. */
  readonly deadlineMs: number;
}

/** Longest wait for answers of a server that does no work for them, ms. */
const ASK_MS = 30_000;
/** The same for the first token that a server draws, which may have to compile for it, ms. */
const PEEK_MS = 120_000;
/** Log-probs of a token that are asked for to find out what they are of. */
export const TOP = 5;
export const MIB = 2 ** 20;

/** Answer of /v1/models. */
export const modelsSchema = z.object({
  data: z.array(z.object({ id: z.string(), max_model_len: z.number().nullish(), parent: z.string().nullish() })),
});

type Deadline = Pick<GenerationServerOptions, "deadlineMs">;

/** Deadline of a call that is no work, ms. */
export const askMs = ({ deadlineMs }: Deadline): number => Math.min(deadlineMs, ASK_MS);
/** Deadline of drawing a single token, ms. */
export const peekMs = ({ deadlineMs }: Deadline): number => Math.min(deadlineMs, PEEK_MS);

/** Asks a server of the kind `product`. Errors: those of `HttpClient.ok`; WEIR_E_REMOTE for an answer of another shape. */
export async function askServer<T>(
  { client, deadlineMs }: Pick<GenerationServerOptions, "client" | "deadlineMs">,
  product: string,
  path: string,
  schema: z.ZodType<T>,
  signal: AbortSignal,
): Promise<T> {
  const answer = await client.ok({ method: "GET", path, deadlineMs: askMs({ deadlineMs }), signal, repeat: "always" });
  const parsed = schema.safeParse(answer.json());
  if (parsed.success) return parsed.data;
  const { url } = client;
  throw new WeirError(
    "WEIR_E_REMOTE",
    `${url}${path} does not answer as ${product} does: ${z.prettifyError(parsed.error)}`,
    { url },
  );
}

/** For a request that names an adapter which the server does not have. */
export function lostAdapter(url: string, adapter: string): WeirError {
  return new WeirError("WEIR_E_REMOTE_STATE", `${url} does not have the adapter ${adapter}`, { url, adapter });
}
