/**
 * Further tables of the benchmark page, read from JSON files next to the peers' results: a list of flat records, an object
 * with such a list under `rows` (and `title`, `text` where it has its own), or one flat record. Unknown files become
 * sections too, named by their file.
 */
import { readdir } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { loadJson } from "../load-json.js";
import { lengthFigure } from "./length-figure.js";
import type { Section } from "./page.js";

const cellSchema = z.union([z.string(), z.number(), z.boolean(), z.null()]);
const recordSchema = z.record(z.string(), cellSchema);
const fileSchema = z.union([
  z.array(recordSchema),
  z.looseObject({ title: z.string().optional(), text: z.string().optional(), rows: z.array(recordSchema).optional() }),
]);

/** Files with a fixed place on the page, in this order. */
const KNOWN: Readonly<Record<string, { readonly title: string; readonly text: string }>> = {
  breakdown: { title: "Where a step's time goes", text: "Milliseconds of one step by kind of operation." },
  length: {
    title: "Time and memory against length",
    text: "One optimiser step (forward, backward, update) over one prompt and its group, a fresh engine process per length: `weir bench length`. `max_rss_gb` is the process's peak, `planned_gb` what the engine had planned for.",
  },
  soak: {
    title: "Memory over many steps",
    text: "Resident memory of the engine process over RL steps of a small model; the slope is the least-squares line over the last four fifths: `weir bench soak`.",
  },
  overlap: {
    title: "Sampling during the update",
    text: "The demo's policy (0.8 M) with the sampler and the trainer in processes of their own: `weir bench overlap`. `threads` are those of each process; `ratio` is of steps per second against the first row, mean over pairs of runs [95 % interval]; the last columns are shares of the time in which sampler, trainer and both at once were at work.",
  },
  "gradient-error": {
    title: "Gradients in bf16",
    text: "Error of the gradient of each tensor in bf16 against float32, at the same weights and tokens.",
  },
};

type FileContent = z.infer<typeof fileSchema>;

/** The section that a file's content stands for. */
export function sectionOf(name: string, content: FileContent): Section {
  const known = KNOWN[name] ?? { title: name, text: "" };
  if (Array.isArray(content)) return { ...known, rows: content };
  const { title = known.title, text = known.text, rows, ...rest } = content;
  if (rows !== undefined) return { title, text, rows, ...(name === "length" ? { figure: figureOf(rows) } : {}) };
  const record: Record<string, z.infer<typeof cellSchema>> = {};
  for (const [key, value] of Object.entries(rest)) {
    const cell = cellSchema.safeParse(value);
    if (cell.success) record[key] = cell.data;
  }
  return { title, text, rows: [record] };
}

function figureOf(rows: readonly Readonly<Record<string, unknown>>[]): string {
  return lengthFigure(
    rows.flatMap(({ length, seconds }) =>
      typeof length === "number" && typeof seconds === "number" ? [{ length, seconds }] : [],
    ),
  );
}

/** Sections of all JSON files of a folder but `except`, the known ones first. Errors: WEIR_E_DATA. */
export async function readSections(directory: string, except: string): Promise<Section[]> {
  const names = (await readdir(directory).catch(() => []))
    .filter((file) => file.endsWith(".json") && file !== except)
    .map((file) => basename(file, ".json"));
  const order = [...Object.keys(KNOWN).filter((name) => names.includes(name))];
  order.push(...names.filter((name) => !(name in KNOWN)).sort());
  return Promise.all(
    order.map(async (name) => sectionOf(name, await loadJson(join(directory, `${name}.json`), fileSchema))),
  );
}
