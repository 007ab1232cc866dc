/** What `weir bench engines` measures of a pairing. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { benchEngines, rowOf } from "../../src/cli/bench/engines.js";
import { parseConfig } from "../../src/config/load.js";
import { tinyConfig } from "../e2e/tiny-run.js";
import { failure } from "../helpers/errors.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-engines-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("a pairing of trainer and sampler", () => {
  it("is measured by steps of a run: medians of times and the mean mismatch, and null for what is not told", async () => {
    const config = parseConfig({ ...(await tinyConfig({}, folder)), async: { maxLag: 0 } });
    const steps = [
      { "time/step_seconds": 3, "time/sample_seconds": 1, mismatch_abs: 2e-5 },
      { "time/step_seconds": 5, "time/sample_seconds": 2, mismatch_abs: 4e-5 },
      { "time/step_seconds": 4, "time/sample_seconds": 9 },
    ];
    expect(rowOf("mine", config, steps)).toEqual({
      config: "mine",
      trainer: "engine",
      sampler: "engine",
      lag: 0,
      sampled_tok_per_s: null,
      sample_s: 2,
      train_s: null,
      publish_s: null,
      adopt_s: null,
      step_s: 4,
      mismatch_nats: 3e-5,
    });
    await failure(() => rowOf("mine", config, []), "WEIR_E_BENCHMARK");
  });

  it("runs the first phase of each configuration, and leaves nothing behind", async () => {
    const files = [];
    for (const [name, engines] of [
      ["together", 0],
      ["apart", 1],
    ] as const) {
      const base = await tinyConfig({}, folder);
      files.push(join(folder, `${name}.json`));
      await writeFile(files.at(-1) as string, JSON.stringify({ ...base, rollout: { ...base.rollout, engines } }));
    }
    const { steps, rows } = await benchEngines(files, { steps: "2", warmup: "1", set: ["rollout.groupSize=2"] });
    expect([steps, rows.map(({ config }) => config)]).toEqual([2, ["together", "apart"]]);
    for (const row of rows) {
      expect(row.sampled_tok_per_s).toBeGreaterThan(0);
      expect(row.step_s).toBeGreaterThanOrEqual((row.sample_s as number) + (row.train_s as number) - 0.01);
      expect(row.mismatch_nats).toBeLessThan(1e-4);
    }
    expect(rows[1]?.adopt_s).toBeGreaterThan(0);
  });
});
