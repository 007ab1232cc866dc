import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { parseSftExample, sftRow } from "../../src/data/sft.js";
import { withEndOfTurn } from "../../src/model/io/tokenizer/end-of-turn.js";
import { loadTokenizer, type Tokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

const definition = JSON.parse(
  await readFile(join(OWN_FIXTURES, "models", "tiny-llama", "tokenizer.json"), "utf8"),
) as Readonly<Record<string, unknown>>;

/** The stored tokenizer with further tokens, from id 400 on, and a template. */
async function tokenizerWith(
  tokens: readonly (string | { readonly content: string; readonly special: boolean })[],
  template: string | null,
  config: object = {},
): Promise<Tokenizer> {
  const folder = await temporaryFolder();
  const added = tokens.map((token) => (typeof token === "string" ? { content: token, special: true } : token));
  const decoder = Object.fromEntries(added.map((token, i) => [400 + i, token]));
  await writeFile(join(folder, "tokenizer.json"), JSON.stringify(definition));
  await writeFile(join(folder, "tokenizer_config.json"), JSON.stringify({ added_tokens_decoder: decoder, ...config }));
  if (template !== null) await writeFile(join(folder, "chat_template.jinja"), template);
  return loadTokenizer(folder);
}

const example = (response: string) => ({ messages: [{ role: "user" as const, content: "a" }], response });
/** What follows the one token of the response "b". */
function ending(tokenizer: Tokenizer, stopIds: readonly number[] = []): readonly number[] {
  const { tokenIds, lossMask } = sftRow(example("b"), tokenizer, stopIds);
  const first = lossMask.indexOf(1);
  expect(lossMask).toEqual(tokenIds.map((_, i) => (i < first ? 0 : 1)));
  expect(tokenIds[first]).toBe(70);
  return tokenIds.slice(first + 1);
}

/** Templates of the published families, cut down to how they write turns. */
const TEMPLATES: readonly [name: string, tokens: readonly string[], template: string, ends: string][] = [
  [
    "Qwen",
    ["<|endoftext|>", "<|begin|>", "<|turn_end|>"],
    "{% for m in messages %}{{ '<|begin|>' + m.role + '\n' + m.content + '<|turn_end|>' + '\n' }}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|begin|>assistant\n' }}{% endif %}",
    "<|turn_end|>",
  ],
  [
    "Llama 3",
    ["<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    "<|eot_id|>",
  ],
  [
    "Mistral",
    ["<s>", "[INST]", "[/INST]", "</s>"],
    "<s>{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
    "</s>",
  ],
  [
    "Gemma",
    ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    "<bos>{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}" +
      "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    "<end_of_turn>",
  ],
  [
    "Phi",
    ["<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"],
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}" +
      "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "<|end|>",
  ],
  [
    "DeepSeek",
    ["<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"],
    "<｜begin▁of▁sentence｜>{% for m in messages %}{% if m.role == 'user' %}<｜User｜>{{ m.content }}{% else %}" +
      "<｜Assistant｜>{{ m.content.split('</think>')[-1] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}" +
      "{% if add_generation_prompt %}<｜Assistant｜><think>\n{% endif %}",
    "<｜end▁of▁sentence｜>",
  ],
];

describe("the end of an SFT response", () => {
  it.each(TEMPLATES)(
    "is what a template of the %s kind writes after the content",
    async (_, tokens, template, ends) => {
      const tokenizer = await tokenizerWith(tokens, template, { eos_token: "<|im_start|>" });
      const id = tokenizer.encode(ends)[0] as number;
      expect(tokenizer.endOfTurn).toEqual({ text: ends, id });
      expect(ending(tokenizer, [1])).toEqual([id]);
      expect(withEndOfTurn([1], tokenizer.endOfTurn)).toEqual([1, id]);
      expect(withEndOfTurn([id, 1], tokenizer.endOfTurn)).toEqual([id, 1]);
    },
  );

  it("is 402 for Llama 3.1, whose first stop id is 400", async () => {
    const tokenizer = await loadTokenizer(join(OWN_FIXTURES, "cases", "08-sft-end-token", "llama31"));
    expect(ending(tokenizer, [400, 401, 402])).toEqual([402]);
  });

  it("takes along what the template writes before the end token", async () => {
    const template = "{% for m in messages %}{{ m.role }}:{{ m.content }}\n</s>\n{% endfor %}";
    const tokenizer = await tokenizerWith(["</s>"], template);
    expect(ending(tokenizer)).toEqual([203, 400]);
  });

  it("is a token that is not special where the template writes only such a one", async () => {
    const template = "{% for m in messages %}{{ m.content }}<end>\n{% endfor %}";
    const tokenizer = await tokenizerWith([{ content: "<end>", special: false }], template, {
      eos_token: "<|im_end|>",
    });
    expect(ending(tokenizer)).toEqual([400]);
  });

  it.each([
    ["writes no token there", "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"],
    ["leaves answers out", "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}"],
    [
      "refuses answers",
      "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('no') }}{% endif %}{{ m.content }}{% endfor %}",
    ],
  ])("is eos_token where the template %s", async (_, template) => {
    const tokenizer = await tokenizerWith(["</s>"], template, { eos_token: "</s>" });
    expect(ending(tokenizer, [1, 2])).toEqual([400]);
  });

  it("is the first stop id where template and tokenizer say nothing, and missing where there is none", async () => {
    const tokenizer = await tokenizerWith([], "{% for m in messages %}{{ m.content }}{% endfor %}");
    expect(tokenizer.endOfTurn).toBeNull();
    expect(ending(tokenizer, [2, 1])).toEqual([2]);
    expect(withEndOfTurn([2, 1], null)).toEqual([2, 1]);
    const error = await failure(() => sftRow(example("b"), tokenizer, []), "WEIR_E_MODEL_FILES");
    expect(error.message).toContain("tokenizer_config.json");
  });

  it("is not added to a response that has it, nor to one that ends in another stop id", async () => {
    const template = "{% for m in messages %}{{ m.content }}</s>{% endfor %}";
    const tokenizer = await tokenizerWith(["</s>"], template);
    const ids = (response: string) => sftRow(example(response), tokenizer, [1]).tokenIds.slice(2);
    expect(ids("b</s>")).toEqual([70, 400]);
    expect(ids("b</s>\n ")).toEqual([70, 400]);
    expect(ids("b<|im_start|>")).toEqual([70, 1]);
    expect(ids("b</s>b")).toEqual([70, 400, 70, 400]);
    expect(ids("b\n")).toEqual([70, 203, 400]);
  });
});

describe("an SFT row", () => {
  it("may call its prompt messages", () => {
    const messages = [{ role: "user", content: "q" }];
    expect(parseSftExample({ messages, response: "r" }, "f", 0)).toEqual({ messages, response: "r" });
    expect(parseSftExample({ prompt: "p", messages, response: "r" }, "f", 0).messages).toEqual([
      { role: "user", content: "p" },
    ]);
  });

  it.each([
    ["no prompt", { response: "r" }],
    ["messages that are none", { messages: [1], response: "r" }],
    ["no response", { prompt: "p" }],
  ])("with %s is refused with its place", async (_, row) => {
    const error = await failure(() => parseSftExample(row, "rows.jsonl", 3), "WEIR_E_DATA");
    expect(error.message).toMatch(/rows\.jsonl.*3/);
  });
});
