import { describe, expect, it } from "vitest";
import { anyRun, faultsOf, simulateSeeds } from "./small-run.js";

const PATIENCE_MS = 20 * 60_000;

describe("1,000 simulated runs", () => {
  it(
    "I1, I2, I4, I5, I9, I13, I14: hold with rollbacks, by the guard and by hand, and faults at 5 % of all awaits, lags 0 to 8 and up to 64 samplers, and every run ends",
    async () => {
      const results = await simulateSeeds(anyRun, [1_001, 2_000], 0.05);
      expect(faultsOf(results)).toEqual([]);
      expect(results.filter(({ end }) => end !== "completed").map(({ seed, end }) => ({ seed, end }))).toEqual([]);
    },
    PATIENCE_MS,
  );

  it(
    "I2, I9: leave ledger and weights exact with rollbacks at any moment, by the guard at one update in ten and by hand",
    async () => {
      const results = await simulateSeeds(anyRun, [3_001, 4_000], 0.05, 0.1);
      expect(faultsOf(results)).toEqual([]);
      expect(results.filter(({ end }) => end !== "completed").map(({ seed, end }) => ({ seed, end }))).toEqual([]);
    },
    PATIENCE_MS,
  );

  it(
    "I1, I2, I4, I5, I9, I13, I14: hold where knobs are turned at random within their bounds, with faults, kills and rollbacks",
    async () => {
      const results = await simulateSeeds(anyRun, [5_001, 5_500], 0.03, 0.02, 0.1);
      expect(faultsOf(results)).toEqual([]);
      expect(results.filter(({ end }) => end !== "completed").map(({ seed, end }) => ({ seed, end }))).toEqual([]);
    },
    PATIENCE_MS,
  );
});
