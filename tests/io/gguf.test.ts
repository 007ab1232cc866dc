import { readFileSync } from "node:fs";
import { readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gguf } from "@huggingface/gguf";
import { describe, expect, it } from "vitest";
import { readModelConfig } from "../../src/model/io/config.js";
import { dequantise } from "../../src/model/io/gguf/dequantise.js";
import type { GgmlType } from "../../src/model/io/gguf/ggml-types.js";
import { importGguf } from "../../src/model/io/gguf/import.js";
import { readGgufHead } from "../../src/model/io/gguf/reader.js";
import { ggufName, halveRotaryRows } from "../../src/model/io/gguf/tensors.js";
import type { TensorSource } from "../../src/model/io/tensor-source.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";
import { floatBytes, type GgufEntry, type GgufTensorSpec, writeGguf } from "../helpers/gguf-writer.js";

const TYPE_NUMBERS: Readonly<Record<GgmlType, number>> = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  BF16: 30,
};

interface StoredBlocks {
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
}

/** Blocks and their values by the gguf Python package (tests/fixtures/gguf/make.py). */
const BLOCKS = Object.fromEntries(
  Object.entries(
    JSON.parse(readFileSync(join(OWN_FIXTURES, "gguf", "blocks.json"), "utf8")) as Record<
      string,
      { bytes: string; values: string }
    >,
  ).map(([type, { bytes, values }]) => [
    type,
    {
      bytes: new Uint8Array(Buffer.from(bytes, "base64")),
      values: new Float32Array(new Uint8Array(Buffer.from(values, "base64")).buffer),
    },
  ]),
) as Record<GgmlType, StoredBlocks>;

/** Rows of each head from halves to interleaved pairs, as llama.cpp's converter stores the Llama family. */
function interleaveRows(values: Float32Array, heads: number, headDim: number): Float32Array {
  const columns = values.length / (heads * headDim);
  const out: number[] = [];
  for (let head = 0; head < heads; head += 1)
    for (let pair = 0; pair < headDim / 2; pair += 1)
      for (const row of [pair, pair + headDim / 2]) {
        const start = (head * headDim + row) * columns;
        out.push(...values.subarray(start, start + columns));
      }
  return Float32Array.from(out);
}

const TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "Ġ", "ab", "Ġab", "1", "2", "[PAD11]"];

/** Metadata of a byte-level tokenizer with twelve tokens, the last one a placeholder. */
const TOKENIZER: Readonly<Record<string, GgufEntry>> = {
  "tokenizer.ggml.model": { text: "gpt2" },
  "tokenizer.ggml.pre": { text: "qwen2" },
  "tokenizer.ggml.tokens": { texts: TOKENS },
  "tokenizer.ggml.token_type": { i32s: [3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 5] },
  "tokenizer.ggml.merges": { texts: ["a b", "Ġ ab"] },
  "tokenizer.ggml.bos_token_id": { u32: 0 },
  "tokenizer.ggml.eos_token_id": { u32: 2 },
  "tokenizer.ggml.padding_token_id": { u32: 0 },
};

interface Sizes {
  readonly hidden: number;
  readonly feedForward: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly layers: number;
  readonly vocab: number;
}

function architecture(name: string, sizes: Sizes): Record<string, GgufEntry> {
  return {
    "general.architecture": { text: name },
    [`${name}.block_count`]: { u32: sizes.layers },
    [`${name}.context_length`]: { u32: 2048 },
    [`${name}.embedding_length`]: { u32: sizes.hidden },
    [`${name}.feed_forward_length`]: { u32: sizes.feedForward },
    [`${name}.attention.head_count`]: { u32: sizes.heads },
    [`${name}.attention.head_count_kv`]: { u32: sizes.kvHeads },
    [`${name}.attention.layer_norm_rms_epsilon`]: { f32: 1e-6 },
    [`${name}.rope.freq_base`]: { f32: 1e4 },
  };
}

/** GGUF tensors of a model folder's weights, in float32. */
function storedTensors(source: TensorSource, sizes: Sizes, permute: boolean): Record<string, GgufTensorSpec> {
  const tensors: Record<string, GgufTensorSpec> = {};
  for (const name of source.names()) {
    let values = source.read(name);
    if (permute && name.includes("q_proj")) values = interleaveRows(values, sizes.heads, sizes.headDim);
    if (permute && name.includes("k_proj")) values = interleaveRows(values, sizes.kvHeads, sizes.headDim);
    tensors[ggufName(name)] = { shape: source.shape(name), type: 0, bytes: floatBytes(values) };
  }
  return tensors;
}

/** One layer of random blocks: every matrix in the given type, norms in F32. Rows are 256 long, so that every type fits. */
function blockModel(type: GgmlType): { sizes: Sizes; tensors: Record<string, GgufTensorSpec> } {
  const sizes = { hidden: 256, feedForward: 256, heads: 4, kvHeads: 2, headDim: 64, layers: 1, vocab: 12 };
  const { bytes, values } = BLOCKS[type];
  const rowBytes = (bytes.length / values.length) * 256;
  const matrix = (rows: number): GgufTensorSpec => {
    const data = new Uint8Array(rows * rowBytes);
    for (let at = 0; at < data.length; at += 1) data[at] = bytes[at % bytes.length]!;
    return { shape: [rows, 256], type: TYPE_NUMBERS[type], bytes: data };
  };
  const vector = (length: number): GgufTensorSpec => ({
    shape: [length],
    type: 0,
    bytes: floatBytes(new Float32Array(length).fill(1)),
  });
  return {
    sizes,
    tensors: {
      "token_embd.weight": matrix(12),
      "output_norm.weight": vector(256),
      "blk.0.attn_norm.weight": vector(256),
      "blk.0.ffn_norm.weight": vector(256),
      "blk.0.attn_q.weight": matrix(256),
      "blk.0.attn_k.weight": matrix(128),
      "blk.0.attn_v.weight": matrix(128),
      "blk.0.attn_output.weight": matrix(256),
      "blk.0.attn_q_norm.weight": vector(64),
      "blk.0.attn_k_norm.weight": vector(64),
      "blk.0.ffn_gate.weight": matrix(256),
      "blk.0.ffn_up.weight": matrix(256),
      "blk.0.ffn_down.weight": matrix(256),
    },
  };
}

/** The smallest model that can be imported: Qwen3, one layer, F32. */
function smallModel(): { metadata: Record<string, GgufEntry>; tensors: Record<string, GgufTensorSpec> } {
  const { sizes, tensors } = blockModel("F32");
  return {
    metadata: { ...architecture("qwen3", sizes), "qwen3.attention.key_length": { u32: 64 }, ...TOKENIZER },
    tensors,
  };
}

async function written(
  metadata: Readonly<Record<string, GgufEntry>>,
  tensors: Readonly<Record<string, GgufTensorSpec>>,
  version?: number,
): Promise<{ file: string; out: string }> {
  const folder = await temporaryFolder();
  const file = join(folder, "model.gguf");
  await writeGguf(file, metadata, tensors, version);
  return { file, out: join(folder, "model") };
}

function same(a: Float32Array, b: Float32Array): boolean {
  return Buffer.from(floatBytes(a)).equals(Buffer.from(floatBytes(b)));
}

describe("dequantising", () => {
  it.each(Object.keys(TYPE_NUMBERS) as GgmlType[])(
    "%s blocks gives the values of the reference, bit for bit",
    (type) => {
      const { bytes, values } = BLOCKS[type];
      expect(values.length).toBeGreaterThanOrEqual(96);
      expect(same(dequantise(bytes, type), values)).toBe(true);
    },
  );
});

describe("the head of a GGUF file", () => {
  it("is read as the Hugging Face library reads it", async () => {
    const { metadata, tensors } = smallModel();
    const extra: Record<string, GgufEntry> = {
      "x.big": { u64: 2n ** 40n },
      "x.minus": { i32: -3 },
      "x.f": { f32s: [0.5, -1] },
    };
    const { file } = await written({ ...metadata, ...extra }, tensors);
    const head = readGgufHead(file);
    const library = await gguf(file, { allowLocalFile: true });
    const known = new Set(["version", "tensor_count", "kv_count"]);
    const expected = Object.entries(library.metadata).filter(([key]) => !known.has(key));
    expect(Object.fromEntries(head.metadata)).toEqual(Object.fromEntries(expected));
    expect(head.tensors.size).toBe(library.tensorInfos.length);
    for (const info of library.tensorInfos) {
      const tensor = head.tensors.get(info.name);
      expect(tensor?.shape).toEqual(info.shape.map(Number).reverse());
      expect(tensor?.start).toBe(Number(library.tensorDataOffset + info.offset));
    }
  });

  it("keeps a byte-order mark at the start of a token's text", async () => {
    const { metadata, tensors } = smallModel();
    const { file } = await written({ ...metadata, "x.bom": { texts: ["\uFEFF", "\uFEFFa"] } }, tensors);
    expect(readGgufHead(file).metadata.get("x.bom")).toEqual(["\uFEFF", "\uFEFFa"]);
  });

  it("reads tables that are longer than one read from the disk", async () => {
    const { metadata, tensors } = smallModel();
    const long = Array.from({ length: 5 }, (_, i) => String(i).repeat(2_000_000));
    const { file } = await written({ ...metadata, "x.long": { texts: long }, "x.after": { u32: 9 } }, tensors);
    const head = readGgufHead(file);
    expect(head.metadata.get("x.long")).toEqual(long);
    expect(head.metadata.get("x.after")).toBe(9);
  });
});

describe("importing a GGUF file", () => {
  it.each([
    ["tiny-llama", "llama", true, "qwen2"],
    ["tiny-qwen2", "qwen2", false, "gpt-2"],
  ] as const)("gives back the weights and shape of %s", async (name, family, permute, pre) => {
    const folder = join(OWN_FIXTURES, "models", name);
    const config = await readModelConfig(folder);
    const source = await readTensors(folder);
    const sizes: Sizes = {
      hidden: config.hiddenSize,
      feedForward: config.intermediateSize,
      heads: config.heads,
      kvHeads: config.kvHeads,
      headDim: config.headDim,
      layers: config.layers,
      vocab: config.vocabSize,
    };
    const { file, out } = await written(
      { ...architecture(family, sizes), ...TOKENIZER, "tokenizer.ggml.pre": { text: pre } },
      storedTensors(source, sizes, permute),
    );
    const report = await importGguf(file, out, { dtype: "float32" });
    expect(report).toMatchObject({
      family,
      vocabSize: 400,
      storedTypes: { F32: source.names().length },
      chatTemplate: false,
    });
    const { eosIds, padId, bosId, ...shape } = config;
    expect(await readModelConfig(out)).toEqual({ ...shape, eosIds: [2], padId: 0, bosId: 0 });
    const imported = await readTensors(out);
    expect(imported.names()).toEqual(source.names());
    // AutoTokenizer would put Qwen2's splitting in place of GPT-2's.
    expect((await readdir(out)).includes("tokenizer_json.py")).toBe(family === "qwen2");
    expect(source.names().filter((tensor) => !same(imported.read(tensor), source.read(tensor)))).toEqual([]);
  });

  it("undoes the interleaving of rotary rows", () => {
    // Two heads of four rows, one column: pairs (0,2) (1,3) lie side by side in the file.
    const stored = Float32Array.of(0, 2, 1, 3, 10, 12, 11, 13);
    expect([...halveRotaryRows(stored, 2, 4)]).toEqual([0, 1, 2, 3, 10, 11, 12, 13]);
  });

  it.each(Object.keys(TYPE_NUMBERS) as GgmlType[])("reads a Qwen3 model stored in %s", async (type) => {
    const { sizes, tensors } = blockModel(type);
    const metadata = { ...architecture("qwen3", sizes), "qwen3.attention.key_length": { u32: 64 }, ...TOKENIZER };
    const { file, out } = await written(metadata, tensors);
    const report = await importGguf(file, out, { dtype: "float32" });
    expect(report.storedTypes[type]).toBe(type === "F32" ? 13 : 8);
    const { values } = BLOCKS[type];
    const gate = (await readTensors(out)).read("model.layers.0.mlp.gate_proj.weight");
    expect(gate.length).toBe(256 * 256);
    expect(gate.findIndex((value, i) => !Object.is(value, values[i % values.length]))).toBe(-1);
    expect(await readModelConfig(out)).toMatchObject({
      family: "qwen3",
      qkNorm: true,
      headDim: 64,
      tieWordEmbeddings: true,
    });
  });

  it("writes the asked type and tells of its progress", async () => {
    const { metadata, tensors } = smallModel();
    const { file, out } = await written(metadata, tensors);
    const seen: string[] = [];
    await importGguf(file, out, { dtype: "bfloat16", onProgress: (done, total) => seen.push(`${done}/${total}`) });
    expect(seen.at(0)).toBe("1/13");
    expect(seen.at(-1)).toBe("13/13");
    expect(JSON.parse(await readFile(join(out, "config.json"), "utf8")).dtype).toBe("bfloat16");
  });

  it("recovers llama3 scaling from its table of divisors, and refuses another table", async () => {
    const sizes = { hidden: 256, feedForward: 256, heads: 4, kvHeads: 2, headDim: 64, layers: 1, vocab: 12 };
    const { "blk.0.attn_q_norm.weight": _q, "blk.0.attn_k_norm.weight": _k, ...tensors } = blockModel("F32").tensors;
    // By transformers 5.23 for theta 500,000, head size 64, factor 32, bands 1 and 4, 8,192 positions.
    const divisors = Float32Array.from([
      ...Array.from({ length: 15 }, () => 1),
      1.6513291597366333,
      3.292262554168701,
      9.666729927062988,
      ...Array.from({ length: 14 }, () => 32),
    ]);
    const metadata = { ...architecture("llama", sizes), "llama.rope.freq_base": { f32: 5e5 }, ...TOKENIZER };
    const table = (values: Float32Array): GgufTensorSpec => ({ shape: [32], type: 0, bytes: floatBytes(values) });
    const { file, out } = await written(metadata, { ...tensors, "rope_freqs.weight": table(divisors) });
    await importGguf(file, out, { dtype: "float32" });
    expect((await readModelConfig(out)).rope).toEqual({
      type: "llama3",
      theta: 5e5,
      factor: 32,
      lowFreqFactor: 1,
      highFreqFactor: 4,
      originalMaxPositions: 8192,
    });
    const other = await written(metadata, {
      ...tensors,
      "rope_freqs.weight": table(divisors.map((value) => value * 1.5)),
    });
    const error = await failure(() => importGguf(other.file, other.out, { dtype: "float32" }), "WEIR_E_GGUF");
    expect(error.details.tensor).toBe("rope_freqs.weight");
  });

  it("takes over linear and YaRN scaling", async () => {
    const { metadata, tensors } = smallModel();
    const linear = { "qwen3.rope.scaling.type": { text: "linear" }, "qwen3.rope.scaling.factor": { f32: 2 } };
    const first = await written({ ...metadata, ...linear }, tensors);
    await importGguf(first.file, first.out, { dtype: "float32" });
    expect((await readModelConfig(first.out)).rope).toEqual({ type: "linear", theta: 1e4, factor: 2 });
    const yarn = {
      "qwen3.rope.scaling.type": { text: "yarn" },
      "qwen3.rope.scaling.factor": { f32: 4 },
      "qwen3.rope.scaling.original_context_length": { u32: 512 },
    };
    const second = await written({ ...metadata, ...yarn }, tensors);
    await importGguf(second.file, second.out, { dtype: "float32" });
    expect((await readModelConfig(second.out)).rope).toMatchObject({
      type: "yarn",
      factor: 4,
      originalMaxPositions: 512,
    });
  });

  it("gives end of sequence and end of turn as stop ids", async () => {
    const { metadata, tensors } = smallModel();
    const { file, out } = await written({ ...metadata, "tokenizer.ggml.eot_token_id": { u32: 1 } }, tensors);
    await importGguf(file, out, { dtype: "float32" });
    expect((await readModelConfig(out)).eosIds).toEqual([2, 1]);
  });

  it("leaves a folder that is in use alone, and nothing behind when it fails", async () => {
    const { metadata, tensors } = smallModel();
    const { file, out } = await written(metadata, tensors);
    await importGguf(file, out, { dtype: "float32" });
    await failure(() => importGguf(file, out, { dtype: "float32" }), "WEIR_E_USAGE");
    const huge = {
      ...tensors,
      "output_norm.weight": { shape: [256], type: 0, bytes: floatBytes(new Float32Array(256).fill(1e9)) },
    };
    const second = await written(metadata, huge);
    await failure(() => importGguf(second.file, second.out, { dtype: "float16" }), "WEIR_E_NON_FINITE");
    expect(await readdir(join(second.file, ".."))).toEqual(["model.gguf"]);
  });
});

describe("a GGUF model in several files", () => {
  /** smallModel in three parts, as llama.cpp's gguf-split lays them out: all metadata in the first, tensors in order. */
  async function split(change: Readonly<Record<string, GgufEntry>> = {}): Promise<{ folder: string; parts: string[] }> {
    const folder = await temporaryFolder();
    const { metadata, tensors } = smallModel();
    const names = Object.keys(tensors);
    const parts: string[] = [];
    for (const no of [0, 1, 2]) {
      const chosen = names.filter((_, index) => index % 3 === no);
      const own: Record<string, GgufEntry> = {
        ...(no === 0 ? metadata : {}),
        "split.no": { u32: no },
        "split.count": { u32: 3 },
        "split.tensors.count": { i32: names.length },
        ...(no === 1 ? change : {}),
      };
      const path = join(folder, `small-0000${no + 1}-of-00003.gguf`);
      await writeGguf(path, own, Object.fromEntries(chosen.map((name) => [name, tensors[name]!])));
      parts.push(path);
    }
    return { folder, parts };
  }

  it.each([0, 1, 2])("is imported whole from its part %i", async (index) => {
    const { folder, parts } = await split();
    const out = join(folder, "model");
    await importGguf(parts[index]!, out, { dtype: "float32" });
    const { metadata, tensors } = smallModel();
    const whole = await written(metadata, tensors);
    await importGguf(whole.file, whole.out, { dtype: "float32" });
    for (const name of ["model.safetensors", "config.json", "tokenizer.json"])
      expect((await readFile(join(out, name))).equals(await readFile(join(whole.out, name))), name).toBe(true);
  });

  it("is refused where a part is missing, another one, renamed, or short of tensors", async () => {
    const attempt = async (file: string) =>
      (await failure(() => importGguf(file, `${file}-out`, { dtype: "float32" }), "WEIR_E_GGUF")).message;
    const { folder, parts } = await split();
    await rm(parts[2]!);
    const missing = await attempt(parts[0]!);
    expect(missing).toContain("is part 1 of 3 of a split model (split.count)");
    expect(missing).toContain("small-00003-of-00003.gguf is missing next to it");
    const renamed = join(folder, "renamed.gguf");
    await writeFile(renamed, await readFile(parts[1]!));
    expect(await attempt(renamed)).toContain("is part 2 of 3");
    await writeFile(parts[2]!, await readFile(parts[1]!));
    expect(await attempt(parts[0]!)).toContain("is not part 3 of 3, as its name says");
    const short = await split({ "split.count": { u32: 4 } });
    expect(await attempt(short.parts[0]!)).toContain("is not part 2 of 3");
  });

  it("is refused where a file is a Git LFS pointer", async () => {
    const { parts } = await split();
    await writeFile(parts[1]!, "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 5\n");
    const error = await failure(() => importGguf(parts[0]!, `${parts[0]}-out`, { dtype: "float32" }), "WEIR_E_GGUF");
    expect(error.message).toContain("small-00002-of-00003.gguf is a Git LFS pointer");
  });
});

describe("a GGUF file that cannot be imported", () => {
  type Change = {
    readonly metadata?: Record<string, GgufEntry | undefined>;
    readonly tensors?: Record<string, GgufTensorSpec | undefined>;
  };
  const block = (type: number, length: number): GgufTensorSpec => ({
    shape: [256],
    type,
    bytes: new Uint8Array(length),
  });

  it.each<[string, Change, string]>([
    ["another architecture", { metadata: { "general.architecture": { text: "gemma3" } } }, "general.architecture"],
    ["no architecture", { metadata: { "general.architecture": undefined } }, "general.architecture"],
    ["experts", { metadata: { "qwen3.expert_count": { u32: 8 } } }, "qwen3.expert_count"],
    [
      "a sliding window",
      { metadata: { "qwen3.attention.sliding_window": { u32: 4096 } } },
      "qwen3.attention.sliding_window",
    ],
    ["scaled logits", { metadata: { "qwen3.logit_scale": { f32: 0.5 } } }, "qwen3.logit_scale"],
    ["partial rotation", { metadata: { "qwen3.rope.dimension_count": { u32: 32 } } }, "qwen3.rope.dimension_count"],
    ["longrope", { metadata: { "qwen3.rope.scaling.type": { text: "longrope" } } }, "qwen3.rope.scaling.type"],
    ["no number of layers", { metadata: { "qwen3.block_count": undefined } }, "qwen3.block_count"],
    ["a text for a number", { metadata: { "qwen3.block_count": { text: "one" } } }, "qwen3.block_count"],
    [
      "layers that differ",
      { metadata: { "qwen3.feed_forward_length": { i32s: [256, 128] } } },
      "qwen3.feed_forward_length",
    ],
    ["another tokenizer model", { metadata: { "tokenizer.ggml.model": { text: "bert" } } }, "tokenizer.ggml.model"],
    ["an unknown pre-tokenizer", { metadata: { "tokenizer.ggml.pre": { text: "tekken" } } }, "tokenizer.ggml.pre"],
    ["no pre-tokenizer", { metadata: { "tokenizer.ggml.pre": undefined } }, "tokenizer.ggml.pre"],
    ["no tokens", { metadata: { "tokenizer.ggml.tokens": undefined } }, "tokenizer.ggml.tokens"],
    [
      "token types of another length",
      { metadata: { "tokenizer.ggml.token_type": { i32s: [1] } } },
      "tokenizer.ggml.token_type",
    ],
    ["merges of no tokens", { metadata: { "tokenizer.ggml.merges": { texts: ["x y"] } } }, "tokenizer.ggml.merges"],
    [
      "an eos beyond the tokens",
      { metadata: { "tokenizer.ggml.eos_token_id": { u32: 99 } } },
      "tokenizer.ggml.eos_token_id",
    ],
    ["a type that is not read", { tensors: { "output_norm.weight": block(16, 66) } }, "IQ2_XXS"],
    ["a type from the future", { tensors: { "output_norm.weight": block(99, 66) } }, "number 99"],
    ["a missing tensor", { tensors: { "blk.0.ffn_up.weight": undefined } }, "blk.0.ffn_up.weight"],
    ["a missing embedding", { tensors: { "token_embd.weight": undefined } }, "token_embd.weight"],
    ["an extra tensor", { tensors: { "blk.0.ffn_gate_inp.weight": block(0, 1024) } }, "blk.0.ffn_gate_inp.weight"],
    [
      "a tensor of another shape",
      { tensors: { "output_norm.weight": { ...block(0, 512), shape: [128] } } },
      "output_norm.weight",
    ],
    [
      "rows of no whole blocks",
      { tensors: { "output_norm.weight": { ...block(8, 34), shape: [33] } } },
      "output_norm.weight",
    ],
  ])("for %s is refused by name", async (_, change, named) => {
    const base = smallModel();
    const merge = <T>(whole: Record<string, T>, part: Record<string, T | undefined> = {}): Record<string, T> =>
      Object.fromEntries(
        Object.entries({ ...whole, ...part }).filter((entry): entry is [string, T] => entry[1] !== undefined),
      );
    const { file, out } = await written(merge(base.metadata, change.metadata), merge(base.tensors, change.tensors));
    const error = await failure(() => importGguf(file, out, { dtype: "float32" }), "WEIR_E_GGUF");
    expect(error.message).toContain(named);
    await failure(() => readModelConfig(out), "WEIR_E_FILE_MISSING");
  });

  it("for not being one, for its version, or for being cut short is refused", async () => {
    const { metadata, tensors } = smallModel();
    const { file, out } = await written(metadata, tensors);
    const whole = await readFile(file);
    const attempt = () => failure(() => importGguf(file, out, { dtype: "float32" }), "WEIR_E_GGUF");
    await truncate(file, whole.length - 100);
    expect((await attempt()).message).toContain("truncated");
    for (const length of [0, 3, 10, 30, 300]) {
      await writeFile(file, whole.subarray(0, length));
      await attempt();
    }
    await writeFile(file, Buffer.concat([Buffer.from("GGML"), whole.subarray(4)]));
    await attempt();
    const old = await written(metadata, tensors, 1);
    expect((await failure(() => readGgufHead(old.file), "WEIR_E_GGUF")).message).toContain("version 1");
    await failure(() => readGgufHead(join(out, "nothing.gguf")), "WEIR_E_FILE_MISSING");
  });
});

/** Metadata that llama.cpp's converter would write for a stored tokenizer. */
async function tokenizerMetadata(name: string): Promise<Record<string, GgufEntry>> {
  const definition = JSON.parse(await readFile(join(OWN_FIXTURES, "tokenizers", name, "tokenizer.json"), "utf8"));
  const special = new Map<number, boolean>(
    definition.added_tokens.map((token: { id: number; special: boolean }) => [token.id, token.special]),
  );
  const tokens: string[] = [];
  for (const [token, id] of Object.entries(definition.model.vocab as Record<string, number>)) tokens[id] = token;
  for (const token of definition.added_tokens) tokens[token.id] = token.content;
  const types = tokens.map((token, id) => {
    const added = special.get(id);
    if (added !== undefined) return token === "<unk>" ? 2 : added ? 3 : 4;
    return /^<0x[0-9A-F]{2}>$/.test(token) ? 6 : 1;
  });
  const merges = (definition.model.merges as string[][]).map((pair) => pair.join(" "));
  return {
    "tokenizer.ggml.tokens": { texts: tokens },
    "tokenizer.ggml.token_type": { i32s: types },
    "tokenizer.ggml.merges": { texts: merges },
    // Merges were learnt in the order of ids.
    "tokenizer.ggml.scores": { f32s: tokens.map((_, id) => -id) },
  };
}

describe("the tokenizer of a GGUF file", () => {
  it.each([
    ["qwen2", { "tokenizer.ggml.model": { text: "gpt2" }, "tokenizer.ggml.pre": { text: "qwen2" } }],
    [
      "llama3",
      {
        "tokenizer.ggml.model": { text: "gpt2" },
        "tokenizer.ggml.pre": { text: "llama-bpe" },
        "tokenizer.ggml.bos_token_id": { u32: 0 },
      },
    ],
    ["smollm", { "tokenizer.ggml.model": { text: "gpt2" }, "tokenizer.ggml.pre": { text: "smollm" } }],
    [
      "sentencepiece",
      {
        "tokenizer.ggml.model": { text: "llama" },
        "tokenizer.ggml.bos_token_id": { u32: 1 },
        "tokenizer.ggml.unknown_token_id": { u32: 0 },
      },
    ],
  ] as const)("encodes and decodes as the one it was made of: %s", async (name, kind) => {
    const base = smallModel();
    const plain = Object.fromEntries(Object.entries(base.metadata).filter(([key]) => !key.startsWith("tokenizer.")));
    const { file, out } = await written({ ...plain, ...(await tokenizerMetadata(name)), ...kind }, base.tensors);
    await importGguf(file, out, { dtype: "float32" });
    const rebuilt = await loadTokenizer(out);
    const { encodings } = JSON.parse(await readFile(join(OWN_FIXTURES, "tokenizers", name, "expected.json"), "utf8"));
    const wrong = encodings.filter(
      (row: { text: string; ids: number[]; decoded: string }) =>
        rebuilt.encode(row.text).join() !== row.ids.join() || rebuilt.decode(row.ids) !== row.decoded,
    );
    expect(wrong.map((row: { text: string }) => row.text)).toEqual([]);
    expect(encodings.length).toBe(700);
  });

  it("leaves placeholders out, keeps the chat template, and asks for a bos only where the file does", async () => {
    const { metadata, tensors } = smallModel();
    const template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    const { file, out } = await written(
      { ...metadata, "tokenizer.chat_template": { text: template }, "tokenizer.ggml.add_bos_token": { bool: true } },
      tensors,
    );
    await importGguf(file, out, { dtype: "float32" });
    const tokenizer = await loadTokenizer(out);
    expect(tokenizer.vocabSize).toBe(11);
    expect(tokenizer.chatTemplate).toBe(template);
    expect(tokenizer.encode("ab ab")).toEqual([0, 7, 8]);
    expect(tokenizer.applyChatTemplate([{ role: "user", content: "c<|im_end|>" }])).toEqual({
      text: "c<|im_end|>",
      ids: [5, 2],
    });
  });
});
