/**
 * The folder of an evaluation: `evaluation.json` (what was evaluated and how), `items.ndjson` (one line per response, appended as they
 * come), `items.parquet` (the same, in order, once all are there) and `report.json`.
 * Invariants: a line is whole or moved aside, so that a killed evaluation goes on where it was; a later line of a sample takes the place
 * of an earlier one; one writer at a time; texts of responses stay on the disk.
 */
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { EvaluatedResponse } from "../../contracts/evaluated-response.js";
import type { Json } from "../../contracts/task.js";
import { canonicalJson } from "../../data/canonical.js";
import { WeirError } from "../../errors.js";
import { PRIVATE_FOLDER, writeDurably } from "../../store/durable.js";
import { LineFile, readLines } from "../../store/line-file.js";
import { RunLock } from "../../store/lock.js";
import { encodeResponses } from "./response-columns.js";

export const SETTINGS_NAME = "evaluation.json";
export const ITEMS_NAME = "items.ndjson";
export const PARQUET_NAME = "items.parquet";
export const REPORT_NAME = "report.json";

/** A response without its text. */
export type IndexedResponse = Omit<EvaluatedResponse, "response">;

/** What an evaluation is of; two with the same may be one that goes on. */
export type EvaluationSettings = Readonly<Record<string, Json>>;

interface Place {
  readonly start: number;
  readonly end: number;
}

const scoredSchema = z.object({
  kind: z.literal("scored"),
  value: z.number(),
  scores: z.record(z.string(), z.number()),
  prediction: z.string().nullable(),
});
const failedSchema = z.object({ kind: z.enum(["unscored", "unanswered"]), code: z.string(), reason: z.string() });
const count = z.number().int().nonnegative();
const responseSchema = z.object({
  benchmark: z.string(),
  item: z.string(),
  row: count,
  source: z.string(),
  asked: z.string(),
  sample: count,
  seed: count,
  questionTokens: count.nullable(),
  promptTokens: count.nullable(),
  response: z.string().nullable(),
  responseTokens: count.nullable(),
  finish: z.enum(["stop", "length"]).nullable(),
  outcome: z.union([scoredSchema.loose(), failedSchema.loose()]),
});

/** A line as a response; null where it is none. */
function parseResponse(text: string): EvaluatedResponse | null {
  try {
    const parsed = responseSchema.safeParse(JSON.parse(text));
    return parsed.success ? (parsed.data as unknown as EvaluatedResponse) : null;
  } catch {
    return null;
  }
}

const keyOf = ({ benchmark, item, sample }: Pick<EvaluatedResponse, "benchmark" | "item" | "sample">) =>
  JSON.stringify([benchmark, item, sample]);

const withoutText = ({ response: _, ...rest }: EvaluatedResponse): IndexedResponse => rest;

/** The responses of an evaluation in the order of its benchmarks, their rows and samples. */
export function inOrder<T extends IndexedResponse>(responses: Iterable<T>, benchmarks: readonly string[]): T[] {
  const rank = new Map(benchmarks.map((name, i) => [name, i]));
  const at = (name: string) => rank.get(name) ?? benchmarks.length;
  return [...responses].sort((a, b) => at(a.benchmark) - at(b.benchmark) || a.row - b.row || a.sample - b.sample);
}

/** What a folder of an evaluation holds, without writing to it. */
export interface StoredEvaluation {
  readonly settings: EvaluationSettings;
  readonly responses: readonly IndexedResponse[];
}

/** Errors: WEIR_E_FILE_MISSING where a folder holds no evaluation; WEIR_E_DATA for settings that cannot be read. */
export async function readEvaluation(folder: string): Promise<StoredEvaluation> {
  const settings = await readSettings(folder);
  if (settings === null)
    throw new WeirError(
      "WEIR_E_FILE_MISSING",
      `${folder} holds no ${SETTINGS_NAME}; give the folder of an evaluation, as weir eval --out names it`,
      { path: folder },
    );
  const found = new Map<string, IndexedResponse>();
  const items = join(folder, ITEMS_NAME);
  if (existsSync(items))
    for (const { text } of readLines(items)) {
      const response = parseResponse(text);
      if (response !== null) found.set(keyOf(response), withoutText(response));
    }
  return { settings, responses: [...found.values()] };
}

async function readSettings(folder: string): Promise<EvaluationSettings | null> {
  const path = join(folder, SETTINGS_NAME);
  if (!existsSync(path)) return null;
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as EvaluationSettings;
  } catch (cause) {
    throw new WeirError("WEIR_E_DATA", `${path}: expected the settings of an evaluation as JSON`, { path }, { cause });
  }
  throw new WeirError("WEIR_E_DATA", `${path}: expected the settings of an evaluation as a JSON object`, { path });
}

export class EvaluationFolder {
  private readonly index = new Map<string, IndexedResponse & { readonly place: Place }>();

  private constructor(
    readonly folder: string,
    private readonly lock: RunLock,
    private file: LineFile | null,
  ) {}

  /**
   * Makes the folder, or goes on with what it holds. Errors: WEIR_E_STATE where it holds an evaluation with other settings, naming
   * those; WEIR_E_RUN_LOCKED where another process writes to it; WEIR_E_DISK.
   */
  static async open(
    folder: string,
    settings: EvaluationSettings,
    say: (notice: string) => void,
  ): Promise<EvaluationFolder> {
    await mkdir(folder, { recursive: true, mode: PRIVATE_FOLDER });
    const lock = RunLock.acquire(folder, say);
    try {
      const before = await readSettings(folder);
      if (before === null) await writeDurably(join(folder, SETTINGS_NAME), `${JSON.stringify(settings, null, 2)}\n`);
      else assertSame(folder, before, settings);
      const opened = new EvaluationFolder(folder, lock, null);
      await opened.openItems(say);
      return opened;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  private async openItems(say: (notice: string) => void): Promise<void> {
    let start = 0;
    this.file = await LineFile.open(
      join(this.folder, ITEMS_NAME),
      ({ text, end }) => {
        const response = parseResponse(text);
        if (response === null) return { reason: "it is no response", legible: false };
        this.index.set(keyOf(response), { ...withoutText(response), place: { start, end } });
        start = end;
        return null;
      },
      { buffered: false, say },
    );
  }

  get responses(): readonly IndexedResponse[] {
    return [...this.index.values()];
  }

  /** A response with its text; null where there is none yet. */
  find(benchmark: string, item: string, sample: number): EvaluatedResponse | null {
    const entry = this.index.get(keyOf({ benchmark, item, sample }));
    return entry === undefined ? null : this.whole(entry);
  }

  /** What became of it; null where there is nothing yet. */
  outcomeOf(benchmark: string, item: string, sample: number): EvaluatedResponse["outcome"]["kind"] | null {
    return this.index.get(keyOf({ benchmark, item, sample }))?.outcome.kind ?? null;
  }

  /** Appends a response; it is in the hands of the operating system when this returns. Errors: WEIR_E_DISK. */
  record(response: EvaluatedResponse): void {
    const file = this.file as LineFile;
    const start = file.size;
    file.append(JSON.stringify(response));
    this.index.set(keyOf(response), { ...withoutText(response), place: { start, end: file.size } });
  }

  /** Writes `items.parquet`, and `report.json` with what is given. Errors: WEIR_E_DISK. */
  async finish(
    report: Json,
    options: { readonly benchmarks: readonly string[]; readonly bucketOf: (tokens: number | null) => string },
  ): Promise<void> {
    const entries = inOrder(this.index.values(), options.benchmarks);
    const bytes = encodeResponses(entries, (entry) => this.whole(entry).response, options.bucketOf);
    await writeDurably(join(this.folder, PARQUET_NAME), bytes);
    await writeDurably(join(this.folder, REPORT_NAME), `${JSON.stringify(report, null, 2)}\n`);
  }

  close(): void {
    try {
      this.file?.close();
    } finally {
      this.lock.release();
    }
  }

  private whole({ place, ...indexed }: IndexedResponse & { readonly place: Place }): EvaluatedResponse {
    const content = Buffer.alloc(place.end - place.start);
    const descriptor = openSync(join(this.folder, ITEMS_NAME), "r");
    try {
      for (let done = 0; done < content.length; ) {
        const read = readSync(descriptor, content, done, content.length - done, place.start + done);
        if (read === 0) break;
        done += read;
      }
    } finally {
      closeSync(descriptor);
    }
    return { ...indexed, response: parseResponse(content.toString("utf8").trimEnd())?.response ?? null };
  }
}

function assertSame(folder: string, before: EvaluationSettings, now: EvaluationSettings): void {
  const names = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  const text = (value: Json | undefined) => (value === undefined ? "nothing" : canonicalJson(value));
  const other = names.filter((name) => text(before[name]) !== text(now[name]));
  if (other.length === 0) return;
  const changes = other.map((name) => `${name} was ${text(before[name])} and is ${text(now[name])}`);
  throw new WeirError(
    "WEIR_E_STATE",
    `${folder} holds an evaluation with other settings (${changes.join("; ")}); give another --out, or the same settings`,
    { folder, other },
  );
}
