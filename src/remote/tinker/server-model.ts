/**
 * A model at the server: base weights with an adapter, and its optimiser. Invariants: calls have numbers from one counter; each is
 * journalled before it is sent, and sent only once the one before was taken in; a call that is sent again has the same number and body,
 * which the server carries out once.
 */
import { createHash, randomUUID } from "node:crypto";
import { z } from "zod";
import type { OptimiserConfig, TrainingCall } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import type { Repeat } from "../http.js";
import type { AdapterOptions } from "./adapter-options.js";
import { type Body, type Pending, parsed, type Result, type TinkerClient } from "./client.js";
import { decodePass, encodePass, type PassOutput, passAsJson, type ServerRow } from "./messages.js";

export type Journal = (call: TrainingCall) => void;

export interface Pass {
  readonly rows: readonly ServerRow[];
  readonly lossFn: string;
  readonly config: Readonly<Record<string, number>>;
}

/** Largest request: rows, and bytes of tokens and numbers (28 a token). Servers refuse more. */
const MAX_ROWS = 1024;
const MAX_TOKENS = (4 * 2 ** 20) / 28;

const STEP = z.object({ metrics: z.record(z.string(), z.number().nullable()).nullish() });
const SAVED = z.object({ path: z.string() });
const MADE = z.object({
  lora_config: z.object({ alpha: z.number(), train_attn: z.boolean(), train_mlp: z.boolean() }).partial().nullish(),
});

export class ServerModel {
  private number = 0;
  private last: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly client: TinkerClient,
    readonly id: string,
    private readonly journal: Journal,
    /** Its adapter as the server tells it; what is left out it does not tell. */
    readonly adapter: Partial<Pick<AdapterOptions, "alpha" | "attention" | "mlp">>,
  ) {}

  /**
   * Makes a model whose adapter changes nothing yet. Errors: WEIR_E_REMOTE where the server refuses rank or model; WEIR_E_UNREACHABLE
   * where it has no room for a further one, such as before it has given up those of a process that was killed.
   */
  static async create(
    client: TinkerClient,
    baseModel: string,
    { rank, alpha, attention, mlp, seed }: AdapterOptions,
    journal: Journal,
    signal: AbortSignal,
  ): Promise<ServerModel> {
    const lora = { rank, alpha, seed, train_attn: attention, train_mlp: mlp, train_unembed: false };
    const body = { session_id: client.sessionId, base_model: baseModel, lora_config: lora, type: "create_model" };
    // A call whose answer is lost may have made a model: it ends with the session.
    const pending = await client.submit("create_model", { json: body }, signal, "unsent");
    const result = jsonOf(
      await client.result(pending, signal).catch((error: unknown) => {
        throw isFull(error) ? full(error as WeirError) : error;
      }),
    );
    const id = pending.modelId ?? parsed(z.object({ model_id: z.string() }), result, "create_model").model_id;
    const told = parsed(MADE, result, "create_model").lora_config ?? {};
    return new ServerModel(client, id, journal, {
      ...(told.alpha !== undefined && { alpha: told.alpha }),
      ...(told.train_attn !== undefined && { attention: told.train_attn }),
      ...(told.train_mlp !== undefined && { mlp: told.train_mlp }),
    });
  }

  /** Log-probs of the rows' targets at the present weights. [N][T] */
  async forward(rows: readonly ServerRow[], signal: AbortSignal): Promise<PassOutput["logprobs"]> {
    const plain = rows.map((row) => ({ ...row, policy: null }));
    const outputs = await this.passes({ rows: plain, lossFn: "cross_entropy", config: {} }, true, signal);
    return outputs.flatMap(({ logprobs }) => logprobs);
  }

  /** Adds the gradient of a loss to what the server has summed. */
  forwardBackward(pass: Pass, signal: AbortSignal): Promise<readonly PassOutput[]> {
    return this.passes(pass, false, signal);
  }

  /** Applies the summed gradient. The norm is null where the server tells none. */
  async optimStep(config: OptimiserConfig, signal: AbortSignal): Promise<{ readonly gradNorm: number | null }> {
    const { learningRate, betas, epsilon, weightDecay } = config;
    const adam = {
      learning_rate: learningRate,
      beta1: betas[0],
      beta2: betas[1],
      eps: epsilon,
      weight_decay: weightDecay,
    };
    const found = await this.call("optim_step", { adam_params: adam, type: "optim_step" }, signal);
    const metrics = parsed(STEP, found, "optim_step").metrics ?? {};
    const norm = Object.entries(metrics).find(([name]) => /(^|[/:_.])grad_norm/.test(name));
    return { gradNorm: norm === undefined ? null : (norm[1] ?? Number.NaN) };
  }

  /** Saves weights and optimiser; returns their address. */
  save(name: string, signal: AbortSignal): Promise<string> {
    return this.saved("save_weights", name, signal);
  }

  /** Saves weights for sampling; returns their address. */
  saveForSampler(name: string, signal: AbortSignal): Promise<string> {
    return this.saved("save_weights_for_sampler", name, signal);
  }

  /** Takes saved weights, with moments or without. Only as the model's first call. */
  async load(address: string, optimiser: boolean, signal: AbortSignal): Promise<void> {
    await this.call("load_weights", { path: address, optimizer: optimiser, type: "load_weights" }, signal, "unsent");
  }

  /** Servers do not recognise these calls when they are sent again: a name is given once, so that none is saved to twice. */
  private async saved(call: string, name: string, signal: AbortSignal): Promise<string> {
    const path = `${name}-${randomUUID().slice(0, 8)}`;
    return parsed(SAVED, await this.call(call, { path, type: call }, signal, "unsent"), call).path;
  }

  /** Frees its place at the server; a server that cannot be reached frees it by itself. */
  async unload(signal: AbortSignal): Promise<void> {
    await this.client
      .run("unload_model", { json: { model_id: this.id, type: "unload_model" } }, signal, "never")
      .catch(() => undefined);
  }

  private async call(
    name: string,
    fields: Readonly<Record<string, unknown>>,
    signal: AbortSignal,
    repeat: Repeat = "always",
  ): Promise<unknown> {
    const build = (number: number) => ({ json: { model_id: this.id, seq_id: number, ...fields } });
    return jsonOf(await this.client.result(await this.send(name, name, build, signal, repeat), signal));
  }

  private async passes(pass: Pass, forwardOnly: boolean, signal: AbortSignal): Promise<readonly PassOutput[]> {
    const pending: { readonly rows: number; readonly call: Pending }[] = [];
    for (const rows of pieces(pass.rows)) {
      const call = await this.sendPass({ ...pass, rows }, forwardOnly, signal);
      pending.push({ rows: rows.length, call });
    }
    const outputs: PassOutput[] = [];
    for (const { rows, call } of pending) {
      const output = decodePass(await this.client.result(call, signal));
      if (output.logprobs.length !== rows) throw mismatch(rows, output.logprobs.length);
      outputs.push(output);
    }
    return outputs;
  }

  /** Protobuf where the server takes it, else JSON: a server that knows neither body says 415 or 422 to it. */
  private async sendPass(pass: Pass, forwardOnly: boolean, signal: AbortSignal): Promise<Pending> {
    const request = (number: number) => ({ ...pass, modelId: this.id, number, forwardOnly });
    const name = forwardOnly ? "forward" : "forward_backward";
    const asBytes = (number: number) => ({ bytes: encodePass(request(number)) });
    const asJson = (number: number) => ({ json: passAsJson(request(number)) });
    if (this.client.form === "json") return this.send(name, name, asJson, signal);
    try {
      const pending = await this.send(name, "forward_backward", asBytes, signal);
      this.client.form = "protobuf";
      return pending;
    } catch (error) {
      if (this.client.form !== null || !isUnknownForm(error)) throw error;
      const pending = await this.send(name, name, asJson, signal).catch((second: unknown) => {
        // A server that takes no JSON either has refused what the first body said.
        throw isUnknownForm(second) ? error : second;
      });
      this.client.form = "json";
      return pending;
    }
  }

  /** Sends the next call once the one before was taken in; resolves when it was taken in itself. */
  private send(
    name: string,
    path: string,
    build: (number: number) => Body,
    signal: AbortSignal,
    repeat: Repeat = "always",
  ): Promise<Pending> {
    const sent = this.last.then(() => {
      signal.throwIfAborted();
      const number = this.number + 1;
      const body = build(number);
      this.number = number;
      this.journal({ model: this.id, number, call: name, sha256: digestOf(body) });
      return this.client.submit(path, body, signal, repeat).catch((error: unknown) => {
        // A number whose call was refused has not been used: servers that count wait for it.
        if (WeirError.isInstance(error) && error.code === "WEIR_E_REMOTE") this.number = number - 1;
        throw error;
      });
    });
    this.last = sent.catch(() => undefined);
    return sent;
  }
}

function digestOf(body: Body): string {
  return createHash("sha256")
    .update("bytes" in body ? body.bytes : JSON.stringify(body.json))
    .digest("hex");
}

function jsonOf(result: Result): unknown {
  if (!(result instanceof Uint8Array)) return result.json;
  throw new WeirError("WEIR_E_REMOTE", "the server answered with a protobuf message where JSON was expected");
}

function isFull(error: unknown): boolean {
  return (
    WeirError.isInstance(error) && error.code === "WEIR_E_REMOTE" && /maximum number of .*adapters/i.test(error.message)
  );
}

function full({ message, details }: WeirError): WeirError {
  const text = `the server has no room for a further model: ${message.replace(/^WEIR_E_REMOTE: /, "")}; it gives up models of ended processes after some minutes, or start it with room for more`;
  return new WeirError("WEIR_E_UNREACHABLE", text, details);
}

const UNKNOWN_FORM = [404, 405, 415, 422];

function isUnknownForm(error: unknown): boolean {
  return (
    WeirError.isInstance(error) &&
    error.code === "WEIR_E_REMOTE" &&
    UNKNOWN_FORM.includes(error.details.status as number)
  );
}

function mismatch(asked: number, given: number): WeirError {
  return new WeirError("WEIR_E_REMOTE", `the server gave outputs of ${given} rows, ${asked} were sent`);
}

/** Rows in requests of bounded size, in order. */
function pieces(rows: readonly ServerRow[]): (readonly ServerRow[])[] {
  const result: ServerRow[][] = [];
  let tokens = 0;
  for (const row of rows) {
    const current = result.at(-1);
    if (current === undefined || current.length >= MAX_ROWS || tokens + row.tokens.length > MAX_TOKENS) {
      result.push([row]);
      tokens = row.tokens.length;
    } else {
      current.push(row);
      tokens += row.tokens.length;
    }
  }
  return result;
}
