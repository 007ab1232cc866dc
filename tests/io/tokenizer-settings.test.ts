/** Settings of tokenizer.json, one by one, against the Rust library (fixtures/tokenizers/settings.py made the records). */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

type Definition = Readonly<Record<string, unknown>> & { readonly model: Readonly<Record<string, unknown>> };

interface Setting {
  readonly name: string;
  readonly base: string;
  readonly patch: Partial<Definition>;
  /** By text. Absent with `error`: the Rust library refuses the file or panics. */
  readonly ids?: readonly (readonly number[])[];
  readonly decoded?: readonly string[];
  readonly error?: string;
}

interface Table {
  readonly texts: readonly string[];
  readonly bases: Readonly<Record<string, Definition>>;
  readonly settings: readonly Setting[];
}

const table: Table = JSON.parse(
  gunzipSync(await readFile(join(OWN_FIXTURES, "tokenizers", "settings.json.gz"))).toString("utf8"),
);

async function folderOf({ base, patch }: Setting): Promise<string> {
  const whole = table.bases[base] as Definition;
  const folder = await temporaryFolder();
  const definition = { ...whole, ...patch, model: { ...whole.model, ...patch.model } };
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(definition));
  return folder;
}

/** Refused by name, with the part of the message that names the setting. The Rust library refuses some, and panics on some. */
const REFUSED: Readonly<Record<string, string>> = {
  UnicodeScripts: 'pre_tokenizer "UnicodeScripts"',
  BertNormalizer: 'normalizer "BertNormalizer"',
  "Metaspace first after Strip": 'Metaspace.prepend_scheme "first"',
  "Metaspace first after Prepend and Digits": 'Metaspace.prepend_scheme "first"',
  "Metaspace of old files, no prefix": "add_prefix_space",
  "Split numbered beside named": "pre_tokenizer Split.pattern.Regex",
  "Replace numbered beside named": "normalizer Replace.pattern.Regex",
  "Replace empty": "normalizer Replace.pattern",
  "Replace empty or not": "normalizer Replace.pattern",
  "Replace absent": "normalizer Replace.pattern",
  "Replace  by x": "normalizer Replace.pattern",
  "decoder WordPiece": 'decoder "WordPiece"',
  "decoder CTC": 'decoder "CTC"',
};

/** Constructs that know the characters of Unicode 14 only; the last two texts hold later ones. */
const UNICODE_14 = /^(Split|Replace) (posix|negated posix|grapheme)$/;
const LATER_TEXTS = 2;

describe("the settings of tokenizer.json", () => {
  const computed = table.settings.filter(({ name, ids }) => ids !== undefined && !(name in REFUSED));

  it("number over two hundred, with over forty texts", () => {
    expect(computed.length).toBeGreaterThan(200);
    expect(table.texts.length).toBeGreaterThan(40);
  });

  it.each(computed.map((setting) => [setting.name, setting] as const))(
    "%s: as in the Rust library",
    async (_, setting) => {
      const tokenizer = await loadTokenizer(await folderOf(setting));
      const texts = UNICODE_14.test(setting.name) ? table.texts.slice(0, -LATER_TEXTS) : table.texts;
      const read = texts.map((text) => ({ text, ids: tokenizer.encode(text) }));
      expect(read).toEqual(texts.map((text, i) => ({ text, ids: setting.ids?.[i] })));
      expect(setting.ids?.map((ids) => tokenizer.decode(ids))).toEqual(setting.decoded);
    },
  );

  it.each(Object.entries(REFUSED))("%s: refused by name", async (name, part) => {
    const setting = table.settings.find((candidate) => candidate.name === name) as Setting;
    const error = await failure(async () => loadTokenizer(await folderOf(setting)), "WEIR_E_TOKENIZER");
    expect(error.message).toContain(part);
  });
});
