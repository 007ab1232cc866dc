/** The kernels of decoding and of the content hash against plain JavaScript. */
import { spawnSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { normal, uniform } from "../../src/algorithms/random.js";
import type { EnginePrecision } from "../../src/contracts/engine.js";
import { openBackend } from "../../src/model/engine/backend.js";
import { Compiler } from "../../src/model/tensor/graph/compile.js";
import { narrow, widen } from "../../src/model/tensor/kernels.js";
import { loadKernels, locateNative } from "../../src/model/tensor/native/index.js";
import { type Tensor, tf } from "../../src/model/tensor/tf.js";
import { tensorDigest } from "../../src/model/transformer/content-hash.js";
import {
  columnSums,
  type DecodeAttentionInputs,
  decodeAttention,
  digestsOf,
  packedGatedProduct,
  packedProduct,
  packMatrix,
  selectToken,
} from "../../src/model/transformer/fused-kernels.js";

const usable = locateNative().found && (await openBackend("auto", 0)).backend === "tensorflow" && loadKernels().loaded;
if (!usable) process.stdout.write(`decode kernels: left out, ${loadKernels().reason}\n`);

const POOL = new URL("./children/pool-soak.ts", import.meta.url).pathname;

const numbers = (key: number, count: number) => Float32Array.from({ length: count }, (_, i) => normal(key, i));
const rows = <T>(values: ArrayLike<T>, width: number): T[][] => {
  const all = Array.from(values);
  return Array.from({ length: all.length / width }, (_, row) => all.slice(row * width, (row + 1) * width));
};

describe.skipIf(!usable)("kernels of decoding", () => {
  let compilers: Record<EnginePrecision, Compiler>;
  beforeAll(() => {
    compilers = { float32: new Compiler("float32"), bfloat16: new Compiler("bfloat16") };
  });
  afterAll(() => {
    for (const compiler of Object.values(compilers)) compiler.dispose();
  });

  it.each([
    ["float32", 1, 8, 3],
    ["float32", 5, 33, 65],
    ["float32", 13, 64, 128],
    ["float32", 32, 577, 70],
    ["bfloat16", 1, 7, 64],
    ["bfloat16", 6, 128, 200],
    ["bfloat16", 31, 65, 129],
  ] as const)(
    "multiplies few rows with a packed matrix (%s, %i rows, %i in, %i out)",
    (precision, count, width, out) => {
      const [x, w, bias] = [numbers(1, count * width), numbers(2, out * width), numbers(3, out)];
      const gate = numbers(4, count * out).map((value) => 4 * value);
      const compiler = compilers[precision];
      const packed = compiler.run("pack", (own: Tensor) => packMatrix(own), tf.tensor2d(w, [out, width]));
      const inputs = { x: tf.tensor2d(x, [count, width]), packed, bias: tf.tensor1d(bias) };
      const plain = compiler.run(
        `product ${out}`,
        (own: typeof inputs) => packedProduct(own.x, own.packed, own.bias, out),
        inputs,
      );
      const gated = compiler.run(
        `gated product ${out}`,
        (own: typeof inputs & { gate: Tensor }) => packedGatedProduct(own.x, own.packed, own.bias, own.gate, true),
        { ...inputs, gate: tf.tensor2d(gate, [count, out]) },
      );
      expect((gated.up as Tensor).dataSync()).toEqual(plain.dataSync());
      const [found, foundGated] = [plain, gated.act].map((y) => rows(y.dataSync<"float32">(), out));
      const tolerance = precision === "float32" ? 1e-5 : 1e-2;
      rows(x, width).forEach((row, r) => {
        rows(w, width).forEach((column, c) => {
          const exact = column.reduce((sum, value, i) => sum + value * (row[i] as number), bias[c] as number);
          const scale = column.reduce((sum, value, i) => sum + Math.abs(value * (row[i] as number)), 1);
          expect(Math.abs((found?.[r]?.[c] as number) - exact)).toBeLessThanOrEqual(tolerance * scale);
          const g = gate[r * out + c] as number;
          const silu = g / (1 + Math.exp(-g));
          const gap = Math.abs((foundGated?.[r]?.[c] as number) - silu * exact);
          expect(gap).toBeLessThanOrEqual(tolerance * scale * Math.max(1, Math.abs(silu)));
        });
      });
    },
  );

  /** One new token per row, in float64: the heads of one key head of one prompt follow each other. */
  function attended(queries: readonly number[][], keys: readonly number[][], values: readonly number[][]): number[][] {
    return queries.map((q) => {
      const scores = keys.map((k) => k.reduce((sum, x, d) => sum + x * (q[d] as number), 0));
      const top = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((sum, w) => sum + w, 0);
      return q.map((_, d) => values.reduce((sum, v, j) => sum + (v[d] as number) * (weights[j] as number), 0) / total);
    });
  }

  it.each([
    // Prefixes of few keys, of steps and chunks and a bit, and of very unlike scores; prompts of one call differ.
    ["float32", { headsPerKv: 1, group: 1, dh: 8, prefixes: [0, 1] }],
    ["float32", { headsPerKv: 4, group: 8, dh: 64, prefixes: [5, 72, 1000] }],
    ["float32", { headsPerKv: 7, group: 1, dh: 24, prefixes: [73, 149] }],
    ["float32", { headsPerKv: 3, group: 5, dh: 128, prefixes: [6, 71] }],
    ["bfloat16", { headsPerKv: 4, group: 8, dh: 64, prefixes: [3, 77, 500] }],
    ["bfloat16", { headsPerKv: 2, group: 3, dh: 16, prefixes: [145, 0] }],
  ] as const)("attends to the prefix, to the rows' own columns and to the new one (%s, %o)", (precision, shape) => {
    const { headsPerKv, group, dh, prefixes } = shape;
    const [prompts, kvHeads, columns, used, blockColumns, round] = [prefixes.length, 2, 6, 5, 4, 2];
    const [first, longest] = [prefixes.map((_, p) => p % 3), Math.max(...prefixes)];
    const [items, cacheRows, width] = [
      prompts * kvHeads,
      prompts * kvHeads * group,
      (kvHeads * headsPerKv + 2 * kvHeads) * dh,
    ];
    // Numbers that bfloat16 holds, so that its caches are exact.
    const exactly = (key: number, count: number, scale: number) =>
      numbers(key, count).map((x) => (Math.round(8 * x) / 8 + 0) * scale);
    const data = {
      qkv: exactly(11, prompts * group * width, 1),
      // The later a key, the larger its scores may be.
      prefixK: exactly(12, items * longest * dh, 1).map((x, i) => x * (Math.floor(i / dh) % longest > 80 ? 2 : 0.5)),
      prefixV: exactly(13, items * longest * dh, 1),
      ownK: exactly(14, cacheRows * columns * dh, 0.5),
      ownV: exactly(15, cacheRows * columns * dh, 1),
      blockK: exactly(16, cacheRows * blockColumns * dh, 0.5),
      blockV: exactly(17, cacheRows * blockColumns * dh, 1),
    };
    // Turned by nothing: the rotation has tests of its own.
    const constants = { cos: tf.ones([prompts, dh]), sin: tf.zeros([prompts, dh]) };
    const run = compilers[precision].run(
      `attention ${JSON.stringify(shape)}`,
      (own: Record<keyof typeof data, Tensor> & Omit<DecodeAttentionInputs, "prefix" | "own" | "block">) => {
        const pair = (k: Tensor, v: Tensor) => ({ k: narrow(k), v: narrow(v) });
        const inputs = {
          ...own,
          prefix: pair(own.prefixK, own.prefixV),
          own: pair(own.ownK, own.ownV),
          block: pair(own.blockK, own.blockV),
        };
        const { o, block } = decodeAttention(own.qkv, inputs, { prompts, group, kvHeads, headsPerKv });
        return { o, k: widen(block.k), v: widen(block.v) };
      },
      {
        ...constants,
        lengths: tf.tensor1d([...prefixes], "int32"),
        first: tf.tensor1d(first, "int32"),
        used: tf.scalar(used, "int32"),
        step: tf.scalar(round, "int32"),
        qkv: tf.tensor2d(data.qkv, [prompts * group, width]),
        prefixK: tf.tensor3d(data.prefixK, [items, longest, dh]),
        prefixV: tf.tensor3d(data.prefixV, [items, longest, dh]),
        ownK: tf.tensor3d(data.ownK, [cacheRows, columns, dh]),
        ownV: tf.tensor3d(data.ownV, [cacheRows, columns, dh]),
        blockK: tf.tensor3d(data.blockK, [cacheRows, blockColumns, dh]),
        blockV: tf.tensor3d(data.blockV, [cacheRows, blockColumns, dh]),
      },
    );
    const [o, nextK, nextV] = [run.o, run.k, run.v].map((tensor) => rows(tensor.dataSync<"float32">(), dh));
    const vectors = Object.fromEntries(Object.entries(data).map(([name, all]) => [name, rows(all, dh)])) as Record<
      keyof typeof data,
      number[][]
    >;
    const perToken = width / dh;
    const tolerance = precision === "float32" ? 2e-5 : 2e-2;
    for (let item = 0; item < items; item += 1) {
      const [p, head] = [Math.floor(item / kvHeads), item % kvHeads];
      const prefix = (all: number[][]) => all.slice(item * longest, item * longest + (prefixes[p] as number));
      for (let g = 0; g < group; g += 1) {
        const token = (p * group + g) * perToken;
        const row = item * group + g;
        const [k, v] = [0, 1].map((kind) => vectors.qkv[token + kvHeads * (headsPerKv + kind) + head] as number[]);
        const own = (cached: number[][], block: number[][], added: number[]) => [
          ...cached.slice(row * columns + (first[p] as number), row * columns + used),
          ...block.slice(row * blockColumns, row * blockColumns + round),
          added,
        ];
        const queries = vectors.qkv.slice(token + head * headsPerKv, token + (head + 1) * headsPerKv);
        const exact = attended(
          queries,
          [...prefix(vectors.prefixK), ...own(vectors.ownK, vectors.blockK, k as number[])],
          [...prefix(vectors.prefixV), ...own(vectors.ownV, vectors.blockV, v as number[])],
        );
        const found = o?.slice((p * group + g) * kvHeads * headsPerKv + head * headsPerKv).slice(0, headsPerKv);
        exact.forEach((values, i) => {
          values.forEach((value, d) => {
            expect(Math.abs((found?.[i]?.[d] as number) - value)).toBeLessThanOrEqual(tolerance);
          });
        });
        expect(nextK?.[row * blockColumns + round]).toEqual(k);
        expect(nextV?.[row * blockColumns + round]).toEqual(v);
      }
    }
  });

  /** What the kernel should choose, in float64: tokens in vocabulary order among those that are left. */
  function expected(logits: readonly number[], u: number, topK: number, topP: number) {
    const top = Math.max(...logits);
    let mass = logits.map((logit) => Math.exp(logit - top));
    const total = mass.reduce((sum, m) => sum + m, 0);
    const entropy = Math.log(total) - mass.reduce((sum, m, i) => sum + m * ((logits[i] as number) - top), 0) / total;
    const keep = (least: number) => {
      mass = mass.map((m) => (m >= least ? m : 0));
    };
    const sorted = () => [...mass].sort((a, b) => b - a);
    if (topK > 0) keep(sorted()[topK - 1] as number);
    if (topP < 1) {
      const limit = topP * mass.reduce((sum, m) => sum + m, 0);
      let before = 0;
      let least = 1;
      for (const m of sorted()) {
        if (before >= limit) break;
        least = m;
        before += m;
      }
      keep(least);
    }
    const wanted = u * mass.reduce((sum, m) => sum + m, 0);
    let sum = 0;
    const id = mass.findIndex((m) => {
      sum += m;
      return m > 0 && sum > wanted;
    });
    return { id, entropy, logprob: (id: number) => (logits[id] as number) - top - Math.log(total) };
  }

  it.each([
    [0, 1],
    [5, 1],
    [0, 0.9],
    [0, 0.3],
    [40, 0.8],
  ])("draws by inverse CDF over what top-k %i and top-p %f leave", (topK, topP) => {
    const [count, vocabulary] = [24, 517];
    const logits = Float32Array.from(numbers(5, count * vocabulary), (x) => 3 * x);
    const uniforms = Float32Array.from({ length: count }, (_, i) => uniform(6, i));
    const options = { greedy: false, topK, nucleus: topP < 1 };
    const { ids, logprobs, entropies } = compilers.float32.run(
      `select ${topK} ${topP}`,
      (own: { logits: Tensor; uniforms: Tensor; topP: Tensor }) =>
        selectToken(own.logits, own.uniforms, own.topP, options),
      { logits: tf.tensor2d(logits, [count, vocabulary]), uniforms: tf.tensor1d(uniforms), topP: tf.scalar(topP) },
    );
    const found = ids.dataSync<"int32">();
    rows(logits, vocabulary).forEach((row, r) => {
      const wanted = expected(row, uniforms[r] as number, topK, topP);
      expect(found[r]).toBe(wanted.id);
      expect(logprobs.dataSync<"float32">()[r]).toBeCloseTo(wanted.logprob(wanted.id), 4);
      expect(entropies.dataSync<"float32">()[r]).toBeCloseTo(wanted.entropy, 4);
    });
  });

  it("takes the likeliest token when greedy, and shows a logit that is not finite", () => {
    const logits = tf.tensor2d([0.1, 3, -1, 2, Number.NaN, 0], [2, 3]);
    const { ids, logprobs } = compilers.float32.run(
      "greedy",
      (own: { logits: Tensor; uniforms: Tensor; topP: Tensor }) =>
        selectToken(own.logits, own.uniforms, own.topP, { greedy: true, topK: 0, nucleus: false }),
      { logits, uniforms: tf.tensor1d([0.5, 0.5]), topP: tf.scalar(1) },
    );
    expect(ids.dataSync<"int32">()[0]).toBe(1);
    expect(Number.isFinite(logprobs.dataSync<"float32">()[1])).toBe(false);
  });

  it("hashes tensors as the host does: larger than a piece and not, of one size and of many, every rest of a block", () => {
    const rests = Array.from({ length: 17 }, (_, rest) => 48 + rest);
    const counts = [1, 1000, 600_000, 1000, 600_000, ...rests, ...rests];
    const tensors = counts.map((count, index) => tf.tensor1d(numbers(count + index, count)));
    const words = compilers.float32.run("digests", digestsOf, tensors).dataSync<"int32">();
    const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
    tensors.forEach((tensor, index) => {
      const own = Buffer.from(bytes.slice(32 * index, 32 * index + 32)).toString("hex");
      expect(own).toBe(Buffer.from(tensorDigest(tensor.dataSync<"float32">())).toString("hex"));
    });
  });

  it("sums columns", () => {
    const x = numbers(9, 700 * 37);
    const sums = compilers.float32.run("columns", columnSums, tf.tensor2d(x, [700, 37])).dataSync<"float32">();
    const exact = rows(x, 37).reduce((total, row) => total.map((value, i) => value + (row[i] as number)));
    exact.forEach((value, i) => {
      expect(sums[i]).toBeCloseTo(value, 3);
    });
  });

  it.each(["2", "4"])(
    "a worker that wakes finds its loop, over tens of thousands of short ones (%s threads)",
    (threads) => {
      const child = spawnSync(process.execPath, ["--import", "tsx", POOL], {
        env: { ...process.env, TF_NUM_INTRAOP_THREADS: threads },
        encoding: "utf8",
      });
      expect([child.signal, child.stdout.trim()]).toEqual([null, "ok"]);
    },
  );
});
