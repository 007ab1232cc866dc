import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readTasks } from "../../src/data/read-tasks.js";

const fixture = (name: string) => new URL(`../fixtures/data/${name}`, import.meta.url).pathname;

async function file(name: string, content: string): Promise<string> {
  const path = join(await mkdtemp(join(tmpdir(), "weir-data-")), name);
  await writeFile(path, content);
  return path;
}

const lines = (...rows: unknown[]) => rows.map((row) => JSON.stringify(row)).join("\n");

describe("verl-style parquet as pyarrow writes it", () => {
  it("reads struct columns, extra columns, several row groups and a missing index", async () => {
    const tasks = await readTasks(fixture("verl-structs.parquet"));
    expect(tasks.map(({ source, goldAnswers, document }) => [source, goldAnswers[0], document])).toEqual([
      ["musique_0_20000", "Therefore, the answer is Peru.", "Lima lies in Peru."],
      ["docmath_20000_40000", "Therefore, the answer is 3.5.", "Costs were 3.5 million."],
      ["long_toc_choices_40000_plus", "The correct answer is (B).", "第一章 猫与狗。"],
    ]);
    expect(tasks[0]?.meta).toEqual({ ability: "doc-qa", index: 7, input_length: 27, split_name: "train" });
    expect(tasks[2]?.meta).toEqual({ ability: "doc-mc", index: 0, split_name: "train" });
    expect(tasks[0]?.messages).toHaveLength(1);
    expect(tasks[0]?.messages[0]?.content).toContain("Where does Lima lie?");
    expect(tasks[0]?.promptTokens).toBe(0);
  });

  it("reads JSON-text and plain-text columns to the same tasks, with the same ids", async () => {
    const structs = await readTasks(fixture("verl-structs.parquet"));
    const texts = await readTasks(fixture("verl-json-text.parquet"));
    expect(texts.map(({ id }) => id)).toEqual(structs.map(({ id }) => id));
    expect(texts.map(({ messages }) => messages)).toEqual(structs.map(({ messages }) => messages));
    expect(texts.map(({ goldAnswers }) => goldAnswers)).toEqual(structs.map(({ goldAnswers }) => goldAnswers));
  });

  it("names a damaged file", async () => {
    const whole = await readFile(fixture("verl-structs.parquet"));
    const path = await file("cut.parquet", "");
    await writeFile(path, whole.subarray(0, whole.length - 20));
    await expect(readTasks(path)).rejects.toMatchObject({
      code: "WEIR_E_DATA",
      message: expect.stringMatching(/cut\.parquet: expected a whole parquet file/),
    });
  });
});

describe("task ids", () => {
  const row = (index: number | undefined, gold: string) => ({
    data_source: "musique",
    prompt: "Who?",
    reward_model: { ground_truth: gold },
    ...(index === undefined ? {} : { extra_info: { index } }),
  });

  it("are unique where rows share an index, and do not depend on the order of rows", async () => {
    const ids = async (...rows: unknown[]) =>
      (await readTasks(await file("a.jsonl", lines(...rows)))).map(({ id }) => id);
    const forward = await ids(row(1, "A"), row(1, "B"), row(undefined, "C"));
    const backward = await ids(row(undefined, "C"), row(1, "B"), row(1, "A"));
    expect(new Set(forward).size).toBe(3);
    expect([...backward].reverse()).toEqual(forward);
    expect(forward[0]).toMatch(/^musique:1:[0-9a-f]{8}$/);
    expect(forward[2]).toMatch(/^musique:0:[0-9a-f]{8}$/);
  });

  it("tell equal rows apart by their occurrence", async () => {
    const tasks = await readTasks(await file("a.jsonl", lines(row(1, "A"), row(1, "A"))));
    expect(tasks[1]?.id).toBe(`${tasks[0]?.id}#2`);
  });
});

describe("text formats", () => {
  it("reads weir's own tasks back as they were", async () => {
    const task = {
      id: "mine",
      messages: [
        { role: "system", content: "Be brief." },
        { role: "user", content: "Who?" },
      ],
      document: "D",
      goldAnswers: ["Therefore, the answer is Ada."],
      source: "musique",
      promptTokens: 99,
      meta: { index: 3, hops: 2 },
    };
    expect(await readTasks(await file("t.jsonl", `\uFEFF${lines(task)}\r\n\r\n`))).toEqual([
      { ...task, promptTokens: 0 },
    ]);
    expect(await readTasks(await file("t.json", JSON.stringify([task])), { format: "jsonl" })).toHaveLength(1);
  });

  it("reads LongBench: context, input and every accepted answer", async () => {
    const path = await file(
      "l.jsonl",
      lines({
        context: "Ada wrote notes.",
        input: "Who wrote?",
        answers: ["Ada", "Lovelace"],
        dataset: "hotpotqa",
        _id: "x",
      }),
    );
    const [task] = await readTasks(path);
    expect(task).toMatchObject({
      source: "hotpotqa",
      document: "Ada wrote notes.",
      goldAnswers: ["Therefore, the answer is Ada.", "Therefore, the answer is Lovelace."],
      meta: { id: "x", index: 0, question: "Who wrote?", answer: "Ada", answers: ["Ada", "Lovelace"] },
    });
    expect(task?.messages[0]?.content).toContain("<text>\nAda wrote notes.\n</text>\n\nWho wrote?");
  });

  it("reads DocMath: joined paragraphs and a numeric truth", async () => {
    const path = await file(
      "d.jsonl",
      lines({ paragraphs: ["One.", "Two."], question: "How much?", ground_truth: 12.5 }),
    );
    expect((await readTasks(path))[0]).toMatchObject({
      source: "docmath",
      document: "One.\nTwo.",
      goldAnswers: ["Therefore, the answer is 12.5."],
    });
  });

  it("reads Frames: titles and texts of the wiki items", async () => {
    const items = [
      { title: "Ada", text: "Wrote notes." },
      { title: "Bob", text: "Read them." },
    ];
    const path = await file("f.jsonl", lines({ wiki_items: items, Prompt: "Who read?", Answer: "Bob" }));
    expect((await readTasks(path, { format: "frames" }))[0]).toMatchObject({
      source: "frames",
      document: "Ada\nWrote notes.\nBob\nRead them.",
      goldAnswers: ["Therefore, the answer is Bob."],
    });
  });
});

describe("errors name file, row and column", () => {
  const good = { data_source: "musique", prompt: "Who?", reward_model: { ground_truth: "A" } };
  it.each<[string, unknown[], string, RegExp]>([
    [
      "a prompt that is no prompt",
      [good, { ...good, prompt: [{ role: "user" }] }],
      "auto",
      /bad\.jsonl, row 1, column "prompt": expected text, or a list/,
    ],
    ["an empty prompt", [good, { ...good, prompt: "" }], "auto", /row 1, column "prompt"/],
    [
      "a lacking source",
      [{ ...good, data_source: undefined, ability: "x" }],
      "verl",
      /row 0, column "data_source": expected text, got nothing/,
    ],
    [
      "a lacking truth",
      [{ ...good, reward_model: {} }],
      "auto",
      /column "reward_model\.ground_truth": expected text, a number, or a list of them, got nothing/,
    ],
    [
      "a reward model that is no struct",
      [{ ...good, reward_model: "A" }],
      "auto",
      /column "reward_model": expected a struct with ground_truth, got "A"/,
    ],
    ["extra info that is no struct", [{ ...good, extra_info: "x" }], "auto", /column "extra_info"/],
    [
      "unknown columns",
      [{ a: 1, b: 2 }],
      "auto",
      /its columns \(a, b\) fit no known format; expected one of weir tasks \(messages.*verl \(data_source/,
    ],
    [
      "an evaluation file read as jsonl",
      [{ context: "c", input: "i", answers: ["a"] }],
      "jsonl",
      /fit no known format/,
    ],
    ["answers that are no list", [{ context: "c", input: "i", answers: "a" }], "longbench", /column "answers"/],
    [
      "paragraphs that are no list",
      [{ paragraphs: "p", question: "q", ground_truth: 1 }],
      "docmath",
      /column "paragraphs"/,
    ],
    [
      "pages without text",
      [{ wiki_items: [{ title: "t" }], Prompt: "p", Answer: "a" }],
      "frames",
      /column "wiki_items"/,
    ],
    ["no rows", [], "auto", /expected at least one row/],
  ])("%s", async (_, rows, format, message) => {
    const path = await file("bad.jsonl", lines(...rows));
    await expect(readTasks(path, { format })).rejects.toMatchObject({
      code: "WEIR_E_DATA",
      message: expect.stringMatching(message),
    });
  });

  it("a line that is not JSON, with its number", async () => {
    await expect(readTasks(await file("bad.jsonl", `${lines(good)}\nnope`))).rejects.toThrow(
      /bad\.jsonl: .*line 2 is "nope"/,
    );
    await expect(readTasks(await file("bad.jsonl", "3"))).rejects.toThrow(/expected a JSON object in line 1, got 3/);
    await expect(readTasks(await file("bad.json", "[1"))).rejects.toThrow(/expected a JSON array/);
  });

  it("a file that is not there", async () => {
    await expect(readTasks("/nonexistent/x.parquet")).rejects.toMatchObject({ code: "WEIR_E_FILE_MISSING" });
  });
});
