/** The record of a run against peers, as kept in a JSON file, and the ratios that follow from it. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { median } from "../../algorithms/statistics.js";
import { WeirError } from "../../errors.js";
import { loadJson } from "../load-json.js";
import type { JsonObject } from "./child-process.js";
import { machineSchema } from "./machine.js";
import { type RatioSummary, ratioSummary } from "./statistics.js";

const figuresSchema = z.record(z.string(), z.number());

const rowSchema = z.object({
  id: z.string(),
  title: z.string(),
  /** Start of its first pair, ISO 8601. */
  started: z.string(),
  weir_command: z.string(),
  peer_command: z.string(),
  figures: z.array(z.object({ key: z.string(), label: z.string(), better: z.enum(["higher", "lower"]) })),
  executor: z.string(),
  /** Largest share of the processors that others used just before one of the processes began. */
  busy_share: z.number(),
  /** What both sides measured, process by process, in the order in which they ran. */
  pairs: z.array(z.object({ weir: figuresSchema, peer: figuresSchema })).min(1),
});

export const peerResultsSchema = z.object({
  schema_version: z.literal(1),
  machine: machineSchema,
  versions: z.record(z.string(), z.string()),
  rows: z.array(rowSchema),
});

export type PeerRow = z.infer<typeof rowSchema>;
export type PeerResults = z.infer<typeof peerResultsSchema>;

/** The numbers of one JSON object. */
export function numbersOf(object: JsonObject): Record<string, number> {
  return Object.fromEntries(
    Object.entries(object).filter((entry): entry is [string, number] => Number.isFinite(entry[1])),
  );
}

/**
 * The figures of a peer's process from its lines, one per step: medians over steps after the warm-up, and the largest
 * memory. Errors: WEIR_E_BENCHMARK where no step was measured.
 */
export function peerFigures(lines: readonly JsonObject[]): Record<string, number> {
  const steps = lines.filter((line) => line.warmup === false).map(numbersOf);
  const [first] = steps;
  if (first === undefined)
    throw new WeirError("WEIR_E_BENCHMARK", `a peer wrote ${lines.length} lines, none of them of a measured step`, {});
  return Object.fromEntries(
    Object.keys(first).map((key) => {
      const values = steps.map((step) => step[key] ?? Number.NaN);
      return [key, key === "max_rss_gb" ? Math.max(...values) : median(values)];
    }),
  );
}

export interface FigureComparison {
  readonly label: string;
  /** Medians over processes. */
  readonly weir: number;
  readonly peer: number;
  readonly ratio: RatioSummary;
}

/** Errors: WEIR_E_BENCHMARK where a side lacks a figure. */
export function comparisons(row: PeerRow): FigureComparison[] {
  return row.figures.map(({ key, label, better }) => {
    const side = (name: "weir" | "peer") =>
      row.pairs.map((pair) => {
        const value = pair[name][key];
        if (value !== undefined) return value;
        throw new WeirError("WEIR_E_BENCHMARK", `${row.id}: ${name} gave no ${key}`, { id: row.id, key });
      });
    const [weir, peer] = [side("weir"), side("peer")];
    return { label, weir: median(weir), peer: median(peer), ratio: ratioSummary(weir, peer, better) };
  });
}

/** Replaces the row with the same id. */
export function withRow(results: PeerResults, row: PeerRow): PeerResults {
  const rows = results.rows.some(({ id }) => id === row.id)
    ? results.rows.map((old) => (old.id === row.id ? row : old))
    : [...results.rows, row];
  return { ...results, rows };
}

/**
 * Results to continue: those of the file if it is the same machine and no program of both has another version, else none. A run against
 * one peer alone keeps the rows of the others.
 */
export async function openResults(file: string, fresh: PeerResults): Promise<PeerResults> {
  try {
    const old = await loadJson(file, peerResultsSchema);
    const sameMachine = JSON.stringify(old.machine) === JSON.stringify(fresh.machine);
    const agree = Object.entries(fresh.versions).every(
      ([name, version]) => (old.versions[name] ?? version) === version,
    );
    return sameMachine && agree ? { ...old, versions: { ...old.versions, ...fresh.versions } } : fresh;
  } catch (error) {
    if (WeirError.isInstance(error) && error.code === "WEIR_E_FILE_MISSING") return fresh;
    throw error;
  }
}

export async function saveResults(file: string, results: PeerResults): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, `${JSON.stringify(results, null, 2)}\n`);
}
