import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { counterKey } from "../../algorithms/random.js";
import type { ChatMessage, Task } from "../../contracts/task.js";
import {
  DEMO_RELATIONS,
  demonstration,
  demonstrationStyle,
  generateTasks,
  type LengthDial,
  verlRow,
} from "../../data/synthetic/index.js";
import { writeVerlParquet } from "../../data/write-parquet.js";
import type { DemoRecipe } from "./recipe.js";

/** Makes a recipe's data: training tasks per phase, held-out tasks over other entities, demonstrations for the warm-up. */

/** Input of the data besides the seed and the tokenizer. */
export type DataDials = Pick<DemoRecipe, "hops" | "phases" | "tasksPerPhase" | "heldoutPerBucket" | "demonstrations">;

export interface DemoData {
  readonly train: string;
  readonly heldout: string;
  readonly sft: string;
  readonly counts: { readonly train: number; readonly heldout: number; readonly sft: number };
}

/** Writes the three files into `folder`; the same seed gives the same files. */
export async function makeDemoData(
  folder: string,
  seed: number,
  dials: DataDials,
  countTokens: (messages: readonly ChatMessage[]) => number,
): Promise<DemoData> {
  const { phases, demonstrations } = dials;
  await mkdir(folder, { recursive: true });
  const generate = (split: "train" | "heldout", purpose: string, length: LengthDial, count: number) =>
    generateTasks({
      seed: counterKey(seed, "demo-data", purpose),
      count,
      split,
      length,
      countTokens,
      hops: dials.hops,
      relations: DEMO_RELATIONS,
      plainNames: true,
      permute: true,
      bucketEdges: phases.map((phase) => phase.maxTokens),
    });
  const train = phases.flatMap(({ length }, k) => generate("train", `train-${k + 1}`, length, dials.tasksPerPhase));
  const heldout = phases.flatMap(({ length }, k) =>
    generate("heldout", `heldout-${k + 1}`, length, dials.heldoutPerBucket),
  );
  const shown = generate("train", "demonstrations", demonstrations.length, demonstrations.count);
  const row = (task: Task) => {
    const style = demonstrationStyle(task, demonstrations.directShare, seed);
    return { prompt: task.messages, response: demonstration(task, style, demonstrations.form) };
  };
  const files = {
    train: join(folder, "train.parquet"),
    heldout: join(folder, "heldout.parquet"),
    sft: join(folder, "demonstrations.jsonl"),
  };
  await writeVerlParquet(files.train, train.map(verlRow));
  await writeVerlParquet(files.heldout, heldout.map(verlRow));
  await writeFile(files.sft, `${shown.map((task) => JSON.stringify(row(task))).join("\n")}\n`);
  return { ...files, counts: { train: train.length, heldout: heldout.length, sft: shown.length } };
}
