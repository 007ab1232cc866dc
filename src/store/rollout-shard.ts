/**
 * Rollout shards: `rollouts/step-00010.parquet`, one row per rollout of the step, written whole or not at all.
 * Columns are snake_case; token ids, texts, log-probs, entropies and weights are lists, so that they open in duckdb and pandas.
 */
import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, type SchemaElement } from "hyparquet";
import { ByteWriter, ParquetWriter } from "hyparquet-writer";
import { BEHAVIOURS, type BehaviourCounts, type BehaviourSpan } from "../contracts/behaviour.js";
import type { RewardOutcome } from "../contracts/reward.js";
import type { FinishReason } from "../contracts/rollout.js";
import type { Trace } from "../contracts/trace.js";
import { WeirError } from "../errors.js";
import { observedFile } from "../system/observed-file.js";
import { stepName } from "./checkpoint-store.js";
import { writeDurably } from "./durable.js";

const SCHEMA_VERSION = 1;
const NAME = /^step-(\d+)\.parquet$/;

type Cell = "text" | "integer" | "long" | "real" | "flag" | "texts" | "integers" | "reals";

/** Column name, kind, and its value in a trace. */
type Column = readonly [string, Cell, (trace: Trace) => unknown];

/** What is known per token comes from float32 arithmetic and is stored so. */
const COLUMNS: readonly Column[] = [
  ["schema_version", "integer", () => SCHEMA_VERSION],
  ["id", "text", (trace) => trace.id],
  ["group_id", "text", (trace) => trace.groupId],
  ["task_id", "text", (trace) => trace.taskId],
  ["source", "text", (trace) => trace.source],
  ["step", "integer", (trace) => trace.step],
  ["phase", "integer", (trace) => trace.phase],
  ["sample_index", "integer", (trace) => trace.sampleIndex],
  ["carried", "flag", (trace) => trace.carried],
  ["policy_version", "integer", (trace) => trace.policyVersion],
  ["lag", "integer", (trace) => trace.lag],
  ["prompt", "text", (trace) => trace.prompt],
  ["completion", "text", (trace) => trace.completion],
  ["gold_answer", "text", (trace) => trace.goldAnswer],
  ["outcome", "text", (trace) => trace.outcome.kind],
  ["outcome_json", "text", (trace) => JSON.stringify(trace.outcome)],
  ["score", "real", (trace) => (trace.outcome.kind === "scored" ? trace.outcome.value : null)],
  ["reward", "real", (trace) => trace.reward],
  ["advantage", "real", (trace) => trace.advantage],
  ["prompt_tokens", "integer", (trace) => trace.promptTokens],
  ["response_tokens", "integer", (trace) => trace.tokens.length],
  ["token_ids", "integers", (trace) => trace.tokens.map((token) => token.id)],
  ["token_texts", "texts", (trace) => trace.tokens.map((token) => token.text)],
  ["logprobs", "reals", (trace) => trace.tokens.map((token) => token.logprob)],
  ["entropies", "reals", (trace) => trace.tokens.flatMap(({ entropy }) => entropy ?? [])],
  ["weights", "reals", (trace) => trace.tokens.flatMap(({ weight }) => weight ?? [])],
  ["advantages", "reals", (trace) => trace.tokens.flatMap(({ advantage }) => advantage ?? [])],
  ["ratios", "reals", (trace) => trace.tokens.flatMap(({ ratio }) => ratio ?? [])],
  ["kl_old", "reals", (trace) => trace.tokens.flatMap(({ klOld }) => klOld ?? [])],
  ["kl_ref", "reals", (trace) => trace.tokens.flatMap(({ klRef }) => klRef ?? [])],
  ["loss_shares", "reals", (trace) => trace.tokens.flatMap(({ lossShare }) => lossShare ?? [])],
  ...BEHAVIOURS.flatMap((behaviour): readonly Column[] => [
    [behaviour, "integer", (trace) => trace.behaviours.filter((span) => span.behaviour === behaviour).length],
    [`judged_${behaviour}`, "integer", (trace) => trace.judgedBehaviours?.[behaviour] ?? null],
  ]),
  // Intervals of tokens in which behaviours show, the end excluded.
  ["behaviour_names", "texts", (trace) => trace.behaviours.map(({ behaviour }) => behaviour)],
  ["behaviour_starts", "integers", (trace) => trace.behaviours.map(({ start }) => start)],
  ["behaviour_ends", "integers", (trace) => trace.behaviours.map(({ end }) => end)],
  ["finish", "text", (trace) => trace.finish],
  ["time_ms", "long", (trace) => BigInt(Math.round(trace.time))],
];

function leaf(name: string, kind: Cell): SchemaElement {
  const repetition_type = "OPTIONAL" as const;
  if (kind === "text") return { name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type };
  const types = { integer: "INT32", long: "INT64", real: "DOUBLE", flag: "BOOLEAN" } as const;
  return { name, type: types[kind as keyof typeof types], repetition_type };
}

function elements(name: string, kind: Cell): SchemaElement[] {
  if (kind !== "texts" && kind !== "integers" && kind !== "reals") return [leaf(name, kind)];
  const items = {
    texts: leaf("element", "text"),
    integers: leaf("element", "integer"),
    reals: leaf("element", "real"),
  };
  const item: SchemaElement = kind === "reals" ? { ...items.reals, type: "FLOAT" } : items[kind];
  return [
    { name, repetition_type: "OPTIONAL", converted_type: "LIST", num_children: 1 },
    { name: "list", repetition_type: "REPEATED", num_children: 1 },
    item,
  ];
}

/** Key of the footer under which `LENGTH SHA-256` of the data before it is kept. */
const DIGEST = "weir.data";

function digestOf(data: Uint8Array): string {
  return `${data.byteLength} ${createHash("sha256").update(data).digest("hex")}`;
}

/** The parquet file of some traces. */
export function encodeTraces(traces: readonly Trace[]): Uint8Array {
  const writer = new ByteWriter();
  const file = new ParquetWriter({
    writer,
    schema: [
      { name: "root", num_children: COLUMNS.length },
      ...COLUMNS.flatMap(([name, kind]) => elements(name, kind)),
    ],
    createdBy: "weir",
  });
  file.write({ columnData: COLUMNS.map(([name, , value]) => ({ name, data: traces.map(value) })) });
  file.kvMetadata = [{ key: DIGEST, value: digestOf(writer.getBytes()) }];
  file.finish();
  return writer.getBytes();
}

/**
 * A shard whose data is what was written: a damaged page header can keep the library in a loop, so the data is compared with its
 * digest before it is decoded. Throws where it is other data; shards without a digest are taken as they are.
 */
async function openShard(path: string) {
  const file = observedFile(await asyncBufferFromFile(path));
  const metadata = await parquetMetadataAsync(file);
  const digest = metadata.key_value_metadata?.find(({ key }) => key === DIGEST)?.value;
  if (digest !== undefined) {
    const data = await file.slice(0, Number.parseInt(digest, 10));
    if (digestOf(new Uint8Array(data)) !== digest) throw new Error("its data is not what was written");
  }
  return { file, metadata };
}

/** Writes the rollouts of a step; resolves to the file's path. */
export async function writeRollouts(folder: string, step: number, traces: readonly Trace[]): Promise<string> {
  const path = join(folder, `${stepName(step)}.parquet`);
  await writeDurably(path, encodeTraces(traces));
  return path;
}

/** Steps that have a shard, growing. */
export async function rolloutSteps(folder: string): Promise<number[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  return names.flatMap((name) => (NAME.test(name) ? [Number(NAME.exec(name)?.[1])] : [])).sort((a, b) => a - b);
}

/** Name of a folder of shards that a rollback has undone, numbered from 1. */
export const undoneName = (n: number): string => `rolledback-${n}`;

/** Folders of shards that rollbacks have undone, the newest first. */
export async function undoneRollouts(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => [] as string[]);
  const numbers = names
    .flatMap((name) => Number(/^rolledback-(\d+)$/.exec(name)?.[1] ?? Number.NaN))
    .filter(Number.isInteger);
  return numbers.sort((a, b) => b - a).map((n) => join(folder, undoneName(n)));
}

interface Row {
  readonly [column: string]: unknown;
}

const numbers = (row: Row, column: string) => (row[column] ?? []) as readonly number[];
const optional = (row: Row, column: string) => (row[column] ?? null) as number | null;

/** Reads the rollouts of a step back. Errors: WEIR_E_RUN_FOLDER where the step has no shard or it is damaged. */
export async function readRollouts(folder: string, step: number): Promise<Trace[]> {
  const path = join(folder, `${stepName(step)}.parquet`);
  try {
    const rows = (await parquetReadObjects(await openShard(path))) as Row[];
    return rows.map(traceOf);
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_RUN_FOLDER",
      `${path}: expected the rollouts of step ${step}, they cannot be read (${(cause as Error).message}); other steps can`,
      { path, step },
      { cause },
    );
  }
}

/** Throws where a row of a damaged file lacks what every row has. */
function traceOf(row: Row): Trace {
  if (typeof row.id !== "string" || typeof row.outcome_json !== "string") throw new Error("a row has no id or outcome");
  const logprobs = numbers(row, "logprobs");
  const entropies = numbers(row, "entropies");
  const weights = numbers(row, "weights");
  const advantages = numbers(row, "advantages");
  const ratios = numbers(row, "ratios");
  const klOld = numbers(row, "kl_old");
  const klRef = numbers(row, "kl_ref");
  const lossShares = numbers(row, "loss_shares");
  const texts = (row.token_texts ?? []) as readonly string[];
  return {
    id: row.id as string,
    groupId: row.group_id as string,
    taskId: row.task_id as string,
    source: row.source as string,
    step: row.step as number,
    phase: row.phase as number,
    sampleIndex: row.sample_index as number,
    carried: row.carried as boolean,
    policyVersion: row.policy_version as number,
    lag: optional(row, "lag"),
    prompt: row.prompt as string,
    completion: row.completion as string,
    goldAnswer: row.gold_answer as string,
    outcome: JSON.parse(row.outcome_json as string) as RewardOutcome,
    reward: optional(row, "reward"),
    advantage: optional(row, "advantage"),
    promptTokens: row.prompt_tokens as number,
    tokens: numbers(row, "token_ids").map((id, t) => ({
      id,
      text: texts[t] ?? "",
      logprob: logprobs[t] ?? 0,
      entropy: entropies[t] ?? null,
      weight: weights[t] ?? null,
      advantage: advantages[t] ?? null,
      ratio: ratios[t] ?? null,
      klOld: klOld[t] ?? null,
      klRef: klRef[t] ?? null,
      lossShare: lossShares[t] ?? null,
    })),
    behaviours: behavioursOf(row),
    judgedBehaviours: judgedOf(row),
    finish: row.finish as FinishReason,
    time: Number(row.time_ms),
  };
}

/** None in a shard from before behaviours were found. */
function behavioursOf(row: Row): BehaviourSpan[] {
  const names = (row.behaviour_names ?? []) as readonly BehaviourSpan["behaviour"][];
  const [starts, ends] = [numbers(row, "behaviour_starts"), numbers(row, "behaviour_ends")];
  return names.map((behaviour, i) => ({ behaviour, start: starts[i] ?? 0, end: ends[i] ?? 0 }));
}

function judgedOf(row: Row): BehaviourCounts | null {
  const counts = BEHAVIOURS.map((behaviour) => [behaviour, optional(row, `judged_${behaviour}`)] as const);
  return counts.some(([, count]) => count === null) ? null : (Object.fromEntries(counts) as unknown as BehaviourCounts);
}

/** One rollout of a step; null where the shard has no such id. Errors: as for `readRollouts`. */
export async function readRollout(folder: string, step: number, id: string): Promise<Trace | null> {
  const path = join(folder, `${stepName(step)}.parquet`);
  try {
    const shard = await openShard(path);
    const ids = (await parquetReadObjects({ ...shard, columns: ["id"] })) as Row[];
    const at = ids.findIndex((row) => row.id === id);
    if (at < 0) return null;
    const [row] = (await parquetReadObjects({ ...shard, rowStart: at, rowEnd: at + 1 })) as Row[];
    return row ? traceOf(row) : null;
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_RUN_FOLDER",
      `${path}: expected rollout "${id}" of step ${step}, the shard cannot be read: ${(cause as Error).message}`,
      { path, step, id },
      { cause },
    );
  }
}

/** What a list of a group's rollouts shows of each. */
export interface RolloutMember {
  readonly id: string;
  readonly sampleIndex: number;
  readonly outcome: RewardOutcome["kind"];
  readonly reward: number | null;
  readonly advantage: number | null;
}

const MEMBER_COLUMNS = ["id", "group_id", "sample_index", "outcome", "reward", "advantage"];

/** The rollouts of a group, without prompts and tokens. Errors: WEIR_E_RUN_FOLDER where the step has no shard or it is damaged. */
export async function readMembers(folder: string, step: number, groupId: string): Promise<RolloutMember[]> {
  const path = join(folder, `${stepName(step)}.parquet`);
  try {
    const rows = (await parquetReadObjects({ ...(await openShard(path)), columns: MEMBER_COLUMNS })) as Row[];
    return rows
      .filter((row) => row.group_id === groupId)
      .map((row) => ({
        id: row.id as string,
        sampleIndex: row.sample_index as number,
        outcome: row.outcome as RewardOutcome["kind"],
        reward: optional(row, "reward"),
        advantage: optional(row, "advantage"),
      }));
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_RUN_FOLDER",
      `${path}: expected the rollouts of group "${groupId}", they cannot be read (${(cause as Error).message}); other steps can`,
      { path, step, groupId },
      { cause },
    );
  }
}
