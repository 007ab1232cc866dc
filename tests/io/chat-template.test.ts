import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

interface Sources {
  readonly jinja?: string;
  readonly wrapped?: string;
  readonly config?: Record<string, unknown>;
  readonly specialTokens?: Record<string, unknown>;
}

/** The smollm tokenizer with templates in the given places. */
async function withTemplate(sources: Sources): Promise<Tokenizer> {
  const folder = await temporaryFolder();
  await mkdir(folder, { recursive: true });
  await cp(join(OWN_FIXTURES, "tokenizers", "smollm", "tokenizer.json"), join(folder, "tokenizer.json"));
  const write = (name: string, content: string) => writeFile(join(folder, name), content);
  if (sources.jinja !== undefined) await write("chat_template.jinja", sources.jinja);
  if (sources.wrapped !== undefined)
    await write("chat_template.json", JSON.stringify({ chat_template: sources.wrapped }));
  if (sources.config !== undefined) await write("tokenizer_config.json", JSON.stringify(sources.config));
  if (sources.specialTokens !== undefined)
    await write("special_tokens_map.json", JSON.stringify(sources.specialTokens));
  return loadTokenizer(folder);
}

const HELLO = [{ role: "user", content: "Hi" }];

describe("a chat template", () => {
  it("is taken from chat_template.jinja, else chat_template.json, else tokenizer_config.json", async () => {
    const text = async (sources: Sources) => (await withTemplate(sources)).applyChatTemplate(HELLO).text;
    const all = { jinja: "file", wrapped: "json", config: { chat_template: "config" } };
    expect(await text(all)).toBe("file");
    expect(await text({ wrapped: "json", config: all.config })).toBe("json");
    expect(await text({ config: all.config })).toBe("config");
    const list = [
      { name: "tool_use", template: "tools" },
      { name: "default", template: "plain" },
    ];
    expect(await text({ config: { chat_template: list } })).toBe("plain");
    expect(await text({ config: { chat_template: list.slice(0, 1) } })).toBe("tools");
  });

  it("sees the special tokens, written as text or as objects", async () => {
    const jinja = "{{ bos_token }}|{{ eos_token }}|{{ 'a' if pad_token is defined else 'no' }} pad|{{ unk_token }}";
    const config = { bos_token: "<s>", eos_token: { content: "</s>", special: true }, pad_token: null };
    const tokenizer = await withTemplate({
      jinja,
      config,
      specialTokens: { unk_token: "<unk>", bos_token: "<other>" },
    });
    expect(tokenizer.applyChatTemplate(HELLO).text).toBe("<s>|</s>|no pad|<unk>");
  });

  it("sees message fields, the wish for a generation prompt, and no tools", async () => {
    const jinja =
      "{%- for message in messages %}\n  {%- if message.name %}\n{{ message['name'] }}:\n  {%- endif %}\n{{ message.content | trim }}\n{%- endfor %}" +
      "{% if tools %}tools{% endif %}{% if add_generation_prompt %}>{% endif %}";
    const tokenizer = await withTemplate({ jinja });
    const messages = [
      { role: "user", content: " a ", name: "Ivo" },
      { role: "user", content: "b" },
    ];
    expect(tokenizer.applyChatTemplate(messages).text).toBe("Ivo:ab");
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).text).toBe("Ivo:ab>");
  });

  it("drops the newline after a block and the spaces before it, as transformers sets Jinja up", async () => {
    const jinja = "a\n    {% if true %}\nb\n    {% endif %}\nc\n";
    expect((await withTemplate({ jinja })).applyChatTemplate(HELLO).text).toBe("a\nb\nc");
  });

  it("writes JSON as Python does", async () => {
    const jinja = "{{ messages | tojson }}|{{ messages[0] | tojson(indent=2) }}|{{ 'é<&' | tojson }}";
    expect((await withTemplate({ jinja })).applyChatTemplate(HELLO).text).toBe(
      '[{"role": "user", "content": "Hi"}]|{\n  "role": "user",\n  "content": "Hi"\n}|"é<&"',
    );
  });

  it("can ask for the date", async () => {
    const { text } = (await withTemplate({ jinja: "{{ strftime_now('%Y-%m-%d') }}" })).applyChatTemplate(HELLO);
    expect(text).toMatch(/^\d{4}-\d{2}-\d{2}$/);
  });

  it("gives ids in which special tokens are whole and nothing is added", async () => {
    const tokenizer = await withTemplate({ jinja: "<|im_start|>{{ messages[0].content }}<|im_end|>" });
    const { ids, text } = tokenizer.applyChatTemplate(HELLO);
    expect(ids[0]).toBe(1);
    expect(ids.at(-1)).toBe(2);
    expect(tokenizer.decode(ids)).toBe(text);
  });

  it.each<[string, Sources, string]>([
    ["there is none", {}, "no chat template"],
    ["it does not parse", { jinja: "{% for m in messages %}" }, "parsed"],
    ["it raises", { jinja: "{{ raise_exception('roles must alternate') }}" }, "roles must alternate"],
    ["it calls what does not exist", { jinja: "{{ nothing() }}" }, "refused"],
  ])("fails with a code when %s", async (_, sources, named) => {
    const tokenizer = await withTemplate(sources);
    const error = await failure(() => tokenizer.applyChatTemplate(HELLO), "WEIR_E_CHAT_TEMPLATE");
    expect(error.message).toContain(named);
    expect(tokenizer.encode("still usable").length).toBeGreaterThan(0);
  });

  it("fails with a code when a list of templates has no default", async () => {
    const list = [
      { name: "tool_use", template: "a" },
      { name: "rag", template: "b" },
    ];
    const error = await failure(() => withTemplate({ config: { chat_template: list } }), "WEIR_E_CHAT_TEMPLATE");
    expect(error.message).toContain('"tool_use", "rag"');
  });
});
