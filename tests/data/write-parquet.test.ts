import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Json } from "../../src/contracts/task.js";
import { fingerprintTasks } from "../../src/data/fingerprint.js";
import { readTasks } from "../../src/data/read-tasks.js";
import { readRecords } from "../../src/data/records.js";
import { generateTasks, verlRow } from "../../src/data/synthetic/index.js";
import { writeJsonl, writeParquet, writeVerlParquet } from "../../src/data/write-parquet.js";

const folder = () => mkdtemp(join(tmpdir(), "weir-parquet-"));

async function roundTrip(rows: readonly Readonly<Record<string, Json>>[]): Promise<unknown[]> {
  const path = join(await folder(), "rows.parquet");
  await writeParquet(path, rows);
  return readRecords(path);
}

describe("parquet written here", () => {
  it("keeps text, flags, numbers, lists and structs, and nulls where a row lacks a field", async () => {
    const rows = [
      { a: "ü", b: true, n: 1, x: 0.5, list: ["p", "q"], struct: { deep: [{ k: 1 }], other: "s" } },
      { a: null, b: false, n: 2 ** 40, x: 2, list: [], struct: { deep: [], other: null } },
    ];
    expect(await roundTrip(rows)).toEqual(rows);
  });

  it("turns what has no common type, and empty objects, into JSON text", async () => {
    expect(
      await roundTrip([
        { mixed: 1, empty: {} },
        { mixed: "a", empty: {} },
        { mixed: [1], empty: {} },
      ]),
    ).toEqual([
      { mixed: "1", empty: "{}" },
      { mixed: "a", empty: "{}" },
      { mixed: "[1]", empty: "{}" },
    ]);
  });

  it("round-trips any rows of one shape (property)", async () => {
    const row = fc.record({
      text: fc.string(),
      whole: fc.maxSafeInteger(),
      real: fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => value + 0.25),
      items: fc.array(fc.record({ name: fc.string(), flag: fc.boolean() }), { maxLength: 4 }),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 12 }), async (rows) => {
        const read = (await roundTrip(rows)) as typeof rows;
        expect(read.map(({ text, whole }) => [text, whole])).toEqual(rows.map(({ text, whole }) => [text, whole]));
        expect(read.map(({ items }) => items.map(({ name }) => name))).toEqual(
          rows.map(({ items }) => items.map(({ name }) => name)),
        );
        expect(read.map(({ real }) => Number(real))).toEqual(rows.map(({ real }) => real));
      }),
      { numRuns: 40 },
    );
  });

  it("holds more rows than a row group", async () => {
    const rows = Array.from({ length: 600 }, (_, i) => ({ i, text: `row ${i}` }));
    expect(await roundTrip(rows)).toEqual(rows);
  });

  it("refuses to write nothing, and leaves no draft behind", async () => {
    const directory = await folder();
    await expect(writeParquet(join(directory, "x.parquet"), [])).rejects.toMatchObject({ code: "WEIR_E_DATA" });
    await writeJsonl(join(directory, "x.jsonl"), [{ a: 1 }]);
    expect(await readdir(directory)).toEqual(["x.jsonl"]);
  });

  it("carries generated tasks to the reader and back, in parquet as in jsonl", async () => {
    const generated = (["multi-hop", "numeric", "multiple-choice"] as const).flatMap((family) =>
      generateTasks({
        seed: 3,
        count: 4,
        split: "train",
        family,
        length: { facts: [4, 8] },
        countTokens: (messages) => messages[0]?.content?.length ?? 0,
      }),
    );
    const directory = await folder();
    await writeVerlParquet(join(directory, "t.parquet"), generated.map(verlRow));
    await writeJsonl(join(directory, "t.jsonl"), generated.map(verlRow));
    const parquet = await readTasks(join(directory, "t.parquet"));
    const jsonl = await readTasks(join(directory, "t.jsonl"));
    const view = (tasks: typeof generated) =>
      tasks.map(({ messages, document, goldAnswers, source }) => ({ messages, document, goldAnswers, source }));
    expect(view(parquet)).toEqual(view(generated));
    expect(parquet[0]?.meta).toMatchObject({
      reasoning_hop: 2,
      family: "multi-hop",
      ability: "doc-qa",
    });
    expect(parquet.map(({ id }) => id)).toEqual(jsonl.map(({ id }) => id));
  });
});

describe("fingerprint", () => {
  it("depends on content and order, not on the order of keys or on the tokenizer", async () => {
    const tasks = generateTasks({
      seed: 1,
      count: 2,
      split: "train",
      length: { facts: [4, 4] },
      countTokens: () => 10,
    });
    const [first, second] = tasks;
    if (!first || !second) throw new Error("two tasks were asked for");
    const print = fingerprintTasks(tasks);
    expect(print).toMatch(/^[0-9a-f]{64}$/);
    expect(fingerprintTasks(tasks.map((task) => ({ ...task, promptTokens: 5 })))).toBe(print);
    expect(fingerprintTasks(tasks.map(({ id, ...rest }) => ({ ...rest, id })))).toBe(print);
    expect(fingerprintTasks([second, first])).not.toBe(print);
    expect(fingerprintTasks([{ ...first, goldAnswers: ["other"] }, second])).not.toBe(print);
  });
});
