/**
 * The error of bfloat16 gradients: one policy batch on the same weights in float32 and in bfloat16, and by kind of tensor
 * ‖g16 − g32‖ / ‖g32‖ and the cosine between the two. Writes runs/bench/gradient-error.json.
 * Usage: npx tsx bench/gradient-error.ts [model folder]
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BENCH_MODEL, writeRandomModel } from "../src/cli/bench/model.js";
import { randomIds } from "../src/cli/bench/random-ids.js";
import { EngineCore } from "../src/model/engine/core.js";
import type { GradientStore } from "../src/model/transformer/gradients.js";

const { signal } = new AbortController();
const folder = process.argv[2] ?? (await mkdtemp(join(tmpdir(), "weir-gradients-")));
if (process.argv[2] === undefined) await writeRandomModel(folder, BENCH_MODEL);

async function gradients(precision: "float32" | "bfloat16") {
  const core = await EngineCore.open(folder, { backend: "tensorflow", threads: 0, executor: "compiled", precision });
  const rows = Array.from({ length: 4 }, (_, row) => {
    const tokenIds = randomIds(Math.min(core.modelInfo.vocabSize, 8192), 257, "gradient-error", row);
    return { tokenIds, lossMask: tokenIds.map(() => 1) };
  });
  const { loss } = await core.sftForwardBackward({ rows, aggregation: "token-mean", microBatchTokens: 1e6 }, signal);
  const store = (core as unknown as { learner: { gradients: GradientStore } }).learner.gradients;
  const found = new Map(store.names().map((name) => [name, store.get(name)?.dataSync<"float32">().slice()]));
  core.dispose();
  return { loss, found };
}

const exact = await gradients("float32");
const half = await gradients("bfloat16");
const kinds = new Map<string, { error: number; norm: number; dot: number; other: number; tensors: number }>();
for (const [name, g32] of exact.found) {
  const g16 = half.found.get(name);
  if (g32 === undefined || g16 === undefined) continue;
  const kind = name.replace(/^model\.layers\.\d+\./, "");
  const sums = kinds.get(kind) ?? { error: 0, norm: 0, dot: 0, other: 0, tensors: 0 };
  for (let i = 0; i < g32.length; i += 1) {
    const [a, b] = [g32[i] as number, g16[i] as number];
    sums.error += (b - a) ** 2;
    sums.norm += a * a;
    sums.other += b * b;
    sums.dot += a * b;
  }
  sums.tensors += 1;
  kinds.set(kind, sums);
}
const rows = [...kinds].map(([tensor, { error, norm, dot, other, tensors }]) => ({
  tensor,
  tensors,
  "relative error": Math.sqrt(error / norm).toExponential(1),
  cosine: (dot / Math.sqrt(norm * other)).toFixed(6),
}));
const text = `Gradient of the supervised loss over 4 × 256 tokens in bfloat16 against float32, both compiled, by kind of tensor over all layers; loss ${half.loss.toFixed(5)} against ${exact.loss.toFixed(5)} (\`npx tsx bench/gradient-error.ts\`).`;
const path = join(dirname(fileURLToPath(import.meta.url)), "..", "runs", "bench", "gradient-error.json");
await mkdir(dirname(path), { recursive: true });
await writeFile(path, `${JSON.stringify({ text, rows }, null, 2)}\n`);
for (const row of rows) console.log(JSON.stringify(row));
if (process.argv[2] === undefined) await rm(folder, { recursive: true });
