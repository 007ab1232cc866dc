import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { assert, property, string } from "fast-check";
import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

interface Expected {
  readonly encodings: readonly { readonly text: string; readonly ids: readonly number[]; readonly decoded: string }[];
  readonly decodings: readonly { readonly ids: readonly number[]; readonly kept: string; readonly skipped: string }[];
}

const stored = (name: string) => join(OWN_FIXTURES, "tokenizers", name);

async function expectedOf(name: string): Promise<Expected> {
  return JSON.parse(await readFile(join(stored(name), "expected.json"), "utf8"));
}

/** A copy of the smollm tokenizer with parts of tokenizer.json replaced. */
async function altered(change: (definition: Record<string, unknown>) => void): Promise<string> {
  const folder = await temporaryFolder();
  const definition = JSON.parse(await readFile(join(stored("smollm"), "tokenizer.json"), "utf8"));
  change(definition);
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(definition));
  return folder;
}

describe.each(["qwen2", "llama3", "smollm", "sentencepiece"])("a tokenizer of the %s kind", (name) => {
  it("encodes awkward texts as the Rust library does", async () => {
    const tokenizer = await loadTokenizer(stored(name));
    const { encodings } = await expectedOf(name);
    const wrong = encodings.filter(({ text, ids }) => tokenizer.encode(text).join() !== ids.join());
    expect(wrong.map(({ text }) => text)).toEqual([]);
    expect(encodings.length).toBe(700);
  });

  it("decodes those ids, and random ones with broken characters, as the Rust library does", async () => {
    const tokenizer = await loadTokenizer(stored(name));
    const { encodings, decodings } = await expectedOf(name);
    expect(encodings.filter(({ ids, decoded }) => tokenizer.decode(ids) !== decoded)).toEqual([]);
    const wrong = decodings.filter(
      ({ ids, kept, skipped }) =>
        tokenizer.decode(ids) !== kept || tokenizer.decode(ids, { skipSpecialTokens: true }) !== skipped,
    );
    expect(wrong).toEqual([]);
    expect(decodings.some(({ kept }) => kept.includes("\uFFFD"))).toBe(true);
    expect(decodings.some(({ kept, skipped }) => kept !== skipped)).toBe(true);
  });
});

describe("a tokenizer", () => {
  it("adds what the post-processor adds only when asked to", async () => {
    const tokenizer = await loadTokenizer(stored("llama3"));
    expect(tokenizer.encode("a")[0]).toBe(0);
    expect(tokenizer.encode("a", { addSpecialTokens: false })).toEqual(tokenizer.encode("a").slice(1));
  });

  it("decodes nothing to nothing and skips ids beyond its vocabulary", async () => {
    const tokenizer = await loadTokenizer(stored("qwen2"));
    const [a = -1] = tokenizer.encode("a");
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode([a, tokenizer.vocabSize, a, 1_000_000])).toBe("aa");
  });

  it("reads lone surrogates as the replacement character", async () => {
    const tokenizer = await loadTokenizer(stored("qwen2"));
    expect(tokenizer.decode(tokenizer.encode("x\uD83Dy"))).toBe("x\uFFFDy");
  });

  it("shows single tokens as text, parts of characters as bytes, unknown ids as numbers", async () => {
    const tokenizer = await loadTokenizer(stored("qwen2"));
    const shown = tokenizer.encode(" the🙂<|im_end|>").map((id) => tokenizer.tokenText(id));
    expect(shown.join("")).toBe(" the<0xF0><0x9F><0x99><0x82><|im_end|>");
    expect(tokenizer.tokenText(999_999)).toBe("<999999>");
    const pieces = await loadTokenizer(stored("sentencepiece"));
    expect(
      pieces
        .encode("the 京", { addSpecialTokens: false })
        .map((id) => pieces.tokenText(id))
        .join(""),
    ).toBe(" the <0xE4><0xBA><0xAC>");
  });

  it("tells which ids are special", async () => {
    const tokenizer = await loadTokenizer(stored("smollm"));
    expect([...tokenizer.specialIds].sort()).toEqual([0, 1, 2]);
    const [think = -1] = tokenizer.encode("<think>");
    expect(tokenizer.decode([think], { skipSpecialTokens: true })).toBe("<think>");
  });

  it.each(["llama3", "smollm"])("gives any text back (%s, no normaliser)", async (name) => {
    const tokenizer = await loadTokenizer(stored(name));
    assert(
      property(string({ unit: "binary" }), (text) => {
        expect(tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false }))).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  it("keeps up with long documents", async () => {
    const tokenizer = await loadTokenizer(stored("smollm"));
    const { encodings } = await expectedOf("smollm");
    const text = encodings
      .map((row) => row.text)
      .join(" ")
      .repeat(20);
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });
});

describe("a tokenizer that cannot be loaded", () => {
  it("for a missing file says which", async () => {
    const error = await failure(async () => loadTokenizer(await temporaryFolder()), "WEIR_E_FILE_MISSING");
    expect(error.message).toContain("tokenizer.json");
  });

  it.each<[string, (definition: Record<string, unknown>) => void, string]>([
    ["no model", (d) => delete d.model, "model"],
    ["a Unigram model", (d) => Object.assign(d, { model: { type: "Unigram", vocab: [] } }), "Unigram"],
    ["no merges", (d) => delete (d.model as Record<string, unknown>).merges, "merges"],
    ["dropout", (d) => Object.assign(d.model as object, { dropout: 0.1 }), "dropout"],
    ["added tokens that are no list", (d) => Object.assign(d, { added_tokens: {} }), "added_tokens"],
    ["an added token without id", (d) => Object.assign(d, { added_tokens: [{ content: "<x>" }] }), "<x>"],
    ["a merge of unknown tokens", (d) => (d.model as { merges: unknown[] }).merges.push(["a", "nowhere"]), "nowhere"],
    ["a damaged merge", (d) => (d.model as { merges: unknown[] }).merges.push("a b c"), "a b c"],
    ["an id that is no number", (d) => Object.assign((d.model as { vocab: object }).vocab, { q9: "7" }), "q9"],
    ["an unknown post-processor", (d) => Object.assign(d, { post_processor: { type: "Guess" } }), "Guess"],
    [
      "a regular expression that does not parse",
      (d) => Object.assign(d, { pre_tokenizer: { type: "Split", pattern: { Regex: "(a" }, behavior: "Isolated" } }),
      "(a",
    ],
    [
      "an unknown behaviour",
      (d) => Object.assign(d, { pre_tokenizer: { type: "Split", pattern: { String: "a" }, behavior: "Lost" } }),
      "Lost",
    ],
    ["an unknown decoder", (d) => Object.assign(d, { decoder: { type: "WordPiece" } }), "WordPiece"],
    ["no decoder", (d) => Object.assign(d, { decoder: null }), "decoder"],
    ["an unknown pre-tokenizer", (d) => Object.assign(d, { pre_tokenizer: { type: "Guess" } }), "Guess"],
    ["an unknown normaliser", (d) => Object.assign(d, { normalizer: { type: "Guess" } }), "Guess"],
  ])("for %s says so", async (_, change, named) => {
    const folder = await altered(change);
    const error = await failure(() => loadTokenizer(folder), "WEIR_E_TOKENIZER");
    expect(error.message).toContain(named);
  });

  it("for a damaged file says so", async () => {
    const folder = join(await temporaryFolder(), "x");
    await cp(stored("smollm"), folder, { recursive: true });
    await writeFile(join(folder, "tokenizer.json"), '{"model":');
    await failure(() => loadTokenizer(folder), "WEIR_E_TOKENIZER");
  });
});
