import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { type LagRun, readLagRun } from "../../bench/lag-run.js";
import { LAG_ARMS, type LagArm, type LagRecord, lagSection } from "../../bench/lag-section.js";

const machine = { cores: 2, model: "Some CPU" };
const [lag0, lag1] = LAG_ARMS as readonly [LagArm, LagArm];

const synchronous: LagRun = {
  tokensByLag: [1],
  last: { klRef: 0.05, entropy: 0.1, weight: null, clipped: null, klByLag: [0] },
  firstKlByLag: [0],
  staleRollouts: 0,
  trainedRollouts: 1000,
};
const behind: LagRun = {
  tokensByLag: [100, 300],
  last: { klRef: 0.07, entropy: 0.2, weight: 0.99, clipped: 0.0125, klByLag: [0, 0.0123] },
  firstKlByLag: [null, 0.5],
  staleRollouts: 8,
  trainedRollouts: 1200,
};

const further: LagRun = { ...behind, last: { ...behind.last, klRef: 0.17 }, staleRollouts: 16 };

/** A run of two buckets of 64 tasks after RL. */
function runOf(seed: number, correct: readonly [number, number], lag: LagRun): LagRecord {
  const stage = { "1-120": { n: 64, correct: correct[0] }, "121-302": { n: 64, correct: correct[1] } };
  return {
    seed,
    engine: { backend: "tensorflow", executor: "compiled", version: "2.21.0" },
    heldout: { sft: stage, rl: stage },
    seconds: { total: 100 },
    steps: { warmup: 120, rl: 120 },
    updates: { rl: 118 },
    lag,
  };
}

describe("the arms of the study of lag", () => {
  it("are the demo at its full rate from the start, lags 1, 2 and 4 with truncated weights, and lag 4 without", () => {
    expect(lag0.settings).toEqual(["optimiser.warmupSteps=0"]);
    expect(LAG_ARMS.map(({ name }) => name)).toEqual(["lag0", "lag1", "lag2", "lag4", "lag4-uncorrected"]);
    expect(lag1.settings).toEqual([
      "optimiser.warmupSteps=0",
      "rollout.engines=1",
      "update.oldLogprobs=recompute",
      "async.maxLag=1",
      "update.correction.importance=token",
    ]);
    expect(LAG_ARMS[4]?.settings).toContain("update.correction.allowUncorrected=true");
  });
});

describe("the section of samples of older policies", () => {
  const section = lagSection(
    [
      { arm: lag0, runs: [runOf(1, [48, 32], synchronous), runOf(2, [48, 32], synchronous)] },
      { arm: lag1, runs: [runOf(1, [32, 16], behind), runOf(2, [40, 24], further)] },
    ],
    machine,
  );

  it("gives each lag's accuracies, and the difference to lag 0 seed by seed", () => {
    expect(section).toMatch(/^## Samples of older policies\n\n/);
    expect(section).toContain("--recipe lag --seeds 1,2`");
    // 80 of 128, 48 of 64 and 32 of 64 with both seeds.
    expect(section).toContain("| 0 | none needed | 62.5 [62.5, 62.5] | 75.0 [75.0, 75.0] | 50.0 [50.0, 50.0] |  |");
    // 48 and 64 of 128: mean 43.75; t quantile with 1 degree of freedom 12.706 · 8.839 / √2 = 79.41, on the logit scale
    // −0.2513 ± 0.7941 / 0.24609. The differences −25 and −12.5 have the mean −18.75 with the same half width, within −100 to 100:
    // u = 0.40625, logit −0.3795 ± 79.41 / (200 · 0.24121).
    expect(section).toContain("| 1 | token, at most 2 | 43.8 [3.0, 95.1] |");
    expect(section).toContain("| -18.8 [-76.7, 56.0] |");
  });

  it("gives each run's accuracy over all buckets", () => {
    expect(section).toContain("| `async.maxLag` | correction | seed 1 | seed 2 |");
    expect(section).toContain("| 1 | token, at most 2 | 37.5 | 50.0 |");
  });

  it("says which lags the seeds tell apart from lag 0", () => {
    expect(section).toContain("Not told apart from lag 0 by these seeds: 1 (correction: token, at most 2).");
    const arms = [
      { arm: lag0, runs: [runOf(1, [48, 32], synchronous), runOf(2, [48, 32], synchronous)] },
      { arm: lag1, runs: [runOf(1, [16, 16], behind), runOf(2, [16, 16], behind)] },
    ];
    expect(lagSection(arms, machine)).toContain("Worse than lag 0, with an interval of the difference below 0: 1 (");
  });

  it("gives the lag that was reached with its KL, and what correction did", () => {
    // Lag (0 · 100 + 1 · 300) / 400. KL 0.07 and 0.17: h = 12.706 · 0.07071 / √2 = 0.6353, and 0.12 · exp(±0.6353 / 0.12).
    expect(section).toContain(
      "| 1 | token, at most 2 | 0.75 | 0.120 [0.001, 23.903] | 0.200 [0.200, 0.200] | 0.990 | 1.25 | 1200 | 12 (8 to 16) | 120 | 118 |",
    );
    expect(section).toContain("| 0 | none needed | 100.0 (0.0000, 0.0000) |  |");
    expect(section).toContain("| 1 | token, at most 2 | 25.0 (–, 0.0000) | 75.0 (0.5000, 0.0123) |");
  });

  it("can be written of one seed, without intervals and without a verdict", () => {
    const one = lagSection(
      [
        { arm: lag0, runs: [runOf(3, [48, 32], synchronous)] },
        { arm: lag1, runs: [runOf(3, [32, 16], behind)] },
      ],
      machine,
    );
    expect(one).toContain("| 1 | token, at most 2 | 37.5 | 50.0 | 25.0 | -25.0 |");
    expect(one).not.toContain("told apart");
  });

  it("does not compare different seeds", () => {
    expect(() =>
      lagSection(
        [
          { arm: lag0, runs: [runOf(1, [48, 32], synchronous)] },
          { arm: lag1, runs: [runOf(2, [32, 16], behind)] },
        ],
        machine,
      ),
    ).toThrow("seed 2 has no run to compare with");
  });
});

describe("what a run folder says of lag", () => {
  let directory: string | null = null;
  afterEach(async () => {
    if (directory !== null) await rm(directory, { recursive: true, force: true });
  });

  /** A run folder with a journal of these steps' metrics, and a ledger. */
  async function folder(steps: readonly Record<string, number>[]): Promise<string> {
    directory = await mkdtemp(join(tmpdir(), "weir-lag-run-"));
    const facts = steps.map((values, i) => ({
      schema_version: 1,
      seq: i + 1,
      type: "metrics.recorded",
      step: i,
      time: 0,
      data: { phase: 1, values },
    }));
    const entry = (rolloutId: string, state: string, reason?: string) => ({
      schema_version: 1,
      rolloutId,
      groupId: "g",
      taskId: "t",
      phase: 1,
      state,
      ...(reason === undefined ? {} : { reason }),
      step: 1,
      policyVersion: 0,
    });
    const entries = [
      entry("a", "issued"),
      entry("a", "trained"),
      entry("b", "dropped", "stale"),
      entry("c", "dropped", "zero_variance"),
    ];
    const lines = (of: readonly object[]) => of.map((one) => `${JSON.stringify(one)}\n`).join("");
    await writeFile(join(directory, "journal.ndjson"), lines(facts));
    await writeFile(join(directory, "ledger.ndjson"), lines(entries));
    return directory;
  }

  it("sums tokens by lag over the run, and takes other means from its last 20 steps that have them", async () => {
    const early = {
      "group/kept": 1,
      "kl/lag_0": 0.125,
      "lag/tokens_0": 10,
      "lag/tokens_1": 0,
      "lag/tokens_2": 0,
      "entropy/mean": 9,
    };
    const late = { "group/kept": 1, "lag/tokens_0": 0, "lag/tokens_1": 5, "lag/tokens_2": 0, "entropy/mean": 0.5 };
    const heldout = { "heldout/bucket_1": 0.5 };
    const untrained = { "group/kept": 0, "entropy/mean": 0.7 };
    const run = await folder([
      early,
      ...Array.from({ length: 19 }, () => ({ ...late, "kl/lag_1": 0.25 })),
      heldout,
      untrained,
    ]);
    expect(readLagRun(run)).toEqual({
      tokensByLag: [10, 95],
      last: {
        klRef: null,
        entropy: expect.closeTo((19 * 0.5 + 0.7) / 20, 12),
        weight: null,
        clipped: null,
        klByLag: [null, 0.25],
      },
      firstKlByLag: [0.125, 0.25],
      staleRollouts: 1,
      trainedRollouts: 1,
    });
  });

  it("takes a run without metrics of lag as synchronous", async () => {
    const run = await folder([{ "group/kept": 3, mismatch_kl: 0.5, "kl/ref": 0.1 }]);
    const { tokensByLag, last } = readLagRun(run);
    expect({ tokensByLag, klByLag: last.klByLag, klRef: last.klRef }).toEqual({
      tokensByLag: [1],
      klByLag: [0.5],
      klRef: 0.1,
    });
  });
});
