import { appendFile, mkdtemp, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Fact } from "../../src/contracts/fact.js";
import { Journal, type JournalMark, readFacts } from "../../src/store/journal.js";
import { COMMITTED, RESUMED, STARTED } from "../helpers/facts.js";

async function fresh() {
  const folder = await mkdtemp(join(tmpdir(), "weir-journal-"));
  const notices: string[] = [];
  const path = join(folder, "journal.ndjson");
  const open = () => Journal.open(path, { clock: () => 1_000, say: (notice) => notices.push(notice) });
  return { folder, path, notices, open };
}

const reasonOf = (fact: Fact) => (fact.type === "run.resumed" ? fact.data.reason : null);

describe("the journal", () => {
  it("numbers facts without gaps, also over re-opening", async () => {
    const { open } = await fresh();
    const first = await open();
    first.append("run.started", 0, STARTED);
    first.append("step.committed", 1, COMMITTED);
    first.close();
    const second = await open();
    expect(second.seq).toBe(2);
    expect(second.append("step.committed", 2, { ...COMMITTED, kept: 3 })).toEqual({
      schema_version: 1,
      seq: 3,
      type: "step.committed",
      step: 2,
      time: 1_000,
      data: { ...COMMITTED, kept: 3 },
    });
    expect([...second.read()].map((fact) => fact.seq)).toEqual([1, 2, 3]);
    expect([...second.read(3)].map((fact) => fact.type)).toEqual(["step.committed"]);
    second.close();
  });

  it("moves a torn last line aside, says so, and goes on with the next number", async () => {
    const { open, path, folder, notices } = await fresh();
    const first = await open();
    first.append("run.started", 0, STARTED);
    first.close();
    await appendFile(path, '{"schema_version":1,"seq":2,"type":"step.comm');
    const second = await open();
    expect(notices).toEqual([
      expect.stringMatching(/journal\.ndjson: .*not finished \(45 bytes.*journal\.torn-1\.ndjson/),
    ]);
    expect(second.append("step.committed", 1, COMMITTED).seq).toBe(2);
    second.close();
    expect(await readFile(join(folder, "journal.torn-1.ndjson"), "utf8")).toContain("step.comm");
  });

  it("refuses a journal that is damaged before its last line", async () => {
    const { open, path } = await fresh();
    const journal = await open();
    for (let step = 0; step < 3; step++) journal.append("step.committed", step, COMMITTED);
    journal.close();
    const lines = (await readFile(path, "utf8")).split("\n");
    await writeFile(path, [lines[0], "garbage", lines[2], ""].join("\n"));
    await expect(open()).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER", details: { line: 2 } });
    await writeFile(path, [lines[0], lines[2], lines[2], ""].join("\n"));
    await expect(open()).rejects.toThrow(/line 2/);
  });

  it("shows observers a fact only when the file has it", async () => {
    const { open, path } = await fresh();
    const journal = await open();
    const seen: [Fact, number][] = [];
    const stop = journal.observe((fact) => seen.push([fact, [...readFacts(path)].length]));
    journal.append("run.started", 0, STARTED);
    journal.append("step.committed", 0, COMMITTED);
    stop();
    journal.append("run.resumed", 0, RESUMED);
    expect(seen.map(([fact, length]) => [fact.type, length])).toEqual([
      ["run.started", 1],
      ["step.committed", 2],
    ]);
    journal.close();
  });

  it("tails: the past first, then what comes, without a hole or a double", async () => {
    const { open } = await fresh();
    const journal = await open();
    journal.append("run.resumed", 0, { ...RESUMED, reason: "past" });
    const seen: number[] = [];
    const done = new AbortController();
    const reading = (async () => {
      for await (const fact of journal.tail(1, done.signal)) {
        seen.push(fact.seq);
        if (fact.seq === 1) journal.append("run.resumed", 0, { ...RESUMED, reason: "while reading" });
        if (fact.seq === 2) setImmediate(() => journal.append("run.resumed", 0, { ...RESUMED, reason: "later" }));
        if (fact.seq === 3) done.abort();
      }
    })();
    await reading;
    expect(seen).toEqual([1, 2, 3]);
    journal.close();
  });

  it("rolls back to any mark and keeps what it cut off (property)", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ maxLength: 40 }), { minLength: 1, maxLength: 20 }),
        fc.nat(),
        async (texts, pick) => {
          const { open, folder } = await fresh();
          const journal = await open();
          const marks: JournalMark[] = [journal.mark()];
          for (const text of texts) {
            journal.append("run.resumed", 0, { ...RESUMED, reason: text });
            marks.push(journal.mark());
          }
          const kept = pick % marks.length;
          const aside = await journal.rollBack(marks[kept] as JournalMark);
          expect([...journal.read()].map((fact) => reasonOf(fact))).toEqual(texts.slice(0, kept));
          expect(journal.append("run.started", 0, STARTED).seq).toBe(kept + 1);
          journal.close();
          const cut = aside === null ? [] : [...readFacts(aside)].map((fact) => reasonOf(fact));
          expect(cut).toEqual(texts.slice(kept));
          expect((await readdir(folder)).length).toBe(aside === null ? 1 : 2);
        },
      ),
      { numRuns: 25 },
    );
  });

  it("refuses a mark that it does not have", async () => {
    const { open } = await fresh();
    const journal = await open();
    journal.append("run.started", 0, STARTED);
    await expect(journal.rollBack({ bytes: 10, seq: 1 })).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER" });
    await expect(journal.rollBack({ bytes: 0, seq: 9 })).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER" });
    journal.close();
  });
});
