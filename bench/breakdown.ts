/**
 * Where a training step's time goes: counts every operation of the graphs that one step runs, times each kind and shape by
 * itself, and writes the sums by kind to runs/bench/breakdown.json. The rest of the measured step is overhead.
 * Usage: npx tsx bench/breakdown.ts [f32|bf16] [batch] [length]
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BENCH_MODEL, writeRandomModel } from "../src/cli/bench/model.js";
import { randomIds } from "../src/cli/bench/random-ids.js";
import { EngineCore } from "../src/model/engine/core.js";
import { type Compiler, Compiler as Graphs } from "../src/model/tensor/graph/compile.js";
import type { GraphOperation } from "../src/model/tensor/graph/graph.js";
import { openTrace } from "../src/model/tensor/graph/tracer.js";
import type { GraphValue } from "../src/model/tensor/graph/values.js";
import { narrow } from "../src/model/tensor/kernels.js";
import { type Tensor, tf } from "../src/model/tensor/tf.js";

const [dtype = "bf16", batch = "8", length = "256"] = process.argv.slice(2);
const REPEATS = 7;
const { signal } = new AbortController();

/** Kinds of operations as the table names them. */
const KINDS: readonly (readonly [RegExp, string])[] = [
  [/^(MatMul|BatchMatMulV2|WeirProduct)$/, "matrix products"],
  [/^WeirAttention/, "attention"],
  [/^Weir(Add)?RmsNorm/, "norms and residual sums"],
  [/^WeirSwiGlu/, "gated activation"],
  [/^Weir(Rope|Qkv)/, "RoPE rotation and head layout"],
  [/^WeirLogit/, "loss over the vocabulary"],
  [/^WeirColumnSums$/, "bias gradients"],
  [/^(WeirAdamW|WeirSquaredSums)$/, "optimiser"],
  [/^WeirDigest$/, "content hash"],
  [/^Cast$/, "casts"],
  [/^(AddV2|Mul|Sub|Neg)$/, "sums and scales"],
];

const kindOf = (op: string): string => KINDS.find(([pattern]) => pattern.test(op))?.[1] ?? "other";
const specOf = ({ op, inputs, attributes }: GraphOperation): string =>
  JSON.stringify([op, inputs.map(({ dtype: type, shape, constant }) => [type, shape, constant]), attributes]);

/** Milliseconds of one operation on random inputs of its shapes. */
function time(compiler: Compiler, { op, inputs, attributes }: GraphOperation): number {
  return tf.tidy(() => {
    const fed = inputs.filter(({ constant }) => constant === null);
    const tensors = fed.map((value): Tensor => {
      const shape = [...value.shape];
      if (value.dtype === "int32") return tf.zeros(shape, "int32");
      if (value.dtype === "bool") return tf.zeros(shape, "bool");
      const random = tf.randomNormal(shape, 0, 0.1);
      return value.dtype === "bfloat16" ? compiler.run("narrow", (x: Tensor) => narrow(x), random) : random;
    });
    const run = () =>
      compiler.run(
        `only ${op} ${JSON.stringify(attributes)}`,
        (own: readonly Tensor[]) => {
          const trace = openTrace();
          let next = 0;
          const sources = inputs.map(
            ({ constant, shape, dtype: type }): GraphValue =>
              constant === null ? trace.valueOf(own[next++] as Tensor) : trace.graph.constant(constant, shape, type),
          );
          return trace.graph.add(op, sources, attributes).map((value) => trace.tensor(value));
        },
        tensors,
      );
    tf.dispose(run());
    const times = Array.from({ length: REPEATS }, () => {
      const started = performance.now();
      tf.dispose(run());
      return performance.now() - started;
    });
    return times.sort((a, b) => a - b)[Math.floor(REPEATS / 2)] as number;
  }) as unknown as number;
}

const folder = await mkdtemp(join(tmpdir(), "weir-breakdown-"));
try {
  await writeRandomModel(folder, BENCH_MODEL);
  const precision = dtype === "f32" ? "float32" : "bfloat16";
  const core = await EngineCore.open(folder, { backend: "tensorflow", threads: 0, executor: "compiled", precision });
  const rows = Array.from({ length: Number(batch) }, (_, row) => {
    const tokenIds = randomIds(BENCH_MODEL.vocab_size, Number(length) + 1, "breakdown", row);
    return { tokenIds, lossMask: tokenIds.map(() => 1) };
  });
  const optimiser = {
    learningRate: 1e-5,
    betas: [0.9, 0.999] as const,
    epsilon: 1e-8,
    weightDecay: 0.01,
    decayScope: "all" as const,
    maxGradNorm: 1,
  };
  const step = async () => {
    const started = performance.now();
    await core.sftForwardBackward({ rows, aggregation: "token-mean", microBatchTokens: 1e6 }, signal);
    core.optimStep(optimiser, false);
    return performance.now() - started;
  };
  for (let warm = 0; warm < 3; warm += 1) await step();
  const steps: number[] = [];
  for (let index = 0; index < REPEATS; index += 1) steps.push(await step());
  const whole = steps.sort((a, b) => a - b)[Math.floor(REPEATS / 2)] as number;

  const counts = new Map<string, { operation: GraphOperation; count: number }>();
  const { compiler } = (core as unknown as { executor: { compiler: Compiler } }).executor;
  compiler.observer = (graph) => {
    for (const operation of graph.operations()) {
      const key = specOf(operation);
      const entry = counts.get(key);
      if (entry === undefined) counts.set(key, { operation, count: 1 });
      else entry.count += 1;
    }
  };
  await step();
  compiler.observer = null;

  const alone = new Graphs(precision);
  const sums = new Map<string, number>();
  for (const { operation, count } of counts.values()) {
    const kind = kindOf(operation.op);
    if (kind === "other" && operation.op === "Reshape") continue;
    sums.set(kind, (sums.get(kind) ?? 0) + count * time(alone, operation));
  }
  alone.dispose();
  const share = (ms: number) => ({ ms: Math.round(ms * 10) / 10, share: `${((100 * ms) / whole).toFixed(1)} %` });
  const table = [...sums].sort((a, b) => b[1] - a[1]).map(([kind, ms]) => ({ kind, ...share(ms) }));
  const accounted = [...sums.values()].reduce((sum, ms) => sum + ms, 0);
  table.push({ kind: "not accounted for (calls, JavaScript, scheduling)", ...share(whole - accounted) });
  table.push({ kind: "whole step, median", ...share(whole) });
  const path = join(dirname(fileURLToPath(import.meta.url)), "..", "runs", "bench", "breakdown.json");
  await mkdir(dirname(path), { recursive: true });
  const text = `One training step, 20.8 M Qwen2, ${batch} × ${length} tokens, ${dtype}: each operation timed by itself, times its count (\`npx tsx bench/breakdown.ts\`).`;
  await writeFile(path, `${JSON.stringify({ text, rows: table }, null, 2)}\n`);
  for (const { kind, ms, share: part } of table) console.log(`${kind.padEnd(52)} ${String(ms).padStart(8)} ms ${part}`);
  core.dispose();
} finally {
  await rm(folder, { recursive: true });
}
