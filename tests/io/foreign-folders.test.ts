/** Folders that transformers loads, made from stored models, must give the same weights; the others a fitting message. */

import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { generateCommand } from "../../src/cli/commands/generate.js";
import { EngineCore } from "../../src/model/engine/core.js";
import { parseModelConfig, readModelConfig } from "../../src/model/io/config.js";
import { readSafetensors } from "../../src/model/io/safetensors.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";
import { type RawTensor, writeRawSafetensors } from "../helpers/raw-safetensors.js";

const model = (name: string) => join(OWN_FIXTURES, "models", name);
const LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0a1b\nsize 988097824\n";

type Config = Readonly<Record<string, unknown>>;

const bytesOf = (values: Float32Array | Float64Array | BigInt64Array): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, values.byteLength);

async function rawTensors(name: string): Promise<Record<string, RawTensor>> {
  const file = await readSafetensors(join(model(name), "model.safetensors"));
  return Object.fromEntries(
    file
      .names()
      .map((tensor) => [tensor, { dtype: "F32", shape: file.shape(tensor), bytes: bytesOf(file.read(tensor)) }]),
  );
}

/** A copy of a stored model with other tensors and fields of config.json; undefined takes a field away. */
async function variant(
  name: string,
  changes: {
    readonly tensors?: (tensors: Record<string, RawTensor>) => Record<string, RawTensor>;
    readonly config?: Config;
  },
): Promise<string> {
  const folder = join(await temporaryFolder(), "model");
  await cp(model(name), folder, { recursive: true });
  if (changes.tensors !== undefined)
    await writeRawSafetensors(join(folder, "model.safetensors"), changes.tensors(await rawTensors(name)));
  const path = join(folder, "config.json");
  const config = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...config, ...changes.config }));
  return folder;
}

const renamed =
  (change: (name: string) => string) =>
  (tensors: Record<string, RawTensor>): Record<string, RawTensor> =>
    Object.fromEntries(Object.entries(tensors).map(([name, tensor]) => [change(name), tensor]));

const withoutPrefix = renamed((name) => name.replace(/^model\./, ""));

const asDoubles = (tensors: Record<string, RawTensor>): Record<string, RawTensor> =>
  Object.fromEntries(
    Object.entries(tensors).map(([name, { shape, bytes }]) => {
      const values = new Float32Array(bytes.slice().buffer);
      return [name, { dtype: "F64", shape, bytes: bytesOf(Float64Array.from(values)) }];
    }),
  );

const withBuffers = (tensors: Record<string, RawTensor>): Record<string, RawTensor> => ({
  ...tensors,
  "model.position_ids": { dtype: "I64", shape: [2], bytes: bytesOf(BigInt64Array.of(0n, 1n)) },
  "model.layers.0.self_attn.bias": { dtype: "BOOL", shape: [3], bytes: Uint8Array.of(1, 1, 0) },
  "model.rotary_emb.inv_freq": { dtype: "F32", shape: [1], bytes: bytesOf(Float32Array.of(1)) },
  "model.layers.1.self_attn.masked_bias": { dtype: "F32", shape: [1], bytes: bytesOf(Float32Array.of(-1e9)) },
});

async function differing(folder: string, original: string): Promise<string[]> {
  const [found, expected] = [await readTensors(folder), await readTensors(model(original))];
  expect(found.names()).toEqual(expected.names());
  return expected
    .names()
    .filter((name) => Buffer.compare(bytesOf(found.read(name)), bytesOf(expected.read(name))) !== 0);
}

describe("a folder that transformers loads", () => {
  it.each([
    ["has names without model.", "tiny-llama", withoutPrefix],
    ["has names without model. and a tied head", "tiny-qwen2", withoutPrefix],
    [
      "stores a tied embedding as the head only",
      "tiny-qwen2",
      renamed((name) => name.replace("model.embed_tokens", "lm_head")),
    ],
    ["stores float64", "tiny-llama", asDoubles],
    ["stores buffers of whole numbers, truth values and rotary tables", "tiny-llama", withBuffers],
  ] as const)("gives the same weights where it %s", async (_, name, tensors) => {
    expect(await differing(await variant(name, { tensors }), name)).toEqual([]);
  });

  it("gives the configuration of its plain spelling", async () => {
    const plain = JSON.parse(await readFile(join(model("tiny-llama"), "config.json"), "utf8"));
    const spelling = {
      ...plain,
      architectures: ["LlamaModel"],
      hidden_act: "swish",
      num_key_value_heads: null,
      head_dim: null,
      rope_scaling: null,
    };
    expect(parseModelConfig(spelling, null)).toEqual(parseModelConfig(plain, null));
    expect(parseModelConfig({ ...plain, pad_token_id: -1 }, null).padId).toBeNull();
    // Qwen2Config: null means as many as heads, absence means 32.
    const qwen = { ...plain, architectures: ["Qwen2ForCausalLM"], model_type: "qwen2", attention_bias: true };
    expect(parseModelConfig({ ...qwen, num_key_value_heads: null }, null).kvHeads).toBe(4);
    expect(
      parseModelConfig({ ...qwen, num_attention_heads: 64, head_dim: 4, num_key_value_heads: undefined }, null).kvHeads,
    ).toBe(32);
  });

  it("gives transformers' log-probs with all of these at once", async () => {
    const folder = await variant("tiny-llama", {
      tensors: (tensors) => withoutPrefix(withBuffers(asDoubles(tensors))),
      config: { num_key_value_heads: null, hidden_act: "swish" },
    });
    // Recorded in the model's own expected.json.
    const { cases } = JSON.parse(await readFile(join(model("tiny-llama"), "expected.json"), "utf8"));
    const core = await EngineCore.open(folder, { backend: "cpu", threads: 0, executor: "auto" });
    const { logprobs } = await core.scoreSequences([cases[0].input_ids], new AbortController().signal);
    const off = logprobs[0]!.map((value, index) => Math.abs(value - cases[0].token_logprobs[index]));
    expect(off.length).toBe(cases[0].input_ids.length - 1);
    expect(Math.max(...off)).toBeLessThan(2e-4);
  });
});

describe("a folder that cannot be loaded is refused with the reason", () => {
  it("for a float64 beyond float32", async () => {
    const folder = await variant("tiny-llama", {
      tensors: (tensors) => ({
        ...asDoubles(tensors),
        "model.norm.weight": { dtype: "F64", shape: [64], bytes: bytesOf(new Float64Array(64).fill(1e300)) },
      }),
    });
    const source = await readTensors(folder);
    const error = await failure(() => source.read("model.norm.weight"), "WEIR_E_NON_FINITE");
    expect(error.message).toContain("model.norm.weight is stored in float64 and holds 1e+300");
  });

  it("for a parameter of whole numbers", async () => {
    const folder = await variant("tiny-llama", {
      tensors: (tensors) => ({
        ...tensors,
        "model.norm.weight": { dtype: "U8", shape: [64], bytes: new Uint8Array(64) },
      }),
    });
    const error = await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES");
    expect(error.message).toContain("model.norm.weight is stored as U8");
  });

  it("for names behind a wrapper's prefix", async () => {
    const folder = await variant("tiny-llama", { tensors: renamed((name) => `module.${name}`) });
    const error = await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES");
    expect(error.message).toContain('begins with "module."');
  });

  it("for a head that is missing while the configuration does not tie it", async () => {
    const folder = await variant("tiny-qwen2", { config: { tie_word_embeddings: undefined } });
    const error = await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES");
    expect(error.message).toContain(
      "lm_head.weight [400, 64] is missing and config.json does not say tie_word_embeddings",
    );
  });

  it.each<[string, Config, string]>([
    [
      "another family",
      { architectures: ["MistralForCausalLM"], model_type: "mistral" },
      "Use a model of one of these families",
    ],
    ["experts", { num_experts: 8 }, "use a dense model"],
    ["quantised weights", { quantization_config: { quant_method: "gptq", bits: 4 } }, "without GPTQ"],
    ["a window", { sliding_window: 128 }, "Use a model that does without it"],
  ])("for %s", async (_, config, advice) => {
    const folder = await variant("tiny-llama", { config });
    const error = await failure(() => readModelConfig(folder), "WEIR_E_MODEL_UNSUPPORTED");
    expect(error.message).toContain(advice);
    expect(error.message).not.toContain("converted");
  });

  it.each(["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])(
    "for a %s that is a Git LFS pointer or a web page",
    async (file) => {
      const folder = await variant("tiny-llama", {});
      const open = async () => {
        const tokenizer = await loadTokenizer(folder);
        await readTensors(folder);
        return tokenizer;
      };
      const code = file.startsWith("tokenizer") ? "WEIR_E_TOKENIZER" : "WEIR_E_MODEL_FILES";
      await writeFile(join(folder, file), LFS_POINTER);
      const pointer = await failure(open, code);
      expect(pointer.message).toContain(`${file} is a Git LFS pointer, not the file itself (988,097,824 bytes`);
      expect(pointer.message).toContain("git lfs pull");
      await writeFile(join(folder, file), "<!DOCTYPE html><html>Sign in</html>");
      expect((await failure(open, code)).message).toContain(`${file} is a web page`);
    },
  );

  it.each([
    ["pytorch_model.bin", "PyTorch's pickle files are not read"],
    ["model-q8.gguf", "weir import"],
    ["adapter_model.safetensors", "merge_and_unload"],
    ["weights.safetensors", "Rename the file"],
    ["model-00001-of-00002.safetensors", "Fetch model.safetensors.index.json"],
  ])("for weights in %s only", async (file, advice) => {
    const folder = await variant("tiny-llama", {});
    await rm(join(folder, "model.safetensors"));
    await writeFile(join(folder, file), "x");
    expect((await failure(() => readTensors(folder), "WEIR_E_FILE_MISSING")).message).toContain(advice);
  });

  it("for a shard that is missing, by its name", async () => {
    const folder = await variant("tiny-llama", {});
    const map = {
      "model.norm.weight": "model-00001-of-00002.safetensors",
      "lm_head.weight": "model-00002-of-00002.safetensors",
    };
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
    await cp(join(folder, "model.safetensors"), join(folder, "model-00001-of-00002.safetensors"));
    await rm(join(folder, "model.safetensors"));
    const error = await failure(() => readTensors(folder), "WEIR_E_FILE_MISSING");
    expect(error.message).toContain("names 2 files, and model-00002-of-00002.safetensors is missing");
  });
});

describe("what is no model folder is named", () => {
  const opened = [loadTokenizer, readModelConfig] as const;
  const messages = async (path: string) =>
    Promise.all(opened.map(async (open) => (await failure(() => open(path), "WEIR_E_FILE_MISSING")).message));

  it.each([
    ["Qwen/Qwen2.5-0.5B-Instruct", "hf download Qwen/Qwen2.5-0.5B-Instruct --local-dir Qwen2.5-0.5B-Instruct"],
    ["https://huggingface.co/HuggingFaceTB/SmolLM2-135M", "hf download HuggingFaceTB/SmolLM2-135M"],
    ["org/model@main", "hf download org/model --local-dir model"],
    [
      "gpt2",
      "gpt2 does not exist. Give the path of a Hugging Face model folder (names on the Hugging Face hub are not fetched)",
    ],
    ["./Qwen/none", "./Qwen/none does not exist"],
    ["/nowhere/at/all", "/nowhere/at/all does not exist"],
  ])("the hub name or missing path %s", async (path, named) => {
    for (const message of await messages(path)) expect(message).toContain(named);
  });

  it("a GGUF file, another file, and a folder of GGUF files", async () => {
    const folder = await temporaryFolder();
    const file = join(folder, "model.gguf");
    await writeFile(file, "GGUF");
    for (const message of await messages(file)) expect(message).toContain(`weir import ${file} NEW_FOLDER`);
    for (const message of await messages(folder)) expect(message).toContain(`weir import ${file} NEW_FOLDER`);
    for (const message of await messages(join(model("tiny-llama"), "config.json")))
      expect(message).toContain(`Give its folder: ${model("tiny-llama")}`);
  });

  it("an adapter, with its base model", async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, "adapter_config.json"), '{"base_model_name_or_path": "org/base"}');
    await cp(join(model("tiny-llama"), "tokenizer.json"), join(folder, "tokenizer.json"));
    for (const message of await messages(folder)) {
      expect(message).toContain('a PEFT adapter of the model "org/base" without its base model');
      expect(message).toContain("merge_and_unload");
    }
  });

  it("a folder above the model, as a hub cache has it", async () => {
    const folder = await temporaryFolder();
    const inner = join(folder, "snapshots", "abc123");
    await mkdir(inner, { recursive: true });
    await cp(model("tiny-llama"), inner, { recursive: true });
    for (const message of await messages(folder))
      expect(message).toContain(`there is one in ${inner}. Give that path.`);
  });

  it("but a folder with a tokenizer alone is opened for its tokenizer", async () => {
    const folder = await temporaryFolder();
    await cp(join(model("tiny-llama"), "tokenizer.json"), join(folder, "tokenizer.json"));
    expect((await loadTokenizer(folder)).encode("a").length).toBe(1);
    expect((await failure(() => readModelConfig(folder), "WEIR_E_FILE_MISSING")).message).toContain("config.json");
  });
});

describe("a tokenizer that is larger than its model", () => {
  it("is usable, until a prompt holds a token that the model was never given", async () => {
    const folder = await variant("tiny-llama", {});
    const path = join(folder, "tokenizer.json");
    const definition = JSON.parse(await readFile(path, "utf8"));
    definition.added_tokens.push({ ...definition.added_tokens[0], id: 400, content: "<new>" });
    await writeFile(path, JSON.stringify(definition));
    const generate = (prompt: string) =>
      generateCommand({
        model: folder,
        prompt,
        maxTokens: 1,
        temperature: 0,
        topP: 1,
        topK: 0,
        seed: 1,
        backend: "cpu",
        json: true,
      });
    expect(await generate("hello")).toBe(0);
    const error = await failure(() => generate("a <new> b"), "WEIR_E_TOKENIZER");
    expect(error.message).toContain('the prompt: the token "<new>" has the id 400');
  });
});
