import { cp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeModelFolder } from "../../src/model/io/model-folder.js";
import { readSafetensors, writeSafetensors } from "../../src/model/io/safetensors.js";
import { type TensorSource, tensorsInMemory } from "../../src/model/io/tensor-source.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

const model = (name: string) => join(OWN_FIXTURES, "models", name);

/** Chosen tensors of a source, some replaced or added. */
function changed(source: TensorSource, changes: Readonly<Record<string, readonly number[] | null>>): TensorSource {
  const names = [...source.names().filter((name) => changes[name] !== null)];
  for (const name of Object.keys(changes)) if (changes[name] !== null && !names.includes(name)) names.push(name);
  return {
    names: () => names,
    shape: (name) => changes[name] ?? source.shape(name),
    read: (name) => {
      const shape = changes[name];
      return shape ? new Float32Array(shape.reduce((product, size) => product * size, 1)) : source.read(name);
    },
  };
}

/** A copy of tiny-qwen2 whose weights are changed. */
async function damagedCopy(changes: Readonly<Record<string, readonly number[] | null>>): Promise<string> {
  const folder = join(await temporaryFolder(), "model");
  await cp(model("tiny-qwen2"), folder, { recursive: true });
  const source = await readSafetensors(join(model("tiny-qwen2"), "model.safetensors"));
  await writeSafetensors(join(folder, "model.safetensors"), changed(source, changes), {});
  return folder;
}

describe("writing a model folder", () => {
  it.each([
    ["tiny-qwen2", "float32"],
    ["tiny-llama", "float32"],
    ["tiny-qwen2-untied-bf16", "bfloat16"],
  ] as const)("gives back the bytes of %s", async (name, dtype) => {
    const folder = join(await temporaryFolder(), "out");
    await writeModelFolder(folder, { sourceDir: model(name), tensors: await readTensors(model(name)), dtype });
    const bytes = (path: string) => readFile(join(path, "model.safetensors"));
    expect((await bytes(folder)).equals(await bytes(model(name)))).toBe(true);
    const config = async (path: string) => JSON.parse(await readFile(join(path, "config.json"), "utf8"));
    expect(await config(folder)).toEqual(await config(model(name)));
    expect((await readdir(folder)).sort()).toEqual([
      "chat_template.jinja",
      "config.json",
      "generation_config.json",
      "model.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
      // Their splitting is not Qwen2's, which AutoTokenizer would put in its place.
      ...(name === "tiny-llama" ? [] : ["tokenizer_json.py"]),
    ]);
  });

  it("stores a tied head once and says the type in the layout of the source", async () => {
    const folder = join(await temporaryFolder(), "out");
    await writeModelFolder(folder, {
      sourceDir: model("tiny-qwen2"),
      tensors: await readTensors(model("tiny-qwen2")),
      dtype: "float16",
    });
    const file = await readSafetensors(join(folder, "model.safetensors"));
    expect(file.names()).not.toContain("lm_head.weight");
    expect(file.dtype("model.norm.weight")).toBe("F16");
    expect(file.metadata).toEqual({ format: "pt" });
    expect(JSON.parse(await readFile(join(folder, "config.json"), "utf8"))).toMatchObject({ dtype: "float16" });

    const v4 = join(await temporaryFolder(), "v4");
    const source = model("tiny-qwen2-untied-bf16");
    await writeModelFolder(v4, { sourceDir: source, tensors: await readTensors(source), dtype: "float32" });
    const config = JSON.parse(await readFile(join(v4, "config.json"), "utf8"));
    expect(config.torch_dtype).toBe("float32");
    expect(config).not.toHaveProperty("dtype");
  });

  it("reads bfloat16 back as the rounded values", async () => {
    const folder = join(await temporaryFolder(), "out");
    const source = await readTensors(model("tiny-llama"));
    await writeModelFolder(folder, { sourceDir: model("tiny-llama"), tensors: source, dtype: "bfloat16" });
    const back = (await readTensors(folder)).read("lm_head.weight");
    const worst = source
      .read("lm_head.weight")
      .reduce((most, value, i) => Math.max(most, Math.abs(back[i]! - value) / Math.abs(value)), 0);
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThanOrEqual(2 ** -8);
  });

  it("can rewrite a folder in place", async () => {
    const folder = join(await temporaryFolder(), "model");
    await cp(model("tiny-llama"), folder, { recursive: true });
    const before = await readFile(join(folder, "model.safetensors"));
    await writeModelFolder(folder, { sourceDir: folder, tensors: await readTensors(folder), dtype: "float32" });
    expect((await readFile(join(folder, "model.safetensors"))).equals(before)).toBe(true);
  });

  it("refuses an incomplete set of tensors before it writes", async () => {
    const folder = join(await temporaryFolder(), "out");
    const tensors = changed(await readTensors(model("tiny-llama")), { "model.norm.weight": null });
    const error = await failure(
      () => writeModelFolder(folder, { sourceDir: model("tiny-llama"), tensors, dtype: "float32" }),
      "WEIR_E_MODEL_FILES",
    );
    expect(error.message).toContain("model.norm.weight");
    await failure(() => readTensors(folder), "WEIR_E_FILE_MISSING");
  });
});

describe("reading the weights of a model folder", () => {
  it.each<[string, Readonly<Record<string, readonly number[] | null>>, string]>([
    ["missing", { "model.layers.1.mlp.up_proj.weight": null }, "model.layers.1.mlp.up_proj.weight"],
    ["extra", { "model.layers.2.mlp.up_proj.weight": [96, 64] }, "model.layers.2.mlp.up_proj.weight"],
    [
      "of a wrong shape",
      { "model.layers.0.self_attn.k_proj.weight": [64, 64] },
      "model.layers.0.self_attn.k_proj.weight",
    ],
    ["of a wrong rank", { "model.norm.weight": [1, 64] }, "model.norm.weight"],
    ["a head that differs from the tied embedding", { "lm_head.weight": [400, 64] }, "lm_head.weight"],
  ])("refuses a tensor that is %s, by name", async (_, changes, tensor) => {
    const folder = await damagedCopy(changes);
    const error = await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES");
    expect(error.details.tensor).toBe(tensor);
    expect(error.message).toContain(tensor);
  });

  it("overlooks stored rotary buffers", async () => {
    const folder = await damagedCopy({ "model.layers.0.self_attn.rotary_emb.inv_freq": [8] });
    const names = (await readTensors(folder)).names();
    expect(names.some((name) => name.includes("rotary"))).toBe(false);
  });

  it("accepts a stored head that equals the tied embedding", async () => {
    const folder = join(await temporaryFolder(), "model");
    await cp(model("tiny-qwen2"), folder, { recursive: true });
    const source = await readSafetensors(join(model("tiny-qwen2"), "model.safetensors"));
    const withHead: TensorSource = {
      names: () => [...source.names(), "lm_head.weight"],
      shape: (name) => source.shape(name === "lm_head.weight" ? "model.embed_tokens.weight" : name),
      read: (name) => source.read(name === "lm_head.weight" ? "model.embed_tokens.weight" : name),
    };
    await writeSafetensors(join(folder, "model.safetensors"), withHead, {});
    expect((await readTensors(folder)).names()).not.toContain("lm_head.weight");
  });

  /** tiny-llama in two shards. */
  async function sharded(): Promise<{ folder: string; map: Record<string, string> }> {
    const folder = join(await temporaryFolder(), "model");
    await cp(model("tiny-llama"), folder, { recursive: true });
    const source = await readSafetensors(join(folder, "model.safetensors"));
    const map: Record<string, string> = {};
    for (const [part, chosen] of [source.names().slice(0, 9), source.names().slice(9)].entries()) {
      const file = `model-0000${part + 1}-of-00002.safetensors`;
      const tensors = chosen.map((name) => [name, { shape: source.shape(name), data: source.read(name) }] as const);
      await writeSafetensors(join(folder, file), tensorsInMemory(Object.fromEntries(tensors)), {});
      for (const name of chosen) map[name] = file;
    }
    await writeFile(join(folder, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: map }));
    await rm(join(folder, "model.safetensors"));
    return { folder, map };
  }

  it("reads shards as the single file", async () => {
    const { folder } = await sharded();
    const [parts, whole] = [await readTensors(folder), await readTensors(model("tiny-llama"))];
    expect(parts.names()).toEqual(whole.names());
    const bytes = (values: Float32Array) => Buffer.from(values.buffer, values.byteOffset, values.byteLength);
    const differing = whole.names().filter((name) => !bytes(parts.read(name)).equals(bytes(whole.read(name))));
    expect(differing).toEqual([]);
  });

  it("names the tensor of a truncated shard", async () => {
    const { folder } = await sharded();
    const path = join(folder, "model-00002-of-00002.safetensors");
    const bytes = await readFile(path);
    await writeFile(path, bytes.subarray(0, bytes.length - 10));
    const error = await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES");
    expect(error.details.tensor).toBe("model.norm.weight");
  });

  it("refuses an index that is damaged, misplaces a tensor, or names a missing or outside file", async () => {
    const { folder, map } = await sharded();
    const index = join(folder, "model.safetensors.index.json");
    await writeFile(
      index,
      JSON.stringify({ weight_map: { ...map, "model.norm.weight": "model-00001-of-00002.safetensors" } }),
    );
    expect((await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES")).details.tensor).toBe("model.norm.weight");
    await writeFile(index, JSON.stringify({ weight_map: { ...map, "model.norm.weight": "../x.safetensors" } }));
    expect((await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES")).details.tensor).toBe("model.norm.weight");
    await writeFile(index, JSON.stringify({ metadata: {} }));
    await failure(() => readTensors(folder), "WEIR_E_MODEL_FILES");
    await writeFile(index, JSON.stringify({ weight_map: map }));
    await rm(join(folder, "model-00001-of-00002.safetensors"));
    await failure(() => readTensors(folder), "WEIR_E_FILE_MISSING");
  });

  it("says which files it looked for when there are none", async () => {
    const folder = join(await temporaryFolder(), "model");
    await cp(model("tiny-llama"), folder, { recursive: true });
    await rm(join(folder, "model.safetensors"));
    const error = await failure(() => readTensors(folder), "WEIR_E_FILE_MISSING");
    expect(error.message).toContain("model.safetensors.index.json");
  });
});
