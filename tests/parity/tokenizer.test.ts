/** Ids, decoded text and chat text of every stored model against those of transformers. */
import { existsSync, readdirSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { FIXTURES } from "../helpers/fixtures.js";

interface Expected {
  readonly cases: readonly { readonly text: string; readonly input_ids: readonly number[] }[];
  readonly tokenizer: readonly { readonly text: string; readonly ids: readonly number[]; readonly decoded: string }[];
  readonly chat: {
    readonly messages: readonly { readonly role: string; readonly content: string }[];
    readonly text: string;
    readonly ids: readonly number[];
  };
}

const folder = join(FIXTURES, "models");
const models = readdirSync(folder).filter((name) => existsSync(join(folder, name, "expected.json")));

it("finds stored models", () => {
  expect(models.length).toBeGreaterThanOrEqual(3);
});

describe.each(models)("%s", (name) => {
  const load = async () => {
    const expected: Expected = JSON.parse(await readFile(join(folder, name, "expected.json"), "utf8"));
    return { tokenizer: await loadTokenizer(join(folder, name)), expected };
  };

  it("has the ids and texts of the reference", async () => {
    const { tokenizer, expected } = await load();
    expect(expected.tokenizer.length).toBeGreaterThan(0);
    for (const { text, ids, decoded } of expected.tokenizer) {
      expect(tokenizer.encode(text), text).toEqual(ids);
      expect(tokenizer.decode(ids), text).toBe(decoded);
    }
    for (const { text, input_ids } of expected.cases) expect(tokenizer.encode(text), text).toEqual(input_ids);
  });

  it("has the chat text and ids of the reference", async () => {
    const { tokenizer, expected } = await load();
    const rendered = tokenizer.applyChatTemplate(expected.chat.messages, { addGenerationPrompt: true });
    expect(rendered.text).toBe(expected.chat.text);
    expect(rendered.ids).toEqual(expected.chat.ids);
  });
});
