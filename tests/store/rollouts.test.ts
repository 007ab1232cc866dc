import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readRollouts, rolloutSteps, writeRollouts } from "../../src/store/rollout-shard.js";
import { OUTCOMES, sampleTrace } from "./trace-sample.js";

const folder = () => mkdtemp(join(tmpdir(), "weir-rollouts-"));

describe("rollout shards", () => {
  it("give every trace back as it was, whatever became of its reward", async () => {
    const directory = await folder();
    const traces = OUTCOMES.map((outcome, index) => sampleTrace(index, outcome));
    const path = await writeRollouts(directory, 3, traces);
    expect(path).toBe(join(directory, "step-00003.parquet"));
    expect(await readRollouts(directory, 3)).toEqual(traces);
    expect(await rolloutSteps(directory)).toEqual([3]);
  });

  it("hold a step without rollouts", async () => {
    const directory = await folder();
    await writeRollouts(directory, 1, []);
    expect(await readRollouts(directory, 1)).toEqual([]);
  });

  it("name a missing or damaged shard", async () => {
    const directory = await folder();
    await expect(readRollouts(directory, 9)).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER" });
    await writeFile(join(directory, "step-00009.parquet"), "PAR1 nonsense");
    await expect(readRollouts(directory, 9)).rejects.toThrow(/step-00009\.parquet: expected the rollouts of step 9/);
  });

  it("are read or refused, and never end the process, whichever byte of them is damaged", async () => {
    const directory = await folder();
    const path = await writeRollouts(
      directory,
      1,
      OUTCOMES.map((outcome, index) => sampleTrace(index, outcome)),
    );
    const whole = await readFile(path);
    let refused = 0;
    for (let at = 4; at < whole.length; at += 7) {
      const damaged = Buffer.from(whole);
      damaged[at] = ~(whole[at] as number) & 0xff;
      await writeFile(path, damaged);
      // A promise that the library drops would fail this test as an unhandled rejection.
      await readRollouts(directory, 1).catch((error) => {
        expect(error).toMatchObject({ code: "WEIR_E_RUN_FOLDER" });
        refused++;
      });
    }
    // The data is compared with its digest, so that no page header of a damaged file is decoded.
    expect(refused).toBeGreaterThan(500);
  });
});
