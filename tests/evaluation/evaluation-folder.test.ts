/** The folder of an evaluation: what a kill leaves, what may go on, and the parquet file. */
import { spawnSync } from "node:child_process";
import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { describe, expect, it } from "vitest";
import { EvaluationFolder, readEvaluation } from "../../src/actors/evaluation/evaluation-folder.js";
import { temporaryFolder } from "../helpers/fixtures.js";
import { responseOf } from "./responses.js";

const SETTINGS = { version: 1, samples: 2, seed: 1 };
const open = (folder: string, notices: string[] = [], settings: Record<string, number> = SETTINGS) =>
  EvaluationFolder.open(folder, settings, (notice) => notices.push(notice));
const bucketOf = (tokens: number | null) => (tokens === null ? "unknown" : "all");

describe("the folder of an evaluation", () => {
  it("goes on after a kill in the middle of a line, and says what it moved aside", async () => {
    const folder = await temporaryFolder();
    const first = await open(folder);
    first.record(responseOf({ item: "a", sample: 0 }));
    first.record(responseOf({ item: "a", sample: 1, value: null }));
    first.close();
    await appendFile(join(folder, "items.ndjson"), '{"benchmark":"b","item":"c","row":2,"sou');
    const notices: string[] = [];
    const second = await open(folder, notices);
    expect(notices.join()).toMatch(/items\.ndjson: its last line was not finished .* moved to items\.torn-1\.ndjson/);
    expect(second.responses.map(({ item, sample }) => `${item}${sample}`)).toEqual(["a0", "a1"]);
    expect(second.outcomeOf("b", "a", 1)).toBe("unscored");
    expect(second.outcomeOf("b", "c", 0)).toBeNull();
    expect(second.find("b", "a", 1)?.response).toBe("text");
    // A later line takes the place of the earlier one.
    second.record(responseOf({ item: "a", sample: 1, value: 0.5, response: 'ä\n"quoted"' }));
    second.close();
    const { responses } = await readEvaluation(folder);
    expect(responses.map(({ outcome }) => outcome.kind)).toEqual(["scored", "scored"]);
    const third = await open(folder);
    expect(third.find("b", "a", 1)).toEqual(responseOf({ item: "a", sample: 1, value: 0.5, response: 'ä\n"quoted"' }));
    third.close();
  });

  it("refuses other settings by name, and a second writer", async () => {
    const folder = await temporaryFolder();
    const first = await open(folder);
    await expect(open(folder)).rejects.toThrow(/WEIR_E_RUN_LOCKED/);
    first.close();
    await expect(open(folder, [], { ...SETTINGS, samples: 4 })).rejects.toThrow(
      /WEIR_E_STATE: .* holds an evaluation with other settings \(samples was 2 and is 4\)/,
    );
    (await open(folder)).close();
  });

  it("refuses a damaged line before the end, and a folder that holds no evaluation", async () => {
    const folder = await temporaryFolder();
    await expect(readEvaluation(folder)).rejects.toThrow(/WEIR_E_FILE_MISSING.*holds no evaluation\.json/);
    const first = await open(folder);
    first.record(responseOf({ item: "a" }));
    first.record(responseOf({ item: "b" }));
    first.close();
    const path = join(folder, "items.ndjson");
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace('"item":"a"', '"item":7'));
    await expect(open(folder)).rejects.toThrow(/WEIR_E_RUN_FOLDER.*line 1 is damaged/);
  });

  it("writes one row per response in the order of benchmarks, rows and samples", async () => {
    const path = await written();
    const rows = await parquetReadObjects({ file: await asyncBufferFromFile(path) });
    expect(rows).toHaveLength(4);
    expect(rows.map((row) => `${row.benchmark} ${row.prompt_id} ${row.sample}`)).toEqual([
      "b a 0",
      "b a 1",
      "b c 0",
      "z a 0",
    ]);
    expect(rows[0]).toEqual({
      ...{ benchmark: "b", prompt_id: "a", row: 0, source: "x", bucket: "all", sample: 0, seed: 7n, asked: "same" },
      ...{ question_tokens: 5, prompt_tokens: 5, answer: "text", tokens: 3, finish: "stop", outcome: "scored" },
      ...{ parsed: "text", value: 0.5, score_f1: null, score_rule: 0.5, error_code: null, error: null },
    });
    expect(rows[1]).toMatchObject({
      outcome: "unscored",
      value: null,
      error_code: "WEIR_E_JUDGE",
      error: "the judge is away",
    });
    expect(rows[3]).toMatchObject({ score_f1: 0.25, score_rule: null, bucket: "unknown" });
  });

  it.skipIf(!python("import pandas, pyarrow"))("opens in pandas", async () => {
    const script =
      "import pandas,sys; d=pandas.read_parquet(sys.argv[1]); print(len(d), d.value.sum(), d.outcome.value_counts()['scored'], d.answer[0])";
    expect(spawnSync("python3", ["-c", script, await written()], { encoding: "utf8" }).stdout.trim()).toBe(
      "4 1.75 3 text",
    );
  });

  it.skipIf(!python("import duckdb"))("opens in duckdb", async () => {
    const script =
      "import duckdb,sys; print(duckdb.sql(f\"select benchmark, count(*), sum(value), sum(score_rule) from '{sys.argv[1]}' group by 1 order by 1\").fetchall())";
    expect(spawnSync("python3", ["-c", script, await written()], { encoding: "utf8" }).stdout.trim()).toBe(
      "[('b', 3, 1.5, 1.5), ('z', 1, 0.25, None)]",
    );
  });
});

/** Whether this statement runs in Python here. */
function python(statement: string): boolean {
  return spawnSync("python3", ["-c", statement]).status === 0;
}

/** A finished evaluation's parquet file; responses were recorded in another order than they are written in. */
async function written(): Promise<string> {
  const folder = await temporaryFolder();
  const evaluation = await open(folder);
  evaluation.record({
    ...responseOf({ benchmark: "z", questionTokens: null }),
    outcome: { kind: "scored", value: 0.25, scores: { f1: 0.25 }, prediction: null },
  });
  evaluation.record(responseOf({ item: "c", row: 2 }));
  evaluation.record(responseOf({ item: "a", sample: 1, value: null }));
  evaluation.record(responseOf({ item: "a", sample: 0, value: 0.5 }));
  await evaluation.finish({ made: true }, { benchmarks: ["b", "z"], bucketOf });
  evaluation.close();
  return join(folder, "items.parquet");
}
