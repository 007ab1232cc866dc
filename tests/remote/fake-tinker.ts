/**
 * A small Tinker-compatible server with real arithmetic: a bigram model of token ids modulo 16, whose logits are a fixed table plus a
 * trained one. Like SkyRL's JAX backend it divides by rows (or sums), and lets the versions of a model share its weights.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { counterKey, uniform } from "../../src/algorithms/random.js";
import { messageType } from "../../src/remote/tinker/messages.js";

const V = 16;
const API = "/api/v1/";

export interface FakeTinkerOptions {
  readonly scale?: "row-mean" | "sum";
  readonly wire?: "protobuf" | "json";
  /** Metrics of an optimiser step tell the gradient's norm. */
  readonly tellsNorm?: boolean;
  readonly models?: readonly string[];
  /** Models that it holds at one time. */
  readonly room?: number;
  /** What the archive of saved weights is. */
  readonly archive?: () => Uint8Array;
  /** Answers a request in the server's place; null leaves it to the server. */
  readonly intercept?: (path: string, body: unknown) => { readonly status: number; readonly json: unknown } | null;
}

interface Weights {
  table: Float64Array; // [V, V]
  first: Float64Array;
  second: Float64Array;
  steps: number;
}

interface FakeModel extends Weights {
  readonly numbers: Map<number, { readonly body: string; readonly request: string }>;
  gradient: Float64Array;
  rows: number;
  /** The saved weights that sampling has put into the model's place. */
  loaded: string | null;
}

type Row = { readonly tokens: number[]; readonly inputs: Readonly<Record<string, number[]>> };

class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly detail: string,
  ) {
    super(detail);
  }
}

export class FakeTinker {
  readonly models = new Map<string, FakeModel>();
  /** Paths of all requests but heartbeats and questions for results. */
  readonly calls: string[] = [];
  private readonly saved = new Map<string, Weights>();
  private readonly samplers = new Map<string, string>();
  private readonly results = new Map<
    string,
    { readonly status: number; readonly json?: unknown; readonly bytes?: Uint8Array }
  >();
  private readonly sessions = new Set<string>();
  private count = 0;
  private server: Server | null = null;

  constructor(readonly options: FakeTinkerOptions = {}) {}

  async start(): Promise<string> {
    const server = createServer((request, response) => {
      this.handle(request, response).catch((error: unknown) => {
        const [status, detail] = error instanceof Refusal ? [error.status, error.detail] : [500, String(error)];
        send(response, status, { detail });
      });
    });
    this.server = server;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return this.url;
  }

  get url(): string {
    const { port } = (this.server as Server).address() as AddressInfo;
    return `http://127.0.0.1:${port}`;
  }

  async stop(): Promise<void> {
    this.server?.closeAllConnections();
    await new Promise((resolve) => this.server?.close(resolve) ?? resolve(null));
  }

  /** Everything but saved weights is gone, as after a restart. */
  forget(): void {
    this.models.clear();
    this.sessions.clear();
    this.samplers.clear();
    this.results.clear();
  }

  /** Addresses of the states that it keeps. */
  get states(): string[] {
    return [...this.saved.keys()].filter((address) => address.includes("/weights/"));
  }

  /** The number that was given last, to a piece of work or anything else. */
  get lastId(): number {
    return this.count;
  }

  /** Log-probs of a row's targets at a model's present weights. */
  logprobsOf(model: { readonly table: Float64Array }, tokens: readonly number[], targets: readonly number[]): number[] {
    return tokens.map((from, t) => Math.log(distribution(model.table, from % V)[(targets[t] as number) % V] as number));
  }

  private async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const bytes = await readAll(request);
    const path = (request.url ?? "").slice(API.length);
    const proto = request.headers["content-type"] === "application/x-protobuf";
    const body = proto ? bytes : bytes.length > 0 ? (JSON.parse(bytes.toString()) as Record<string, unknown>) : {};
    if (!/^(session_heartbeat|retrieve_future|healthz)/.test(path)) this.calls.push(path);
    const own = this.options.intercept?.(path, body);
    if (own) return send(response, own.status, own.json);
    if (path === "retrieve_future")
      return this.retrieve(String((body as Record<string, unknown>).request_id), response);
    if (path.endsWith("/archive")) {
      response.writeHead(302, { location: `${API}download` }).end();
      return;
    }
    if (path === "download") {
      const archive = this.options.archive?.();
      if (archive === undefined) throw new Refusal(404, "Checkpoint not found");
      response.writeHead(200, { "content-type": "application/gzip" }).end(archive);
      return;
    }
    if (request.method === "DELETE") {
      const [, model, kind, name] =
        /^training_runs\/(.+)\/checkpoints\/(weights\/|sampler_weights\/)(.+)$/.exec(path) ?? [];
      const address = `tinker://${model}/${kind === "weights/" ? kind : ""}${name}`;
      if (!this.saved.delete(address)) throw new Refusal(404, `Checkpoint not found: ${address}`);
      response.writeHead(204).end();
      return;
    }
    send(response, 200, proto ? this.passProto(bytes) : this.answer(path, body as Record<string, unknown>));
  }

  private retrieve(id: string, response: ServerResponse): void {
    const result = this.results.get(id);
    if (result === undefined) throw new Refusal(404, "Future not found");
    if (result.bytes === undefined) send(response, result.status, result.json);
    else response.writeHead(result.status, { "content-type": "application/x-protobuf" }).end(result.bytes);
  }

  private answer(path: string, body: Record<string, unknown>): unknown {
    const text = (name: string) => String(body[name]);
    switch (path) {
      case "healthz":
        return { status: "ok" };
      case "get_server_capabilities":
        return { supported_models: (this.options.models ?? ["fake"]).map((name) => ({ model_name: name })) };
      case "create_session": {
        const id = this.named("session");
        this.sessions.add(id);
        return { session_id: id };
      }
      case "session_heartbeat":
        if (!this.sessions.has(text("session_id"))) throw new Refusal(404, "Session not found");
        return { type: "session_heartbeat" };
      case "create_model":
        return this.createModel(body);
      case "forward":
      case "forward_backward":
        return this.passJson(path, body);
      case "optim_step":
        return this.numbered(body, (model) => ({ metrics: this.step(model, body.adam_params as Adam) }));
      case "save_weights":
      case "save_weights_for_sampler":
        return this.save(path, body);
      case "load_weights":
        return this.numbered(body, (model) => this.loadInto(model, text("path"), body.optimizer === true));
      case "unload_model":
        this.models.delete(text("model_id"));
        return this.future({ status: "unloaded" });
      case "create_sampling_session": {
        if (!this.sessions.has(text("session_id"))) throw new Refusal(404, "Session not found");
        const id = this.named("sampling");
        this.samplers.set(id, text("model_path"));
        return { sampling_session_id: id };
      }
      case "asample":
        return this.sample(body);
      default:
        throw new Refusal(404, "Not Found");
    }
  }

  private createModel(body: Record<string, unknown>): unknown {
    if (!this.sessions.has(String(body.session_id))) throw new Refusal(404, "Session not found");
    const { rank } = body.lora_config as { rank: number };
    if (rank > 32) return this.future({ detail: `LoRA rank ${rank} must be between 1 and 32` }, 400);
    const { room = Number.POSITIVE_INFINITY } = this.options;
    if (this.models.size >= room)
      return this.future({ detail: `Maximum number of LoRA adapters (${room}) reached` }, 400);
    const id = this.named("model");
    const zeros = () => new Float64Array(V * V);
    const weights = { table: zeros(), first: zeros(), second: zeros(), steps: 0 };
    this.models.set(id, { ...weights, gradient: zeros(), rows: 0, loaded: null, numbers: new Map() });
    const lora = { rank, alpha: 32, seed: 1, train_attn: true, train_mlp: true, train_unembed: false };
    return { model_id: id, ...this.future({ model_id: id, lora_config: lora }) };
  }

  private save(path: string, body: Record<string, unknown>): unknown {
    return this.numbered(body, (model) => {
      const kind = path === "save_weights" ? "weights/" : "";
      const address = `tinker://${String(body.model_id)}/${kind}${String(body.path)}`;
      if (this.saved.has(address)) throw new Refusal(409, `Checkpoint '${String(body.path)}' already exists`);
      this.saved.set(address, copied(model));
      return { path: address, sampling_session_id: null };
    });
  }

  private loadInto(model: FakeModel, address: string, optimiser: boolean): unknown {
    const found = this.saved.get(address);
    if (found === undefined) throw new Refusal(404, `Checkpoint not found: ${address}`);
    if (model.numbers.size > 0) throw new Refusal(400, "LoadWeights is not permitted");
    const { table, ...moments } = copied(found);
    Object.assign(model, { table }, optimiser ? moments : {});
    return { type: "load_weights" };
  }

  /** Carries a call of a model out once for each number. */
  private numbered(body: Record<string, unknown>, work: (model: FakeModel) => unknown, bytes?: Buffer): unknown {
    const model = this.models.get(String(body.model_id));
    if (model === undefined) throw new Refusal(404, "Model not found");
    const number = Number(body.seq_id);
    const key = bytes?.toString("base64") ?? JSON.stringify(body);
    const before = model.numbers.get(number);
    if (before !== undefined && before.body !== key)
      throw new Refusal(409, "Training request sequence number was reused");
    if (before !== undefined) return { request_id: before.request, status: "pending" };
    const result = this.future(work(model));
    model.numbers.set(number, { body: key, request: result.request_id });
    return result;
  }

  private passProto(bytes: Buffer): unknown {
    if (this.options.wire === "json") throw new Refusal(422, "Input should be a valid dictionary");
    const type = messageType("ForwardBackwardRequest");
    const body = type.toObject(type.decode(bytes), { longs: Number, arrays: true, objects: true, defaults: true }) as {
      model_id: string;
      seq_id: number;
      data: {
        model_input: { encoded_text: { tokens: Uint8Array } }[];
        loss_fn_inputs: Record<string, { dense: Uint8Array; dtype: number }>;
      }[];
      loss_fn: string;
      loss_fn_config: Record<string, number>;
      forward_only: boolean;
    };
    const rows = body.data.map(
      ({ model_input, loss_fn_inputs }): Row => ({
        tokens: Array.from(new Int32Array(copyOf(model_input[0]?.encoded_text.tokens))),
        inputs: Object.fromEntries(
          Object.entries(loss_fn_inputs).map(([name, { dense, dtype }]) => [
            name,
            dtype === 2
              ? Array.from(new BigInt64Array(copyOf(dense)), Number)
              : Array.from(new Float32Array(copyOf(dense)), Number),
          ]),
        ),
      }),
    );
    return this.numbered(
      { ...body },
      (model) => {
        const outputs = this.pass(model, rows, body.loss_fn, body.loss_fn_config, body.forward_only);
        return encodeOutputs(outputs);
      },
      bytes,
    );
  }

  private passJson(path: string, body: Record<string, unknown>): unknown {
    if (this.options.wire !== "json") throw new Refusal(415, "Unsupported Media Type");
    const input = (body.forward_input ?? body.forward_backward_input) as {
      data: { model_input: { chunks: { tokens: number[] }[] }; loss_fn_inputs: Record<string, { data: number[] }> }[];
      loss_fn: string;
      loss_fn_config?: Record<string, number>;
    };
    const rows = input.data.map(
      ({ model_input, loss_fn_inputs }): Row => ({
        tokens: model_input.chunks[0]?.tokens ?? [],
        inputs: Object.fromEntries(Object.entries(loss_fn_inputs).map(([name, { data }]) => [name, data])),
      }),
    );
    return this.numbered(body, (model) => ({
      loss_fn_output_type: "scalar",
      loss_fn_outputs: this.pass(model, rows, input.loss_fn, input.loss_fn_config ?? {}, path === "forward").map(
        (logprobs) => ({ logprobs: { data: logprobs, dtype: "float32", shape: [logprobs.length] } }),
      ),
      metrics: {},
    }));
  }

  private pass(
    model: FakeModel,
    rows: readonly Row[],
    lossFn: string,
    config: Readonly<Record<string, number>>,
    forwardOnly: boolean,
  ): number[][] {
    return rows.map(({ tokens, inputs }) => {
      const targets = inputs.target_tokens ?? [];
      const logprobs = this.logprobsOf(model, tokens, targets);
      if (forwardOnly) return logprobs;
      const weights = inputs.weights ?? targets.map(() => 1);
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const divisor = this.options.scale === "sum" ? 1 : total;
      logprobs.forEach((logprob, t) => {
        const weight = weights[t] as number;
        if (weight === 0) return;
        const slope = slopeOf(lossFn, config, logprob, inputs.logprobs?.[t] ?? 0, inputs.advantages?.[t] ?? 0);
        const from = (tokens[t] as number) % V;
        distribution(model.table, from).forEach((p, to) => {
          const change = (to === (targets[t] as number) % V ? 1 : 0) - p;
          const at = from * V + to;
          model.gradient[at] = (model.gradient[at] as number) + ((weight * slope) / divisor) * change;
        });
      });
      model.rows += 1;
      return logprobs;
    });
  }

  private step(model: FakeModel, adam: Adam): Record<string, number> {
    const divisor = this.options.scale === "sum" ? 1 : Math.max(1, model.rows);
    const gradient = model.gradient.map((value) => value / divisor);
    model.steps += 1;
    const corrected = (value: number, beta: number) => value / (1 - beta ** model.steps);
    gradient.forEach((g, i) => {
      const m = adam.beta1 * (model.first[i] as number) + (1 - adam.beta1) * g;
      const v = adam.beta2 * (model.second[i] as number) + (1 - adam.beta2) * g * g;
      model.first[i] = m;
      model.second[i] = v;
      const move = corrected(m, adam.beta1) / (Math.sqrt(corrected(v, adam.beta2)) + adam.eps);
      const at = model.table[i] as number;
      model.table[i] = at - adam.learning_rate * (move + adam.weight_decay * at);
    });
    model.gradient = new Float64Array(V * V);
    model.rows = 0;
    const norm = Math.sqrt(gradient.reduce((sum, g) => sum + g * g, 0));
    return this.options.tellsNorm === false ? {} : { "fake/grad_norm": norm };
  }

  private sample(body: Record<string, unknown>): unknown {
    const address = this.samplers.get(String(body.sampling_session_id));
    if (address === undefined) throw new Refusal(404, "Sampling session not found");
    const saved = this.saved.get(address);
    if (saved === undefined) throw new Refusal(404, `Checkpoint not found: ${address}`);
    // Saved weights are put into the place of the model's own, once for each address.
    const model = this.models.get(address.split("/")[2] as string);
    if (model !== undefined && model.loaded !== address) {
      model.table = saved.table.slice();
      model.loaded = address;
    }
    const { table } = model ?? saved;
    const { chunks } = body.prompt as { chunks: { tokens: number[] }[] };
    const params = body.sampling_params as { max_tokens: number; temperature: number; seed: number; stop?: number[] };
    const sequences = Array.from({ length: Number(body.num_samples) }, (_, n) => {
      const tokens: number[] = [];
      const logprobs: number[] = [];
      const key = counterKey(params.seed, "fake", n);
      let from = (chunks[0]?.tokens.at(-1) ?? 0) % V;
      let stopped = false;
      while (tokens.length < params.max_tokens && !stopped) {
        const probabilities = distribution(table, from);
        let left = uniform(key, tokens.length);
        const drawn = probabilities.findIndex((p) => {
          left -= p;
          return left < 0;
        });
        from = params.temperature === 0 ? probabilities.indexOf(Math.max(...probabilities)) : Math.max(0, drawn);
        tokens.push(from);
        logprobs.push(Math.log(probabilities[from] as number));
        stopped = params.stop?.includes(from) ?? false;
      }
      return { tokens, logprobs, stopped };
    });
    if (this.options.wire === "json")
      return this.future({ sequences: sequences.map((s) => ({ ...s, stop_reason: s.stopped ? "stop" : "length" })) });
    const type = messageType("SampleResponse");
    const message = {
      sequences: sequences.map(({ tokens, logprobs, stopped }) => ({
        stop_reason: stopped ? 0 : 1,
        tokens: rawBytes(Int32Array.from(tokens)),
        logprobs: rawBytes(Float32Array.from(logprobs)),
      })),
    };
    return this.future(type.encode(message).finish());
  }

  private future(result: unknown, status = 200): { readonly request_id: string; readonly status: string } {
    this.count += 1;
    const id = String(this.count);
    this.results.set(id, result instanceof Uint8Array ? { status, bytes: result } : { status, json: result });
    return { request_id: id, status: "pending" };
  }

  private named(kind: string): string {
    this.count += 1;
    return `${kind}_${this.count}`;
  }
}

interface Adam {
  readonly learning_rate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weight_decay: number;
}

/** dℓ/d(log π) of a token. */
function slopeOf(
  lossFn: string,
  config: Readonly<Record<string, number>>,
  logprob: number,
  old: number,
  advantage: number,
): number {
  const ratio = Math.exp(logprob - old);
  const clipped = Math.min(Math.max(ratio, config.clip_low_threshold ?? 0.8), config.clip_high_threshold ?? 1.2);
  switch (lossFn) {
    case "cross_entropy":
      return -1;
    case "importance_sampling":
      return -ratio * advantage;
    case "ppo":
      return ratio * advantage <= clipped * advantage ? -ratio * advantage : 0;
    case "cispo":
      return -clipped * advantage;
    default:
      throw new Refusal(422, `unknown loss ${lossFn}`);
  }
}

/** Next-token probabilities after a token. [V] */
function distribution(table: Float64Array, from: number): number[] {
  const key = counterKey(7, "fake-base", from);
  const logits = Array.from({ length: V }, (_, to) => 2 * uniform(key, to) + (table[from * V + to] as number));
  const top = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - top));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function encodeOutputs(rows: readonly (readonly number[])[]): Uint8Array {
  const ends = [0n];
  for (const row of rows) ends.push((ends.at(-1) as bigint) + BigInt(4 * row.length));
  const logprobs = {
    data: rawBytes(Float32Array.from(rows.flat())),
    offsets: rawBytes(BigInt64Array.from(ends)),
    dtype: 1,
    trailing_shape: [],
  };
  const record = { type_tag: "scalar", fields: { logprobs }, num_datums: rows.length };
  const type = messageType("ForwardBackwardOutput");
  return type.encode({ loss_fn_output_type: "scalar", loss_fn_outputs: [record], metrics: {} }).finish();
}

function copied({ table, first, second, steps }: Weights): Weights {
  return { table: table.slice(), first: first.slice(), second: second.slice(), steps };
}

const rawBytes = (values: Int32Array | Float32Array | BigInt64Array) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
const copyOf = (bytes: Uint8Array | undefined): ArrayBuffer => Uint8Array.from(bytes ?? []).buffer;

function send(response: ServerResponse, status: number, json: unknown): void {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(json));
}

async function readAll(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) parts.push(part as Buffer);
  return Buffer.concat(parts);
}
