/** `weir replay`: a batch that was skipped gives the same loss and the same gradient norm again. */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import { replayCommand } from "../../src/cli/commands/replay.js";
import { parityReward, tinyConfig } from "../e2e/tiny-run.js";
import { failure } from "../helpers/errors.js";

let printed: string[];
beforeEach(() => {
  printed = [];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => printed.push(String(text)) > 0);
});
afterEach(() => vi.restoreAllMocks());

interface Replayed {
  readonly recorded: { readonly loss: number; readonly gradNorm: number };
  readonly replayed: { readonly loss: number; readonly gradNorm: number };
  readonly same: boolean;
  readonly step: number;
}

async function replayed(batch: string): Promise<{ readonly code: number; readonly result: Replayed }> {
  printed = [];
  const code = await replayCommand(batch, { json: true });
  return { code, result: JSON.parse(printed.join("")) as Replayed };
}

describe("weir replay", () => {
  it("gives the numbers of the run, says where they differ, and refuses a batch without its weights", async () => {
    const config = await tinyConfig({ phases: [{ maxTokens: 300, steps: 3 }] });
    const system = createTrainingSystem(config, { actors: { reward: parityReward } });
    system.facts$.subscribe((fact) => {
      if (fact.type === "step.committed" && fact.step === 1) void system.skipBatch();
    });
    await system.start();
    const { runDirectory } = await system.done;
    const batches = join(runDirectory, "batches");
    // Two mini-batches of the second step, of two prompts and of one.
    const names = (await readdir(batches)).sort();
    expect(names).toHaveLength(2);
    for (const name of names) {
      const { code, result } = await replayed(join(batches, name));
      expect(result).toMatchObject({ step: 2, same: true });
      expect(result.recorded.gradNorm).toBeGreaterThan(0);
      expect(result.replayed).toEqual(result.recorded);
      expect(code).toBe(0);
    }

    const [first = "", second = ""] = names.map((name) => join(batches, name));
    const file = join(first, "batch.json");
    const saved = JSON.parse(await readFile(file, "utf8")) as { gradNorm: number };
    await writeFile(file, JSON.stringify({ ...saved, gradNorm: saved.gradNorm * 1.01 }));
    expect(await replayed(first)).toMatchObject({ code: 1, result: { same: false } });

    await rm(join(second, "state"), { recursive: true });
    expect((await failure(() => replayCommand(second), "WEIR_E_USAGE")).message).toMatch(/guard\.replayGiB/);
    await failure(() => replayCommand(batches), "WEIR_E_FILE_MISSING");
  }, 240_000);
});
