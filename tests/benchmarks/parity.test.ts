/** Every built-in benchmark against the published scorers, on made answers (tests/fixtures/benchmarks/README.md). */
import { describe, expect, it } from "vitest";
import type { BenchmarkScore } from "../../src/contracts/benchmark.js";
import type { Judge } from "../../src/contracts/judge.js";
import { parseJudgeReply } from "../../src/rewards/judge/reply.js";
import { BENCHMARK_NAMES, builtIn, type Recorded, recordedScores } from "./recorded.js";

const cases = recordedScores();
const { signal } = new AbortController();

/** A judge that gives a recorded reply. */
const replying = (reply: string): Judge => ({
  kind: "recorded",
  specificationVersion: 1,
  ask: async () => ({ kind: "verdict", value: parseJudgeReply(reply, "paper") ?? 0, reply }),
});

async function scored({ benchmark, row, response, reply }: Recorded): Promise<BenchmarkScore> {
  const part = builtIn(benchmark);
  const judge = reply === undefined ? null : replying(reply);
  return part.score(part.item(row, 0), response, { signal, judge, requireThink: false });
}

/** Metrics of verl rows stand apart: each is a scorer of its own. */
const group = ({ benchmark, expected }: Recorded): string =>
  benchmark === "verl" ? `verl ${Object.keys(expected.scores)[0]}` : benchmark;
const groups = [...new Set(cases.map(group))];

describe("scorers against the published ones", () => {
  it("have at least 200 recorded answers for every benchmark, of different values", () => {
    expect([...new Set(cases.map(({ benchmark }) => benchmark))].sort()).toEqual([...BENCHMARK_NAMES].sort());
    for (const name of groups) {
      const values = cases.filter((one) => group(one) === name).map(({ expected }) => expected.value);
      expect(values.length, name).toBeGreaterThanOrEqual(200);
      expect(values.filter((value) => value > 0).length, name).toBeGreaterThan(40);
      expect(values.filter((value) => value < 1).length, name).toBeGreaterThan(40);
    }
  });

  it.each(groups)("%s gives every value, score and parsed answer", async (name) => {
    const differing: unknown[] = [];
    for (const one of cases.filter((other) => group(other) === name)) {
      const { value, scores, prediction } = one.expected;
      const score = await scored(one);
      const near = (a: number | undefined, b: number) => a !== undefined && Math.abs(a - b) < 1e-12;
      const equal =
        score.kind === "scored" &&
        near(score.value, value) &&
        Object.entries(scores).every(([key, wanted]) => near(score.scores[key], wanted)) &&
        (name === "verl math_verify" || score.prediction === prediction);
      if (!equal) differing.push([one.row, one.response, one.expected, score]);
    }
    expect(differing.length, JSON.stringify(differing.slice(0, 60))).toBe(0);
  });
});
