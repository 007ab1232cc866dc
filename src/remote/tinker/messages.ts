/**
 * The bodies of training and sampling calls, in the protocol's two forms: protobuf and JSON. Numbers of tensors are little-endian.
 * Field numbers are those of the public SDK (0.25 to 0.38, which only added fields).
 */
import protobuf from "protobufjs";
import { z } from "zod";
import { WeirError } from "../../errors.js";

const PROTO = `
syntax = "proto3";
message ForwardBackwardRequest {
  string model_id = 1;
  int32 seq_id = 2;
  repeated Datum data = 3;
  string loss_fn = 4;
  map<string, double> loss_fn_config = 5;
  bool forward_only = 6;
}
message Datum { repeated Chunk model_input = 1; map<string, Tensor> loss_fn_inputs = 2; }
message Chunk { EncodedText encoded_text = 1; }
message EncodedText { bytes tokens = 1; }
message Tensor { bytes dense = 1; DType dtype = 3; repeated int64 shape = 4; }
message ForwardBackwardOutput {
  string loss_fn_output_type = 1;
  repeated ArrayRecord loss_fn_outputs = 2;
  map<string, double> metrics = 3;
}
message ArrayRecord { string type_tag = 1; map<string, BatchedTensor> fields = 2; int64 num_datums = 3; }
message BatchedTensor { bytes data = 1; bytes offsets = 2; DType dtype = 3; repeated int64 trailing_shape = 4; }
message SampleResponse { repeated Sequence sequences = 1; bytes prompt_logprobs = 2; }
message Sequence { StopReason stop_reason = 1; bytes tokens = 2; bytes logprobs = 3; }
enum DType { UNSPECIFIED = 0; FLOAT32 = 1; INT64 = 2; INT32 = 3; BFLOAT16 = 4; }
enum StopReason { STOP = 0; LENGTH = 1; }
`;

const { root } = protobuf.parse(PROTO, { keepCase: true });
/** The messages of the protocol, by name. */
export const messageType = (name: "ForwardBackwardRequest" | "ForwardBackwardOutput" | "SampleResponse") =>
  root.lookupType(name);
const REQUEST = messageType("ForwardBackwardRequest");
const OUTPUT = messageType("ForwardBackwardOutput");
const SAMPLES = messageType("SampleResponse");
const FLOAT32 = 1;
const INT64 = 2;
const INT32 = 3;
const LENGTH = 1;

/** The forms that a body can have. */
export type WireForm = "protobuf" | "json";

/** One sequence as the server trains on it: position t sees tokens ≤ t and predicts target t. */
export interface ServerRow {
  readonly tokens: readonly number[]; // [T]
  readonly targets: readonly number[]; // [T]
  /** Share of each position in its row's loss; null sends none. */
  readonly weights: ArrayLike<number> | null; // [T]
  /** Log-probs of the policy that ratios are against, and advantages; null for losses that read neither. */
  readonly policy: { readonly logprobs: ArrayLike<number>; readonly advantages: ArrayLike<number> } | null; // [T]
}

export interface PassRequest {
  readonly modelId: string;
  readonly number: number;
  readonly rows: readonly ServerRow[];
  readonly lossFn: string;
  readonly config: Readonly<Record<string, number>>;
  readonly forwardOnly: boolean;
}

/** What a pass gives of each row. */
export interface PassOutput {
  /** Log-prob of each target. [N][T] */
  readonly logprobs: readonly (readonly number[])[];
  readonly metrics: Readonly<Record<string, number>>;
}

export interface SampleOutput {
  readonly sequences: readonly {
    readonly tokens: readonly number[];
    readonly logprobs: readonly number[];
    readonly stopped: boolean;
  }[];
}

type Inputs = Readonly<Record<string, { readonly values: ArrayLike<number>; readonly integer: boolean }>>;

function inputsOf({ targets, weights, policy }: ServerRow): Inputs {
  const floats = (values: ArrayLike<number>) => ({ values, integer: false });
  return {
    target_tokens: { values: targets, integer: true },
    ...(weights && { weights: floats(weights) }),
    ...(policy && { logprobs: floats(policy.logprobs), advantages: floats(policy.advantages) }),
  };
}

const bytesOf = (values: { buffer: ArrayBufferLike; byteOffset: number; byteLength: number }) =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

export function encodePass({ modelId, number, rows, lossFn, config, forwardOnly }: PassRequest): Uint8Array {
  const tensor = ({ values, integer }: Inputs[string]) => ({
    dense: bytesOf(integer ? BigInt64Array.from(Array.from(values, BigInt)) : Float32Array.from(values)),
    dtype: integer ? INT64 : FLOAT32,
    shape: [values.length],
  });
  const message = {
    model_id: modelId,
    seq_id: number,
    data: rows.map((row) => ({
      model_input: [{ encoded_text: { tokens: bytesOf(Int32Array.from(row.tokens)) } }],
      loss_fn_inputs: Object.fromEntries(Object.entries(inputsOf(row)).map(([name, input]) => [name, tensor(input)])),
    })),
    loss_fn: lossFn,
    loss_fn_config: config,
    forward_only: forwardOnly,
  };
  return REQUEST.encode(message).finish();
}

/** The same as JSON; a forward pass alone is a call of its own there. */
export function passAsJson({ modelId, number, rows, lossFn, config, forwardOnly }: PassRequest): unknown {
  const input = {
    data: rows.map((row) => ({
      model_input: { chunks: [{ type: "encoded_text", tokens: row.tokens }] },
      loss_fn_inputs: Object.fromEntries(
        Object.entries(inputsOf(row)).map(([name, { values, integer }]) => [
          name,
          { data: Array.from(values), dtype: integer ? "int64" : "float32", shape: [values.length] },
        ]),
      ),
    })),
    loss_fn: lossFn,
    ...(Object.keys(config).length > 0 && { loss_fn_config: config }),
  };
  return {
    model_id: modelId,
    seq_id: number,
    [forwardOnly ? "forward_input" : "forward_backward_input"]: input,
  };
}

const NUMBERS = z.array(z.number());
const JSON_PASS = z.object({
  loss_fn_outputs: z.array(z.record(z.string(), z.union([NUMBERS, z.object({ data: NUMBERS })]))),
  metrics: z.record(z.string(), z.number()).nullish(),
});
const JSON_SAMPLES = z.object({
  sequences: z.array(
    z.object({ tokens: NUMBERS, logprobs: NUMBERS.nullish(), stop_reason: z.enum(["stop", "length"]) }),
  ),
});

/** Errors: WEIR_E_REMOTE for a body that is no output of a pass. */
export function decodePass(body: Uint8Array | { readonly json: unknown }): PassOutput {
  return decoded("a training pass", () => {
    const { records, metrics } = "json" in body ? passFromJson(body.json) : passFromBytes(body);
    return {
      logprobs: records.map((fields) => {
        if (fields.logprobs === undefined) throw new Error("an output without logprobs");
        return fields.logprobs;
      }),
      metrics,
    };
  });
}

/** Errors: WEIR_E_REMOTE for a body that holds no samples. */
export function decodeSamples(body: Uint8Array | { readonly json: unknown }): SampleOutput {
  return decoded("sampling", () => {
    if ("json" in body)
      return {
        sequences: JSON_SAMPLES.parse(body.json).sequences.map(({ tokens, logprobs, stop_reason }) => ({
          tokens,
          logprobs: logprobs ?? [],
          stopped: stop_reason === "stop",
        })),
      };
    const { sequences } = SAMPLES.toObject(SAMPLES.decode(body), { arrays: true }) as {
      readonly sequences: readonly {
        readonly stop_reason?: number;
        readonly tokens?: Uint8Array;
        readonly logprobs?: Uint8Array;
      }[];
    };
    return {
      sequences: sequences.map(({ stop_reason = 0, tokens, logprobs }) => ({
        tokens: Array.from(new Int32Array(aligned(tokens))),
        logprobs: Array.from(new Float32Array(aligned(logprobs))),
        stopped: stop_reason !== LENGTH,
      })),
    };
  });
}

type Fields = Readonly<Record<string, readonly number[]>>;

function passFromJson(json: unknown): { records: Fields[]; metrics: PassOutput["metrics"] } {
  const { loss_fn_outputs, metrics } = JSON_PASS.parse(json);
  const records = loss_fn_outputs.map((output) =>
    Object.fromEntries(
      Object.entries(output).map(([name, found]) => [name, Array.isArray(found) ? found : found.data]),
    ),
  );
  return { records, metrics: metrics ?? {} };
}

interface ArrayRecord {
  readonly fields: Readonly<Record<string, BatchedTensor>>;
  readonly num_datums: number;
}

interface BatchedTensor {
  readonly data?: Uint8Array;
  readonly offsets?: Uint8Array;
  readonly dtype?: number;
}

function passFromBytes(body: Uint8Array): { records: Fields[]; metrics: PassOutput["metrics"] } {
  const { loss_fn_outputs, metrics } = OUTPUT.toObject(OUTPUT.decode(body), {
    arrays: true,
    objects: true,
    longs: Number,
  }) as { readonly loss_fn_outputs: readonly ArrayRecord[]; readonly metrics: Record<string, number> };
  const records = loss_fn_outputs.flatMap(({ fields, num_datums = 0 }) => {
    const rows = Array.from({ length: num_datums }, (): Record<string, readonly number[]> => ({}));
    for (const [name, tensor] of Object.entries(fields))
      splitRows(tensor, num_datums).forEach((values, i) => {
        (rows[i] as Record<string, readonly number[]>)[name] = values;
      });
    return rows;
  });
  return { records, metrics };
}

/** The rows of a batched tensor; its offsets are in bytes, one more than there are rows. */
function splitRows({ data, offsets, dtype }: BatchedTensor, count: number): number[][] {
  const bytes = aligned(data);
  const values =
    dtype === FLOAT32
      ? Array.from(new Float32Array(bytes))
      : dtype === INT32
        ? Array.from(new Int32Array(bytes))
        : dtype === INT64
          ? Array.from(new BigInt64Array(bytes), Number)
          : fail(`values of type ${dtype ?? 0}`);
  const width = dtype === INT64 ? 8 : 4;
  const ends = Array.from(new BigInt64Array(aligned(offsets)), (end) => Number(end) / width);
  if (ends.length !== count + 1) fail(`${ends.length} offsets of ${count} rows`);
  return Array.from({ length: count }, (_, i) => values.slice(ends[i], ends[i + 1]));
}

/** A copy whose first byte lies where typed arrays need it. */
function aligned(bytes: Uint8Array | undefined): ArrayBuffer {
  return Uint8Array.from(bytes ?? []).buffer;
}

function fail(what: string): never {
  throw new Error(what);
}

function decoded<T>(of: string, read: () => T): T {
  try {
    return read();
  } catch (cause) {
    const what = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new WeirError("WEIR_E_REMOTE", `the server's answer to ${of} cannot be read: ${what}`, {}, { cause });
  }
}
