/** The built-in benchmarks run the conformance suite that weir-rl/testing exports to users, and the suite finds what is wrong. */
import { describe, expect, it } from "vitest";
import type { Benchmark } from "../../src/contracts/benchmark.js";
import { describeBenchmark } from "../../src/testing.js";
import { BENCHMARK_NAMES, builtIn } from "../benchmarks/recorded.js";
import { EXAMPLES } from "../benchmarks/rows.js";

const framework = { describe, it };

for (const mode of ["paper", "released"] as const)
  for (const [index, { name, row, right, wrong }] of EXAMPLES.entries())
    describe(`built-in benchmark ${name}, ${mode}, row ${index}`, () => {
      describeBenchmark({ create: () => builtIn(name, mode), row, right, wrong, framework });
    });

describe("the examples of benchmarks", () => {
  it("have one of each", () => {
    expect([...new Set(EXAMPLES.map(({ name }) => name))].sort()).toEqual([...BENCHMARK_NAMES].sort());
  });
});

/** The checks of the suite that a benchmark does not pass. */
async function failuresOf(part: Benchmark): Promise<string[]> {
  const failed: string[] = [];
  const bodies: [string, () => Promise<void>][] = [];
  const { row, right, wrong } = EXAMPLES[0] as (typeof EXAMPLES)[number];
  describeBenchmark({
    ...{ create: () => part, row, right, wrong },
    framework: { describe: (_, body) => body(), it: (name, body) => bodies.push([name, body]) },
  });
  for (const [name, body] of bodies) await body().catch(() => failed.push(name));
  return failed;
}

describe("the conformance suite of benchmarks", () => {
  const sound = builtIn("2wikimqa", "paper");

  it("passes a sound benchmark", async () => {
    expect(await failuresOf(sound)).toEqual([]);
  });

  it("finds a scorer that calls a failed judge a 0", async () => {
    const silent: Benchmark = {
      ...sound,
      async score(item, response, options) {
        const one = await sound.score(item, response, options);
        return one.kind === "scored" ? one : { kind: "scored", value: 0, scores: {}, prediction: null };
      },
    };
    expect(await failuresOf(silent)).toEqual(["leaves a response unscored where the judge that it asks fails"]);
  });

  it("finds a reader that takes any row, and a scorer that gives everything the same value", async () => {
    const item = sound.item((EXAMPLES[0] as (typeof EXAMPLES)[number]).row, 0);
    const any: Benchmark = { ...sound, item: () => item };
    expect(await failuresOf(any)).toEqual(["refuses an empty row, naming row and column"]);
    const flat: Benchmark = {
      ...sound,
      score: async () => ({ kind: "scored", value: 1, scores: {}, prediction: "x" }),
    };
    expect(await failuresOf(flat)).toEqual([
      "scores a right answer higher than a wrong one",
      "finds no answer without </think> where that is required",
    ]);
  });
});
