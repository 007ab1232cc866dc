import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeUntrainedPolicy } from "../../src/cli/warmstart-folder.js";
import { readModelConfig } from "../../src/model/io/config.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";

describe("untrained demo policy", () => {
  let folder = "";
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-untrained-"));
    await writeUntrainedPolicy(folder, 3);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("is a model folder of the documented shape", async () => {
    const config = await readModelConfig(folder);
    expect(config).toMatchObject({ family: "qwen2", hiddenSize: 128, layers: 4, heads: 4, kvHeads: 2, headDim: 32 });
    expect(config.eosIds).toEqual([2]);
    const tokenizer = await loadTokenizer(folder);
    expect(tokenizer.vocabSize).toBe(config.vocabSize);
  });

  it("opens the thinking part in its generation prompt", async () => {
    const tokenizer = await loadTokenizer(folder);
    const messages = [{ role: "user" as const, content: "What is the capital of Mali?" }];
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).text).toBe(
      "<|im_start|>user\nWhat is the capital of Mali?<|im_end|>\n<|im_start|>assistant\n<think>\n",
    );
  });

  it("starts from norms of one, biases of zero and small weights that depend on the seed alone", async () => {
    const source = await readTensors(folder, await readModelConfig(folder));
    expect(new Set(source.read("model.norm.weight"))).toEqual(new Set([1]));
    expect(new Set(source.read("model.layers.0.self_attn.q_proj.bias"))).toEqual(new Set([0]));
    const values = source.read("model.layers.2.mlp.up_proj.weight");
    const deviation = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
    expect(deviation).toBeCloseTo(0.08, 3);
    const again = await mkdtemp(join(tmpdir(), "weir-untrained-"));
    await writeUntrainedPolicy(again, 3);
    const [first, second] = await Promise.all(
      [folder, again].map((directory) => readFile(join(directory, "model.safetensors"))),
    );
    expect(first?.equals(second as Buffer)).toBe(true);
    await rm(again, { recursive: true, force: true });
  });
});
