/**
 * A session at a Tinker-compatible server: calls, heartbeats, and results that are fetched once they are there. Invariants: no result
 * is waited for longer than the deadline (I5); a call whose work the server has lost is told as WEIR_E_REMOTE_STATE, and one that it
 * refuses as WEIR_E_REMOTE.
 */
import { z } from "zod";
import { WeirError } from "../../errors.js";
import { pause } from "../../system/pause.js";
import type { Time } from "../../system/time.js";
import { type HttpAnswer, HttpClient, type Repeat } from "../http.js";
import { patientFetch } from "../patient-fetch.js";
import type { WireForm } from "./messages.js";

export interface TinkerOptions {
  readonly url: string;
  /** Null sends none. */
  readonly apiKey: string | null;
  /** How long a server that cannot be reached is tried again, ms. */
  readonly patienceMs: number;
  /** Of one call with its result, ms. */
  readonly deadlineMs: number;
  readonly time: Time;
  readonly fetch?: typeof globalThis.fetch;
}

/** A body in one of the protocol's forms. */
export type Body = { readonly json: unknown } | { readonly bytes: Uint8Array };

/** A call that was taken in, whose result can be fetched. */
export interface Pending {
  readonly requestId: string;
  readonly path: string;
  readonly body: Body;
  /** Of the model, where the call made one. */
  readonly modelId: string | null;
}

/** JSON, or the bytes of a protobuf message. */
export type Result = { readonly json: unknown } | Uint8Array;

const API = "/api/v1";
/** The version of the public SDK whose protocol is spoken. */
const SDK_VERSION = "0.25.0";
/** Servers give a session up after some minutes without one. */
const HEARTBEAT_MS = 10_000;
/** How long one question for a result waits; the server holds it open until the result is there. */
const POLL_MS = 45_000;
/** Longest wait for a call that hands work over or asks for none. */
const SHORT_CALL_MS = 30_000;
/** Wait before a result that is still being made, or that the server failed to give, is asked for again. */
const AGAIN_MS = 500;
/** How often work is given again to a server that has forgotten it, or asked for after status 500. */
const MAX_AGAIN = 3;
/** Largest answer: a pass over a batch of long sequences gives several numbers a token. */
const MAX_BYTES = 2 ** 30;

const FUTURE = z.object({ request_id: z.string(), model_id: z.string().nullish() });
const SESSION = z.object({ session_id: z.string() });
const SERVED = z.object({
  supported_models: z.array(z.object({ model_name: z.string(), max_context_length: z.number().nullish() })),
});

export interface ServedModel {
  readonly name: string;
  readonly maxTokens: number | null;
}

export class TinkerClient {
  readonly http: HttpClient;
  /** The form that the server takes bodies of passes in; null before the first one. */
  form: WireForm | null = null;
  private session: string | null = null;
  private heartbeat: unknown = null;

  constructor(private readonly options: TinkerOptions) {
    const { apiKey, fetch = patientFetch } = options;
    this.http = new HttpClient({
      url: options.url,
      headers: apiKey === null ? {} : { "x-api-key": apiKey },
      secret: apiKey,
      patienceMs: options.patienceMs,
      time: options.time,
      fetch,
    });
  }

  /** The models that the server serves. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE. */
  async served(signal: AbortSignal): Promise<readonly ServedModel[]> {
    const answer = await this.get("/get_server_capabilities", signal);
    return parsed(SERVED, answer.json(), "get_server_capabilities").supported_models.map((one) => ({
      name: one.model_name,
      maxTokens: one.max_context_length ?? null,
    }));
  }

  /**
   * Begins a session and keeps it alive, where there is none that lives; true where it is a new one, in which nothing of the one before
   * is left. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE.
   */
  async open(signal: AbortSignal): Promise<boolean> {
    if (this.session !== null && (await this.beat(signal, "always"))) return false;
    this.stopHeartbeats();
    const body = { tags: ["weir"], user_metadata: null, sdk_version: SDK_VERSION, type: "create_session" };
    const answer = await this.post("create_session", { json: body }, signal, "unsent");
    this.session = parsed(SESSION, answer.json(), "create_session").session_id;
    this.scheduleHeartbeat();
    return true;
  }

  /** Errors: WEIR_E_STATE before `open`. */
  get sessionId(): string {
    if (this.session !== null) return this.session;
    throw new WeirError("WEIR_E_STATE", "a call was made before connect(); connect the part first");
  }

  /** Hands work to the server. Errors: WEIR_E_UNREACHABLE, WEIR_E_REMOTE, WEIR_E_REMOTE_STATE. */
  async submit(path: string, body: Body, signal: AbortSignal, repeat: Repeat = "always"): Promise<Pending> {
    const answer = await this.post(path, body, signal, repeat);
    const { request_id, model_id } = parsed(FUTURE, answer.json(), path);
    return { requestId: request_id, path, body, modelId: model_id ?? null };
  }

  /**
   * The result of work, waited for until the deadline. A connection that breaks meanwhile loses nothing.
   * Errors: as `submit`; WEIR_E_UNREACHABLE at the deadline; WEIR_E_REMOTE where the work was refused.
   */
  async result(pending: Pending, signal: AbortSignal): Promise<Result> {
    const { time, deadlineMs } = this.options;
    const end = time.now() + deadlineMs;
    let asked = pending;
    for (let failures = 0; ; ) {
      if (time.now() >= end) throw this.late(pending.path);
      const answer = await this.poll(asked.requestId, Math.min(POLL_MS, end - time.now()), signal);
      if (answer === null || answer.status === 408) continue;
      if (answer.status >= 200 && answer.status < 300) {
        if (answer.headers.get("content-type")?.includes("protobuf")) return answer.bytes;
        const json = answer.json();
        if ((json as { readonly type?: unknown } | null)?.type !== "try_again") return { json };
        await pause(this.options.time, AGAIN_MS, signal);
        continue;
      }
      if (answer.status === 425) {
        await pause(this.options.time, AGAIN_MS, signal);
        continue;
      }
      failures += 1;
      if (answer.status === 410 && failures <= MAX_AGAIN) asked = await this.submit(asked.path, asked.body, signal);
      else if (answer.status >= 500 && failures <= MAX_AGAIN)
        await pause(this.options.time, AGAIN_MS * 2 ** failures, signal);
      else throw this.failure(pending.path, answer);
    }
  }

  /** `submit` and `result` in one. */
  async run(path: string, body: Body, signal: AbortSignal, repeat: Repeat = "always"): Promise<Result> {
    return this.result(await this.submit(path, body, signal, repeat), signal);
  }

  get(path: string, signal: AbortSignal): Promise<HttpAnswer> {
    return this.http.ok({
      method: "GET",
      path: `${API}${path}`,
      deadlineMs: this.shortMs,
      signal,
      repeat: "always",
      maxBytes: MAX_BYTES,
    });
  }

  /** An answer of status 2xx. Errors: as `submit`. */
  async post(path: string, body: Body, signal: AbortSignal, repeat: Repeat = "always"): Promise<HttpAnswer> {
    const answer = await this.http.call({
      path: `${API}/${path}`,
      ...body,
      headers: {
        accept: "application/x-protobuf, application/json",
        ...("bytes" in body && { "content-type": "application/x-protobuf" }),
      },
      // A large body takes its time.
      deadlineMs: Math.min(this.options.deadlineMs, 4 * SHORT_CALL_MS),
      signal,
      repeat,
      maxBytes: MAX_BYTES,
    });
    if (answer.status >= 200 && answer.status < 300) return answer;
    throw this.failure(path, answer);
  }

  /** The answer to the removal of something at the server. Errors: WEIR_E_UNREACHABLE. */
  delete(path: string, signal: AbortSignal): Promise<HttpAnswer> {
    return this.http.call({
      method: "DELETE",
      path: `${API}${path}`,
      deadlineMs: this.shortMs,
      signal,
      repeat: "never",
    });
  }

  /** Removes something at the server where it is; nothing depends on it. */
  async remove(path: string): Promise<void> {
    await this.delete(path, AbortSignal.timeout(this.shortMs)).catch(() => undefined);
  }

  close(): void {
    this.stopHeartbeats();
    this.session = null;
  }

  private get shortMs(): number {
    return Math.min(this.options.deadlineMs, SHORT_CALL_MS);
  }

  /** One question for a result; null where there was no answer and the server still lives. */
  private async poll(requestId: string, deadlineMs: number, signal: AbortSignal): Promise<HttpAnswer | null> {
    try {
      return await this.http.call({
        path: `${API}/retrieve_future`,
        json: { request_id: requestId },
        headers: { accept: "application/x-protobuf, application/json" },
        deadlineMs,
        signal,
        repeat: "never",
        maxBytes: MAX_BYTES,
      });
    } catch (error) {
      if (!WeirError.isInstance(error) || error.code !== "WEIR_E_UNREACHABLE") throw error;
      await this.get("/healthz", signal);
      return null;
    }
  }

  /** True where the session lives. */
  private async beat(signal: AbortSignal, repeat: Repeat): Promise<boolean> {
    const { status } = await this.http.call({
      path: `${API}/session_heartbeat`,
      json: { session_id: this.session, type: "session_heartbeat" },
      deadlineMs: this.shortMs,
      signal,
      repeat,
    });
    return status >= 200 && status < 300;
  }

  /** A heartbeat that fails is not told: the next call finds out. */
  private scheduleHeartbeat(): void {
    this.heartbeat = this.options.time.set(() => {
      const ended = () => {
        if (this.heartbeat !== null) this.scheduleHeartbeat();
      };
      void this.beat(AbortSignal.timeout(this.shortMs), "never").then(ended, ended);
    }, HEARTBEAT_MS);
  }

  private stopHeartbeats(): void {
    if (this.heartbeat !== null) this.options.time.clear(this.heartbeat);
    this.heartbeat = null;
  }

  private failure(path: string, answer: HttpAnswer): WeirError {
    const refusal = this.http.refusal({ path: `${API}/${path}` }, answer);
    if (!isLoss(answer)) return refusal;
    const text = `the server has lost what a call was about: ${refusal.message.replace(/^WEIR_E_REMOTE: /, "")}; the run goes back to its last checkpoint`;
    return new WeirError("WEIR_E_REMOTE_STATE", text, refusal.details);
  }

  private late(path: string): WeirError {
    const { deadlineMs } = this.options;
    return new WeirError(
      "WEIR_E_UNREACHABLE",
      `${this.http.url} gave no result of ${path} within engine.requestTimeoutMs = ${deadlineMs} ms; raise it, or give the server less to do`,
      { path, limitMs: deadlineMs },
    );
  }
}

/** True where an answer says that something is not there, and not that there is no such call. */
export function isGone(answer: HttpAnswer): boolean {
  return isLoss(answer) && (answer.status === 404 || answer.status === 410);
}

/** True where the server no longer knows a session, model, checkpoint or result, or counts a model's calls otherwise than we do. */
function isLoss(answer: HttpAnswer): boolean {
  if (answer.status === 404)
    return /not found/i.test(answer.text()) && !/^\s*\{"detail":"Not Found"\}\s*$/.test(answer.text());
  if (answer.status === 409) return /sequence number/i.test(answer.text());
  if (answer.status === 410) return true;
  return answer.status === 400 && /(model|adapter|checkpoint)\b.*\bnot (loaded|found|registered)/i.test(answer.text());
}

/** Errors: WEIR_E_REMOTE for an answer of another shape. */
export function parsed<T>(schema: z.ZodType<T>, given: unknown, of: string): T {
  const found = schema.safeParse(given);
  if (found.success) return found.data;
  throw new WeirError(
    "WEIR_E_REMOTE",
    `the server's answer to ${of} is not that of the protocol: ${z.prettifyError(found.error)}`,
    { path: of },
  );
}
