import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { loadTokenizer, type Tokenizer } from "../../src/model/io/tokenizer.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

interface Sources {
  readonly jinja?: string;
  readonly wrapped?: string;
  readonly config?: Record<string, unknown>;
  readonly specialTokens?: Record<string, unknown>;
}

/** A folder with the smollm tokenizer and templates in the given places. */
async function folderWith(sources: Sources): Promise<string> {
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
  return folder;
}

const withTemplate = async (sources: Sources): Promise<Tokenizer> => loadTokenizer(await folderWith(sources));

const HELLO = [{ role: "user", content: "Hi" }];

describe("a chat template", () => {
  it("is taken from chat_template.jinja, else tokenizer_config.json as AutoTokenizer does, else chat_template.json", async () => {
    const text = async (sources: Sources) => (await withTemplate(sources)).applyChatTemplate(HELLO).text;
    const all = { jinja: "file", wrapped: "json", config: { chat_template: "config" } };
    expect(await text(all)).toBe("file");
    expect(await text({ wrapped: "json", config: all.config })).toBe("config");
    expect(await text({ wrapped: "json" })).toBe("json");
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
    expect(tokenizer.applyChatTemplate(HELLO).text).toBe("<other>|</s>|no pad|<unk>");
  });

  // Recorded with AutoTokenizer of transformers 5.24 on folders with these files.
  it.each<[string, Sources, string]>([
    [
      "the map is left aside beside added_tokens_decoder",
      {
        config: { bos_token: "<s>", added_tokens_decoder: {} },
        specialTokens: { bos_token: "<other>" },
      },
      "<s>||",
    ],
    ["the map can take a token away", { config: { bos_token: "<s>" }, specialTokens: { bos_token: null } }, "||"],
    [
      "Qwen2Tokenizer has an eos and a pad of its own",
      { config: { tokenizer_class: "Qwen2Tokenizer" } },
      "|<|endoftext|>|<|endoftext|>",
    ],
    [
      "a class's own token gives way to an explicit null",
      { config: { tokenizer_class: "Qwen2Tokenizer", eos_token: null } },
      "||<|endoftext|>",
    ],
    ["GPT2Tokenizer has a bos", { config: { tokenizer_class: "GPT2Tokenizer" } }, "<|endoftext|>|<|endoftext|>|"],
    ["LlamaTokenizer over a byte-level file has none", { config: { tokenizer_class: "LlamaTokenizerFast" } }, "||"],
  ])("sees the tokens that transformers names: %s", async (_, sources, expected) => {
    const tokenizer = await withTemplate({ jinja: "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}", ...sources });
    expect(tokenizer.applyChatTemplate(HELLO).text).toBe(expected);
  });

  it("sees named special tokens of a model", async () => {
    const config = { extra_special_tokens: { tool_token: "<tool>" }, image_token: "<img>" };
    const tokenizer = await withTemplate({ jinja: "{{ tool_token }}{{ image_token }}", config });
    expect(tokenizer.applyChatTemplate(HELLO).text).toBe("<tool><img>");
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
    ["it does not parse", { jinja: "a\n{% for m in messages %}" }, "chat_template.jinja, line 2"],
    [
      "it raises",
      { jinja: "{{ raise_exception('roles must alternate') }}" },
      "refuses the messages (user): roles must alternate",
    ],
    ["it calls what does not exist", { jinja: "{{ nothing() }}" }, "nothing is undefined"],
    ["it includes another", { jinja: "\n\n{% include 'other' %}" }, "does not compute: the statement {% include %}"],
  ])("fails with a code when %s", async (_, sources, named) => {
    const tokenizer = await withTemplate(sources);
    const error = await failure(() => tokenizer.applyChatTemplate(HELLO), "WEIR_E_CHAT_TEMPLATE");
    expect(error.message).toContain(named);
    expect(error.message).not.toContain("in the order");
    expect(tokenizer.encode("still usable").length).toBeGreaterThan(0);
  });

  it("prefers the template named tool_use where tools are given", async () => {
    const list = [
      { name: "default", template: "plain {{ tools is none }}" },
      { name: "tool_use", template: "{{ tools[0].name }} {{ documents[0].title }} {{ enable_thinking }}" },
    ];
    const tokenizer = await withTemplate({ config: { chat_template: list } });
    expect(tokenizer.applyChatTemplate(HELLO).text).toBe("plain True");
    const options = {
      tools: [{ name: "add" }],
      documents: [{ title: "T" }],
      variables: { enable_thinking: false },
    };
    expect(tokenizer.applyChatTemplate(HELLO, options).text).toBe("add T False");
  });

  it("takes files of additional_chat_templates before what tokenizer_config.json holds", async () => {
    const config = { chat_template: "config" };
    const folder = await folderWith({ config, jinja: "file" });
    await mkdir(join(folder, "additional_chat_templates"));
    await writeFile(join(folder, "additional_chat_templates", "tool_use.jinja"), "tools\r\n");
    const tokenizer = await loadTokenizer(folder);
    expect(tokenizer.applyChatTemplate(HELLO).text).toBe("file");
    expect(tokenizer.applyChatTemplate(HELLO, { tools: [] }).text).toBe("tools");
    await rm(join(folder, "chat_template.jinja"));
    const error = await failure(() => loadTokenizer(folder), "WEIR_E_CHAT_TEMPLATE");
    expect(error.message).toContain('"tool_use", expected one named "default"');
  });

  it("hands messages over as transformers does: no nulls, and reasoning under both of its names", async () => {
    const tokenizer = await withTemplate({ jinja: "{{ messages }}" });
    const messages = [{ role: "assistant", content: null, thinking: "hm", tool_calls: [{ id: 1 }], name: null }];
    // chat "nulls" of tests/fixtures/templates/inputs.json, printed by transformers 5.24.
    expect(tokenizer.applyChatTemplate(messages).text).toBe(
      "[{'thinking': 'hm', 'role': 'assistant', 'tool_calls': [{'id': 1}], 'reasoning_content': 'hm'}]",
    );
  });

  // Templates and texts of transformers, as users reported them; the date is that of the frozen clock.
  it.each([
    ["11-template-crlf/blocks", "hi\n"],
    ["12-template-dates/weekday", "Saturday, 28 November 2026"],
    ["13-template-constructs-refused/loop-over-undefined", "ok"],
    ["13-template-constructs-refused/raw", "{{ x }}"],
    ["13-template-constructs-refused/format-percent", "x: "],
    ["13-template-constructs-refused/string-times", "---"],
    ["13-template-constructs-refused/with", "1"],
    ["13-template-constructs-refused/round", "2"],
  ])("renders the reported template %s", async (name, expected) => {
    vi.useFakeTimers({ now: new Date(2026, 10, 28, 12), toFake: ["Date"] });
    onTestFinished(() => {
      vi.useRealTimers();
    });
    const jinja = await readFile(join(OWN_FIXTURES, "cases", name, "chat_template.jinja"), "utf8");
    const tokenizer = await withTemplate({ jinja });
    const messages = [{ role: "user", content: "hi" }];
    expect(tokenizer.applyChatTemplate(messages, { addGenerationPrompt: true }).text).toBe(expected);
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
