import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { counterKey } from "../../algorithms/random.js";
import type { ChatMessage, Task } from "../../contracts/task.js";
import {
  DEMO_RELATIONS,
  demonstration,
  demonstrationStyle,
  generateTasks,
  verlRow,
} from "../../data/synthetic/index.js";
import { writeVerlParquet } from "../../data/write-parquet.js";
import { DEMO_HOPS, DEMO_PHASES, DEMONSTRATIONS, DIRECT_SHARE, HELDOUT_PER_BUCKET, TASKS_PER_PHASE } from "./recipe.js";

/** Makes the demo's data: training tasks per phase, held-out tasks over other entities, demonstrations for the warm-up. */

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
  countTokens: (messages: readonly ChatMessage[]) => number,
): Promise<DemoData> {
  await mkdir(folder, { recursive: true });
  const edges = DEMO_PHASES.map((phase) => phase.maxTokens);
  const generate = (split: "train" | "heldout", purpose: string, facts: readonly [number, number], count: number) =>
    generateTasks({
      seed: counterKey(seed, "demo-data", purpose),
      count,
      split,
      length: { facts },
      countTokens,
      hops: DEMO_HOPS,
      relations: DEMO_RELATIONS,
      plainNames: true,
      permute: true,
      bucketEdges: edges,
    });
  const train = DEMO_PHASES.flatMap((phase, k) => generate("train", `train-${k + 1}`, phase.facts, TASKS_PER_PHASE));
  const heldout = DEMO_PHASES.flatMap((phase, k) =>
    generate("heldout", `heldout-${k + 1}`, phase.facts, HELDOUT_PER_BUCKET),
  );
  const shown = generate("train", "demonstrations", DEMO_PHASES[0]?.facts ?? [4, 10], DEMONSTRATIONS);
  const files = {
    train: join(folder, "train.parquet"),
    heldout: join(folder, "heldout.parquet"),
    sft: join(folder, "demonstrations.jsonl"),
  };
  await writeVerlParquet(files.train, train.map(verlRow));
  await writeVerlParquet(files.heldout, heldout.map(verlRow));
  await writeFile(files.sft, `${shown.map((task) => JSON.stringify(demonstrationRow(task, seed))).join("\n")}\n`);
  return { ...files, counts: { train: train.length, heldout: heldout.length, sft: shown.length } };
}

function demonstrationRow(task: Task, seed: number): { prompt: readonly ChatMessage[]; response: string } {
  return { prompt: task.messages, response: demonstration(task, demonstrationStyle(task, DIRECT_SHARE, seed)) };
}
