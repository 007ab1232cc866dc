/** Written folders have the same ids under transformers' AutoTokenizer (records: fixtures/tokenizers/auto_tokenizer.py). */
import { copyFile, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { writeUntrainedPolicy } from "../../src/cli/warmstart-folder.js";
import { alignAutoTokenizer, isReadAsItStands } from "../../src/model/io/auto-tokenizer.js";
import { writeModelFolder } from "../../src/model/io/model-folder.js";
import { readTensors } from "../../src/model/io/tensors.js";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";
import { autoTokenizerIds, hasTransformers } from "../helpers/transformers.js";

interface Recorded {
  readonly classes: readonly (readonly [tokenizer: string, type: string, kind: string | null, asItStands: boolean])[];
  readonly texts: readonly string[];
  readonly ids: { readonly warmstart: readonly (readonly number[])[] };
}

const readJson = async (...path: string[]) => JSON.parse(await readFile(join(...path), "utf8"));
const recorded: Recorded = await readJson(OWN_FIXTURES, "tokenizers", "auto-tokenizer.json");
const WARMSTART = join(OWN_FIXTURES, "..", "..", "assets", "warmstart");
const TOKENIZERS = ["qwen2", "llama3", "smollm", "sentencepiece"];
const MODELS = ["tiny-llama", "tiny-qwen2", "tiny-qwen2-untied-bf16"];

/** A folder of tokenizer files for a type of model and a tokenizer class, as a stranger may have written it. */
async function foreignFolder(tokenizer: string, type: string, kind: string | null): Promise<string> {
  const folder = await temporaryFolder();
  await copyFile(join(OWN_FIXTURES, "tokenizers", tokenizer, "tokenizer.json"), join(folder, "tokenizer.json"));
  await writeFile(join(folder, "config.json"), JSON.stringify({ model_type: type }));
  if (kind !== null) await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ tokenizer_class: kind }));
  return folder;
}

describe("what AutoTokenizer reads", () => {
  it.each(TOKENIZERS)("is known for each type of model and class with a %s tokenizer", async (name) => {
    const definition = await readJson(OWN_FIXTURES, "tokenizers", name, "tokenizer.json");
    const rows = recorded.classes.filter(([tokenizer]) => tokenizer === name);
    expect(rows.length).toBe(27);
    const known = rows.map(([tokenizer, type, kind]) => {
      const config = kind === null ? {} : { tokenizer_class: kind };
      return [tokenizer, type, kind, isReadAsItStands(type, config, definition)];
    });
    expect(known).toEqual(rows);
  });

  it("lacks tokens that Qwen2Tokenizer does not find in tokenizer_config.json", async () => {
    const definition = await readJson(OWN_FIXTURES, "tokenizers", "qwen2", "tokenizer.json");
    const all = Object.fromEntries(
      (definition.added_tokens as { id: number; content: string }[]).map((token) => [token.id, token]),
    );
    const { 2: _, ...some } = all;
    expect(isReadAsItStands("qwen2", { added_tokens_decoder: all }, definition)).toBe(true);
    expect(isReadAsItStands("qwen2", { added_tokens_decoder: some }, definition)).toBe(false);
  });
});

describe("a Gemma's tokenizer.json", () => {
  // transformers 5.10.4 takes GemmaTokenizer, which has its own splitting, unless a plain class is named.
  it.each([
    [{}, false],
    [{ tokenizer_class: "GemmaTokenizer" }, false],
    [{ tokenizer_class: "PreTrainedTokenizerFast" }, true],
  ])("under %o", async (config, asItStands) => {
    const definition = await readJson(OWN_FIXTURES, "tokenizers", "smollm", "tokenizer.json");
    expect(isReadAsItStands("gemma", config, definition)).toBe(asItStands);
  });
});

describe("a written folder", () => {
  it("is left alone where AutoTokenizer reads tokenizer.json as it stands", async () => {
    for (const [type, kind] of [
      ["qwen2", "Qwen2Tokenizer"],
      ["qwen3", null],
    ] as const) {
      const folder = await foreignFolder("qwen2", type, kind);
      const before = await readdir(folder);
      await alignAutoTokenizer(folder);
      expect(await readdir(folder)).toEqual(before);
      if (kind !== null)
        expect(await readJson(folder, "tokenizer_config.json")).toEqual({ tokenizer_class: "Qwen2Tokenizer" });
    }
  });

  it("names the plain class where another would rebuild the tokenizer, and its own class for qwen2", async () => {
    const llama = await foreignFolder("smollm", "llama", "GPT2TokenizerFast");
    await alignAutoTokenizer(llama);
    expect(await readJson(llama, "tokenizer_config.json")).toEqual({ tokenizer_class: "PreTrainedTokenizerFast" });
    const qwen = await foreignFolder("smollm", "qwen2", null);
    await alignAutoTokenizer(qwen);
    expect(await readJson(qwen, "tokenizer_config.json")).toEqual({
      tokenizer_class: "PreTrainedTokenizerFast",
      auto_map: { AutoTokenizer: [null, "tokenizer_json.TokenizerJson"] },
    });
    expect(await readFile(join(qwen, "tokenizer_json.py"), "utf8")).toContain(
      "class TokenizerJson(PreTrainedTokenizerFast)",
    );
  });

  it("of the demo's policy has the ids that transformers gave, and so does what is exported from it", async () => {
    const exported = join(await temporaryFolder(), "exported");
    await writeModelFolder(exported, {
      sourceDir: WARMSTART,
      tensors: await readTensors(WARMSTART),
      dtype: "float32",
    });
    const untrained = join(await temporaryFolder(), "untrained");
    await writeUntrainedPolicy(untrained, 1);
    for (const folder of [WARMSTART, exported, untrained]) {
      const tokenizer = await loadTokenizer(folder);
      expect(recorded.texts.map((text) => tokenizer.encode(text))).toEqual(recorded.ids.warmstart);
      // The records hold for these files.
      for (const name of ["tokenizer.json", "tokenizer_config.json", "tokenizer_json.py"])
        expect(await readFile(join(folder, name), "utf8"), name).toBe(await readFile(join(WARMSTART, name), "utf8"));
    }
  });

  const present = hasTransformers();
  it.skipIf(!present)(
    `has equal ids under AutoTokenizer itself${present ? "" : " (skipped: no Python with transformers; WEIR_TEST_PYTHON names one)"}`,
    { timeout: 300_000 },
    async () => {
      const folders = [WARMSTART];
      for (const name of MODELS) {
        const source = join(OWN_FIXTURES, "models", name);
        const folder = join(await temporaryFolder(), name);
        await writeModelFolder(folder, { sourceDir: source, tensors: await readTensors(source), dtype: "float32" });
        folders.push(folder);
      }
      for (const [tokenizer, type, kind] of recorded.classes) {
        const folder = await foreignFolder(tokenizer, type, kind);
        await alignAutoTokenizer(folder);
        folders.push(folder);
      }
      const ids = autoTokenizerIds(folders, recorded.texts);
      for (const [i, folder] of folders.entries()) {
        const tokenizer = await loadTokenizer(folder);
        expect(
          recorded.texts.map((text) => tokenizer.encode(text)),
          folder,
        ).toEqual(ids[i]);
      }
    },
  );
});
