/** Benchmarks during training: which policy is asked, what is told, what lies in the run folder. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { asyncBufferFromFile, parquetReadObjects } from "hyparquet";
import { describe, expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { Benchmark } from "../../src/contracts/benchmark.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { Judge } from "../../src/contracts/judge.js";
import { temporaryFolder } from "../helpers/fixtures.js";
import { parityReward, tinyConfig } from "./tiny-run.js";

/** Right where the judge says so; long responses are not scored. */
const lengthy: Benchmark = {
  kind: "lengthy",
  specificationVersion: 1,
  needsJudge: true,
  item: (row, index) => ({
    ...{ id: String(index), source: "made", golds: ["Oslo"], meta: {} },
    messages: [{ role: "user", content: String(row.question) }],
  }),
  async score(_, response, { judge, signal }) {
    const verdict = await judge?.ask({ problem: "?", prediction: response, gold: "Oslo" }, { signal });
    if (verdict?.kind !== "verdict") return { kind: "unscored", code: "WEIR_E_JUDGE", reason: "no verdict" };
    return { kind: "scored", value: verdict.value, scores: { judge: verdict.value }, prediction: response };
  },
};

/** Says yes to every other question. */
function alternating(): Judge & { readonly asked: () => number } {
  let asked = 0;
  return {
    ...{ kind: "alternating", specificationVersion: 1 },
    ask: async () => ({ kind: "verdict", value: asked++ % 2 === 0 ? 1 : 0, reply: "" }),
    asked: () => asked,
  };
}

describe("benchmarks of a run", () => {
  it("are evaluated at each evaluation, by the version that is held then, with rows in the run folder", async () => {
    const folder = await temporaryFolder();
    const file = join(folder, "questions.jsonl");
    await writeFile(file, [1, 2, 3].map((n) => JSON.stringify({ question: `Where does Mira live? ${n}` })).join("\n"));
    const evaluation = { initial: true, benchmarks: [{ name: "lengthy", file, samples: 2 }] };
    const base = await tinyConfig(
      {
        evaluation,
        phases: [
          { maxTokens: 70, steps: 1 },
          { maxTokens: 300, steps: 1 },
        ],
      },
      folder,
    );
    const config = { ...base, data: { train: base.data.train } };
    const judge = alternating();
    const system = createTrainingSystem(config, { actors: { reward: parityReward, judge } });
    system.register("benchmark", "lengthy", () => lengthy);
    const facts: Fact[] = [];
    const values: Record<string, number>[] = [];
    system.facts$.subscribe((fact) => facts.push(fact));
    system.metrics$.subscribe((record) => values.push(record.values as Record<string, number>));
    await system.start();
    const { runDirectory, report } = await system.done;
    const evaluated = facts.flatMap((fact) => (fact.type === "evaluation.finished" ? [fact.data] : []));
    // Without held-out tasks, benchmarks alone are evaluated.
    const half = { items: 3, responses: 6, scored: 6, scoreOverAll: 0.5, scoreOverScored: 0.5 };
    expect(evaluated).toMatchObject([
      { stage: "before", buckets: {}, benchmarks: { lengthy: half } },
      { stage: "rl", buckets: {}, benchmarks: { lengthy: half } },
    ]);
    expect(judge.asked()).toBe(12);
    const scores = values.filter((record) => record["eval/lengthy/score"] !== undefined);
    expect(scores).toHaveLength(2);
    expect(scores[0]).toMatchObject({
      "eval/lengthy/score": 0.5,
      "eval/lengthy/score_over_all": 0.5,
      "eval/lengthy/unscored_share": 0,
    });
    expect(scores[0]?.["eval/lengthy/pass_at_2"]).toBeGreaterThanOrEqual(0.5);
    expect(report).toMatchObject({ benchmarks: { before: { lengthy: half }, rl: { lengthy: half } } });
    const rows = async (stage: string) =>
      parquetReadObjects({
        file: await asyncBufferFromFile(join(runDirectory, "evaluations", stage, "lengthy.parquet")),
      });
    const [before, after] = [await rows("before"), await rows("rl")];
    expect(before.map(({ prompt_id, sample }) => `${prompt_id}${sample}`)).toEqual([
      "00",
      "01",
      "10",
      "11",
      "20",
      "21",
    ]);
    expect(before[0]).toMatchObject({ benchmark: "lengthy", bucket: "1-4096", outcome: "scored" });
    // The same seeds, other weights.
    expect(after.map(({ seed }) => seed)).toEqual(before.map(({ seed }) => seed));
    expect(JSON.parse(await readFile(join(runDirectory, "report.json"), "utf8"))).toHaveProperty(
      "benchmarks.rl.lengthy",
    );
  });

  it("are refused before the start where they need a judge and there is none", async () => {
    const folder = await temporaryFolder();
    const config = await tinyConfig({ evaluation: { benchmarks: [{ name: "lengthy", file: "x" }] } }, folder);
    const system = createTrainingSystem(config, { actors: { reward: parityReward } });
    system.register("benchmark", "lengthy", () => lengthy);
    await expect(system.start()).rejects.toThrow(/WEIR_E_ACTOR_MISSING.*"lengthy" is scored by a judge/);
  });

  it("are refused before the start where their name is no benchmark's, their file is not there, or one comes twice", async () => {
    const start = async (benchmarks: readonly { name: string; file: string }[]) => {
      const system = createTrainingSystem(await tinyConfig({ evaluation: { benchmarks: [...benchmarks] } }), {
        actors: { reward: parityReward },
      });
      return system.start();
    };
    await expect(start([{ name: "hotpotqq", file: "x" }])).rejects.toThrow(
      /WEIR_E_ACTOR_UNKNOWN.*did you mean "hotpotqa"/,
    );
    await expect(start([{ name: "hotpotqa", file: "/nowhere.jsonl" }])).rejects.toThrow(
      /WEIR_E_FILE_MISSING.*evaluation\.benchmarks/,
    );
    await expect(
      start([
        { name: "hotpotqa", file: "x" },
        { name: "hotpotqa", file: "y" },
      ]),
    ).rejects.toThrow(/WEIR_E_CONFIG.*each benchmark at most once/);
  });
});
