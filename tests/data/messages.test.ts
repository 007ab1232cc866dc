import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { messagesOf } from "../../src/data/messages.js";
import { parseJson } from "../../src/data/parse-json.js";
import { readTasks } from "../../src/data/read-tasks.js";
import { parseSftExample } from "../../src/data/sft.js";
import { verlRow } from "../../src/data/synthetic/index.js";
import { writeJsonl, writeVerlParquet } from "../../src/data/write-parquet.js";
import { failure } from "../helpers/errors.js";
import { temporaryFolder } from "../helpers/fixtures.js";

const place = { file: "f.jsonl", row: 2, column: "prompt" };
const user = { role: "user", content: "Weather?" };
const call = {
  role: "assistant",
  content: null,
  tool_calls: [{ type: "function", function: { name: "city", arguments: { name: "Oslo", near: null, share: 1e-7 } } }],
};
const answer = { role: "tool", content: "18 C", tool_call_id: "c1", name: "city" };

describe("messages of a prompt", () => {
  it("keep every field, also deep inside, and in JSON text", () => {
    const messages = [user, call, answer, { role: "assistant", content: "", reasoning_content: "hm" }];
    expect(messagesOf(messages, place, true)).toEqual(messages);
    expect(messagesOf(JSON.stringify(messages), place, true)).toEqual(messages);
  });

  it("lack fields that are null, as servers write them", () => {
    const dumped = { role: "assistant", content: "hi", tool_calls: null, function_call: null, refusal: null };
    expect(messagesOf([user, dumped], place, true)).toEqual([user, { role: "assistant", content: "hi" }]);
  });

  it("take the text of a single text part", () => {
    expect(messagesOf([{ role: "user", content: [{ type: "text", text: "hi" }] }], place, true)).toEqual([
      { role: "user", content: "hi" },
    ]);
  });

  it("take plain text as the user's, also where it begins with a bracket", () => {
    for (const text of ["hi", "[1] first", "[]", "[1, 2]", '["a"]'])
      expect(messagesOf(text, place, true)).toEqual([{ role: "user", content: text }]);
  });

  it.each<[string, string, RegExp]>([
    [
      "a role of another convention",
      '[{"role":"developer","content":"x"}]',
      /message 0 has the role "developer".*write "system"/,
    ],
    ["the role of a function", '[{"role":"function","content":"x"}]', /write "tool"/],
    ["a role in capitals", '[{"role":"User","content":"x"}]', /write "user"/],
    [
      "a role that nobody knows",
      '[{"role":"judge","content":"x"}]',
      /expected one of system, user, assistant, tool, got/,
    ],
    ["ShareGPT's fields", '[{"from":"human","value":"x"}]', /"from" and "value".*rename them/],
    ["no role", '[{"content":"x"}]', /message 0 has no role/],
    ["no content", '[{"role":"user","content":"x"},{"role":"assistant"}]', /message 1 has no content/],
    [
      "null without tool calls",
      '[{"role":"assistant","content":null}]',
      /no content \(null\); only a message with tool_calls may/,
    ],
    [
      "pictures",
      '[{"role":"user","content":[{"type":"image_url"},{"type":"text","text":"x"}]}]',
      /parts \("image_url", "text"\)/,
    ],
    [
      "several texts",
      '[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]',
      /write its text as one string/,
    ],
    [
      "a text part with more than a text",
      '[{"role":"user","content":[{"type":"text","text":"a","citations":[1]}]}]',
      /write its text as one string/,
    ],
    ["a number as content", '[{"role":"user","content":5}]', /a content that is not text/],
    ["a message that is text", '[{"role":"user","content":"x"},"y"]', /message 1 is not an object/],
    [
      "digits that JSON loses",
      '[{"role":"assistant","content":"","tool_calls":[{"id":12345678901234567890}]}]',
      /"tool_calls".*cannot hold exactly/,
    ],
    ["half of a surrogate pair", '[{"role":"user","content":"\\ud83d"}]', /lone surrogate/],
    ["an empty list", "[]", /expected text, or a list of messages/],
    ["an object", '{"role":"user","content":"x"}', /expected text, or a list of messages/],
  ])("are refused for %s", async (_, json, message) => {
    const error = await failure(() => messagesOf(parseJson(json), place, true), "WEIR_E_DATA");
    expect(error.message).toMatch(/^WEIR_E_DATA: f\.jsonl, row 2, column "prompt": /);
    expect(error.message).toMatch(message);
  });

  it("may hold a backslash and the letters of an escape", () => {
    expect(messagesOf([{ role: "user", content: "write \\ud83d for it" }], place, true)).toHaveLength(1);
  });
});

describe("rows with messages of more fields", () => {
  const row = (messages: unknown, extra: object = {}) => ({
    data_source: "musique",
    prompt: messages,
    reward_model: { ground_truth: "Therefore, the answer is 18." },
    ...extra,
  });
  const read = async (...rows: object[]) => {
    const path = join(await temporaryFolder(), "t.jsonl");
    await writeFile(path, rows.map((one) => JSON.stringify(one)).join("\n"));
    return readTasks(path);
  };

  it("have ids that depend on the fields, where plain rows keep the ids they had", async () => {
    const [plain, withName, withOtherName] = await read(
      row([user]),
      row([{ ...user, name: "Ada" }]),
      row([{ ...user, name: "Bob" }]),
    );
    // The id that the row had when a message was a role and a content only: sha256 of
    // [[["user","Weather?"]],"Therefore, the answer is 18."].
    expect(plain?.id).toBe("musique:0:11999717");
    expect(new Set([plain?.id, withName?.id, withOtherName?.id]).size).toBe(3);
  });

  it("come back from parquet and JSON lines as they were", async () => {
    const [task] = await read(row([user, call, answer], { ability: "qa" }));
    if (!task) throw new Error("one task was written");
    const folder = await temporaryFolder();
    await writeVerlParquet(join(folder, "t.parquet"), [verlRow(task)]);
    await writeJsonl(join(folder, "t.jsonl"), [verlRow(task)]);
    for (const name of ["t.parquet", "t.jsonl"]) {
      const [again] = await readTasks(join(folder, name));
      expect(again?.messages).toEqual(task.messages);
      expect(again?.id).toBe(task.id);
    }
  });

  it.each(["tools", "images", "videos", "audios"])(
    "are refused for %s, which the prompt would lack",
    async (column) => {
      const error = await failure(() => read(row([user], { [column]: [{ a: 1 }] })), "WEIR_E_DATA");
      expect(error.message).toContain(`column "${column}": expected nothing`);
      expect(await read(row([user], { [column]: [] }), row([user], { [column]: null }))).toHaveLength(2);
    },
  );
});

describe("demonstrations", () => {
  it("are read from prompt or messages, with every field of a message", () => {
    for (const column of ["prompt", "messages"])
      expect(parseSftExample({ [column]: [user, call, answer], response: "18" }, "f", 0)).toEqual({
        messages: [user, call, answer],
        response: "18",
      });
    expect(parseSftExample({ prompt: "hi", response: "ho" }, "f", 0).messages).toEqual([
      { role: "user", content: "hi" },
    ]);
  });

  it("are refused where nothing is to be imitated, or the prompt would lack its tools", async () => {
    const whole = await failure(() => parseSftExample({ messages: [user] }, "f", 3), "WEIR_E_DATA");
    expect(whole.message).toMatch(/f, row 3, column "response".*the assistant's last message/);
    await failure(() => parseSftExample({ prompt: "hi", response: "" }, "f", 0), "WEIR_E_DATA");
    await failure(() => parseSftExample({ prompt: "hi", response: "ho", tools: [{}] }, "f", 0), "WEIR_E_DATA");
  });
});
