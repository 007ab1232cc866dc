/** `weir tokenize` on the stored cases; the ids are those of transformers 5.24 and tokenizers 0.23.3. */
import { cp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { register } from "../../src/cli/commands/tokenize.js";
import { writeParquet } from "../../src/data/write-parquet.js";
import { failure } from "../helpers/errors.js";
import { OWN_FIXTURES, temporaryFolder } from "../helpers/fixtures.js";

const caseFolder = (...parts: string[]) => join(OWN_FIXTURES, "cases", ...parts);
const LLAMA = caseFolder("08-sft-end-token", "llama31");
const ADDED = "09-added-tokens-in-config";
const SETTINGS = "10-tokenizer-settings-read-differently";

let written: string;
beforeEach(() => {
  written = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    written += String(text);
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

async function run(...args: readonly string[]): Promise<string> {
  const program = new Command().exitOverride();
  register(program);
  await program.parseAsync(["node", "weir", "tokenize", ...args]);
  return written;
}

async function fileOf(content: string): Promise<string> {
  const file = join(await temporaryFolder(), "in.json");
  await writeFile(file, content);
  return file;
}

describe("weir tokenize --text", () => {
  it.each<[string, string, string, readonly number[]]>([
    [ADDED, "added_tokens_decoder", "a <my_tok>b<think2>", [69, 225, 400, 70, 401]],
    [ADDED, "extra_special_tokens", "x <new_special>z", [92, 225, 400, 94]],
    [SETTINGS, "possessive-cl100k", "a\n\nb", [69, 400, 70]],
    [SETTINGS, "split-invert-isolated", "a b\n", [69, 225, 70, 203]],
    [SETTINGS, "split-contiguous", "  ", [286]],
    [SETTINGS, "punctuation-removed", "a.b<<", [69, 70]],
    [SETTINGS, "replace-dollar", "a1b", [69, 7, 8, 10, 70]],
    [SETTINGS, "replace-string-dollar", "xay", [92, 8, 10, 70, 93]],
    [SETTINGS, "metaspace-split", "a    b", [13, 1, 13, 13, 13, 13, 2]],
  ])("%s/%s: gives the ids of the reference", async (kind, name, text, ids) => {
    const result = JSON.parse(await run("--model", caseFolder(kind, name), "--text", text, "--json"));
    expect(result).toMatchObject({ ids, chat: null, chatIds: null });
    expect(result.tokens).toHaveLength(ids.length);
  });

  it("gives the text as a user message before the model's answer", async () => {
    expect(JSON.parse(await run("--model", LLAMA, "--text", "hi", "--json"))).toEqual({
      ids: [76, 77],
      tokens: ["h", "i"],
      chat: "[user]hi<|eot_id|>[assistant]",
      chatIds: [63, 89, 87, 315, 65, 76, 77, 402, 63, 274, 87, 265, 88, 306, 88, 65],
    });
  });

  it("adds what the post-processor adds", async () => {
    const folder = join(OWN_FIXTURES, "tokenizers", "llama3");
    const { ids } = JSON.parse(await run("--model", folder, "--text", "", "--json"));
    expect(ids).toEqual([0]);
  });

  it("shows tokens on a line each, without control characters", async () => {
    const shown = await run("--model", LLAMA, "--text", "\u001b[2J\n");
    expect(shown).toContain('\n220 "\\u001b"\n');
    expect(shown).toContain("as a user message: 19 tokens");
    expect(shown).not.toContain("\u001b");
  });

  it("shows that a folder has no template", async () => {
    expect(await run("--model", caseFolder(ADDED, "extra_special_tokens"), "--text", "")).toBe(
      "0 tokens\n\nno chat template\n",
    );
  });
});

describe("weir tokenize --in", () => {
  it("renders conversations with all fields of their messages", async () => {
    const folder = join(await temporaryFolder(), "model");
    await cp(LLAMA, folder, { recursive: true });
    await writeFile(
      join(folder, "chat_template.jinja"),
      "{% for m in messages %}{{ m.role[0] }}{{ m.content }}{{ m.name }}{% endfor %}{% if add_generation_prompt %}|{% endif %}",
    );
    const user = { role: "user", content: "a", name: "Z" };
    const answer = { role: "assistant", content: "b" };
    const file = await fileOf(
      `\uFEFF${JSON.stringify({ conversations: [[user], [user, answer], [answer, user]] }, null, 1)}`,
    );
    expect(JSON.parse(await run("--model", folder, "--in", file, "--json"))).toEqual({
      chats: [
        { text: "uaZ|", ids: [89, 69, 62, 96] },
        { text: "uaZab", ids: [89, 69, 62, 69, 70] },
        { text: "abuaZ|", ids: [69, 70, 89, 69, 62, 96] },
      ],
    });
  });

  it("ends SFT rows as the template does, and marks what is learnt", async () => {
    const rows = [
      { prompt: "a", response: "b" },
      { messages: [{ role: "user", content: "a" }], response: "b<|eot_id|>" },
    ];
    const prompt = [63, 89, 87, 315, 65, 69, 402, 63, 274, 87, 265, 88, 306, 88, 65];
    const row = { ids: [...prompt, 70, 402], lossMask: [...prompt.map(() => 0), 1, 1] };
    const lines = await fileOf(`${rows.map((line) => JSON.stringify(line)).join("\n")}\n`);
    expect(JSON.parse(await run("--model", LLAMA, "--in", lines, "--json"))).toEqual({ rows: [row, row] });
    written = "";
    const parquet = join(await temporaryFolder(), "rows.parquet");
    await writeParquet(parquet, [rows[0] as { prompt: string; response: string }]);
    expect(JSON.parse(await run("--model", LLAMA, "--in", parquet, "--json"))).toEqual({ rows: [row] });
    written = "";
    expect(await run("--model", LLAMA, "--in", lines)).toContain(
      'row 0: 15 tokens of prompt, 2 of response\n70 "b"\n402 "<|eot_id|>"\n',
    );
  });

  it("takes the stop id of generation_config.json where nothing else tells the end", async () => {
    const folder = await temporaryFolder();
    await cp(join(LLAMA, "tokenizer.json"), join(folder, "tokenizer.json"));
    await writeFile(join(folder, "chat_template.jinja"), "{{ messages[0].content }}");
    await writeFile(join(folder, "generation_config.json"), '{"eos_token_id": [401, 400]}');
    const file = await fileOf('{"prompt":"a","response":"b"}');
    expect(JSON.parse(await run("--model", folder, "--in", file, "--json"))).toEqual({
      rows: [{ ids: [69, 70, 401], lossMask: [0, 1, 1] }],
    });
  });

  it.each([
    ["a conversation that is no list of messages", '{"conversations":[{"role":"user"}]}', /conversation 0/],
    ["an empty conversation", '{"conversations":[[{"role":"user","content":"a"}],[]]}', /conversation 1/],
    ["a row without response", '{"prompt":"a"}', /response/],
    ["a file that is not JSON", "hello", /one JSON object per line/],
  ])("refuses %s", async (_, content, message) => {
    const file = await fileOf(content);
    const error = await failure(() => run("--model", LLAMA, "--in", file), "WEIR_E_DATA");
    expect(error.message).toMatch(message);
    expect(error.message).toContain(file);
  });
});

describe("weir tokenize", () => {
  it("wants one of --text and --in", async () => {
    await failure(() => run("--model", LLAMA), "WEIR_E_USAGE");
    await failure(() => run("--model", LLAMA, "--text", "a", "--in", "b"), "WEIR_E_USAGE");
  });
});
