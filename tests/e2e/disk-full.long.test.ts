import { mkdtemp, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createTrainingSystem, type RunResult } from "../../src/actors/run/training-system.js";
import { startEngine } from "../../src/model/engine/host.js";
import { lockHolder } from "../../src/store/index.js";
import { canMount, mountSmallDisk, type SmallDisk } from "../helpers/small-disk.js";
import { comparableFacts, endStates, parityReward, tinyConfig } from "./tiny-run.js";

/** A run on a disk that is full for a moment, or becomes full for good. */

/** Room for two checkpoints and a draft of the tiny model, and little more. */
const DISK_BYTES = 8 << 20;

const shaOf = (result: RunResult) => (result.report as { policy: { sha256: string } }).policy.sha256;

describe.skipIf(!canMount)("a run whose disk is full", () => {
  let disk: SmallDisk | null = null;
  afterEach(() => disk?.close());

  it.each([
    ["nothing more can be written", 0],
    ["a checkpoint no longer fits, which the engine's process writes", 300_000],
  ])(
    "ends with a coded error, its engine gone and its lock free, and resumes to the same weights: %s",
    async (_, left) => {
      const elsewhere = await tinyConfig({}, await mkdtemp(join(tmpdir(), "weir-whole-")));
      const whole = createTrainingSystem(elsewhere, { actors: { reward: parityReward } });
      await whole.start();
      const reference = await whole.done;

      disk = mountSmallDisk(DISK_BYTES) as SmallDisk;
      const config = await tinyConfig({}, disk.path);
      const pids: (number | null)[] = [];
      const states: string[] = [];
      const system = createTrainingSystem(config, {
        actors: {
          reward: parityReward,
          engine: async (modelDir, options) => {
            const engine = await startEngine({ modelDir, options });
            pids.push(engine.info.pid);
            return engine;
          },
        },
      });
      system.state$.subscribe(({ lifecycle }) => states.push(lifecycle));
      system.facts$.subscribe((fact) => {
        if (fact.type === "checkpoint.written" && fact.step === 2) disk?.fill(left);
      });
      await system.start();
      await expect(system.done).rejects.toMatchObject({
        code: "WEIR_E_DISK",
        message: expect.stringMatching(/no space is left on the disk \(ENOSPC.*--resume/),
      });
      expect(states.at(-1)).toBe("failed");
      const run = join(disk.path, "runs", "tiny");
      expect(lockHolder(run)).toBeNull();
      expect(() => process.kill(pids[0] as number, 0)).toThrow(/ESRCH/);
      const journal = await readFile(join(run, "journal.ndjson"), "utf8");
      expect(journal.endsWith("\n")).toBe(true);
      for (const line of journal.trim().split("\n")) JSON.parse(line);

      disk.free();
      const again = createTrainingSystem(config, { actors: { reward: parityReward }, resume: run });
      await again.start();
      expect(shaOf(await again.done)).toBe(shaOf(reference));
      expect(await endStates(run)).toEqual(await endStates(reference.runDirectory));
      expect(await comparableFacts(run)).toEqual(await comparableFacts(reference.runDirectory));
      expect((await readdir(join(run, "checkpoints"))).every((name) => /^step-\d+$/.test(name))).toBe(true);
    },
    120_000,
  );
});
