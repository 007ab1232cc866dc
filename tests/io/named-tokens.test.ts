/** Tokens that only the files beside tokenizer.json name, against transformers (fixtures/tokenizers/named_tokens.py). */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

interface Row {
  readonly name: string;
  readonly files: Readonly<Record<string, unknown>>;
  readonly patch: Readonly<Record<string, unknown>>;
  readonly ids: readonly (readonly number[])[];
}

const recorded: { readonly texts: readonly string[]; readonly rows: readonly Row[] } = JSON.parse(
  await readFile(join(OWN_FIXTURES, "tokenizers", "named-tokens.json"), "utf8"),
);
const definition = JSON.parse(
  await readFile(join(OWN_FIXTURES, "models", "tiny-llama", "tokenizer.json"), "utf8"),
) as Record<string, unknown>;

async function folderOf(files: Readonly<Record<string, unknown>>, patch: object = {}): Promise<string> {
  const folder = await temporaryFolder();
  for (const [name, content] of Object.entries({ "tokenizer.json": { ...definition, ...patch }, ...files }))
    await writeFile(join(folder, name), JSON.stringify(content));
  return folder;
}

describe("tokens that files beside tokenizer.json name", () => {
  it.each(recorded.rows.map((row) => [row.name, row] as const))("%s: ids of transformers", async (_, row) => {
    const tokenizer = await loadTokenizer(await folderOf(row.files, row.patch));
    const read = recorded.texts.map((text) => ({ text, ids: tokenizer.encode(text) }));
    expect(read).toEqual(recorded.texts.map((text, i) => ({ text, ids: row.ids[i] })));
  });

  it("are decoded, counted and shown like any other token", async () => {
    const token = { content: "<new>", special: true };
    const tokenizer = await loadTokenizer(
      await folderOf({ "tokenizer_config.json": { added_tokens_decoder: { 400: token }, eos_token: "<new>" } }),
    );
    expect(tokenizer.vocabSize).toBe(401);
    expect(tokenizer.decode([69, 400])).toBe("a<new>");
    expect(tokenizer.decode([69, 400], { skipSpecialTokens: true })).toBe("a");
    expect(tokenizer.tokenText(400)).toBe("<new>");
    expect(tokenizer.endOfTurn).toEqual({ text: "<new>", id: 400 });
  });

  it.each([
    ["a token without content", { added_tokens_decoder: { 400: { special: true } } }, "added_tokens_decoder"],
    ["a number in a list", { additional_special_tokens: ["<a>", 7] }, "extra_special_tokens"],
    ["a list that is a text", { extra_special_tokens: "<a>" }, "extra_special_tokens"],
  ])("are refused with %s", async (_, config, part) => {
    const folder = await folderOf({ "tokenizer_config.json": config });
    const error = await failure(() => loadTokenizer(folder), "WEIR_E_TOKENIZER");
    expect(error.message).toContain(part);
    expect(error.message).toContain(folder);
  });
});
