import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { parse } from "yaml";
import { inspectCommand } from "../../src/cli/commands/inspect.js";
import { parseConfig } from "../../src/config/load.js";
import type { Json } from "../../src/contracts/task.js";
import type { Trace } from "../../src/contracts/trace.js";
import { measuredSimulation } from "../../src/simulation/measured.js";
import { simulateSeed } from "../../src/simulation/simulate.js";
import { RunFolder } from "../../src/store/index.js";
import { COMMITTED, STARTED } from "../helpers/facts.js";
import { sampleTrace } from "../store/trace-sample.js";
import { smallRun } from "./small-run.js";

/** Calls of 2 s and 0.5 s per token of the longest response, rewards of 0.25 s, mini-batches of 3 s. */
const [CALL, TOKEN, REWARD, BATCH] = [2, 0.5, 0.25, 3];
/** Longest responses of the four groups of each step, tokens; two groups are one call. */
const STEPS = [
  [3, 5, 4, 2],
  [9, 1, 6, 7],
  [2, 2, 8, 3],
] as const;

const scored = (value: number) => ({ kind: "scored", value, parts: {}, prediction: null }) as const;

function tracesOf(step: number, longest: readonly number[]): Trace[] {
  return longest.flatMap((tokens, group) =>
    [0, 1].map((sampleIndex): Trace => {
      // Group 0: one right, one wrong; 1 and 2: both right; 3: both wrong.
      const value = group === 0 ? sampleIndex : group === 3 ? 0 : 1;
      const groupId = `s${step}-q${4 * step + group}`;
      const length = sampleIndex === 0 ? tokens : 1;
      return { ...sampleTrace(length, scored(value)), step, groupId, sampleIndex, id: `${groupId}-g${sampleIndex}` };
    }),
  );
}

/** A run of three steps with known latencies; `older` tells the summed time of calls under the name that it had. */
async function measuredRun(older = false): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "weir-measured-"));
  let now = 0;
  const config = smallRun() as unknown as Json;
  const folder = await RunFolder.create({ root, id: "run", seed: 1, config, dataset: {}, clock: () => now });
  folder.append("run.started", 0, STARTED);
  for (const [index, longest] of STEPS.entries()) {
    const step = index + 1;
    const calls = [Math.max(longest[0], longest[1]), Math.max(longest[2], longest[3])];
    const summed = calls.reduce((sum, tokens) => sum + CALL + TOKEN * tokens, 0);
    const values = {
      ...(older
        ? { "time/sample_seconds": summed }
        : { "time/sample_seconds": 0.1, "time/sample_call_seconds": summed }),
      "time/reward_seconds": 8 * REWARD,
      "time/train_seconds": 2 * BATCH,
      "group/kept": 4,
    };
    folder.append("metrics.recorded", step, { phase: 1, values });
    folder.append("step.committed", step, { ...COMMITTED, groups: 4 });
    await folder.rollouts(step, tracesOf(step, longest));
    folder.append("lifecycle.changed", step, { machine: "lifecycle", value: { operating: "checkpointing" } });
    now += 1000 * (4 + step);
    folder.append("checkpoint.written", step, { step, path: "" });
    folder.append("lifecycle.changed", step, { machine: "lifecycle", value: { operating: "training" } });
  }
  await folder.close();
  return folder.directory;
}

describe("the latencies of a run", () => {
  it("are measured: per call and per token, rewards, mini-batches, checkpoints, and how groups came out", async () => {
    const { simulation, steps, unmeasured } = await measuredSimulation(await measuredRun());
    expect(steps).toBe(3);
    expect(simulation.latencies).toEqual({
      ...{ sampleCall: CALL, sampleToken: TOKEN, reward: REWARD, logprobs: 0, forwardBackward: BATCH, optimStep: 0 },
      // 5, 6 and 7 s: the quantiles are those of three values.
      checkpoint: { quantiles: [5, 6, 6, 7, 7] },
    });
    expect(unmeasured).toEqual(["publish", "adopt", "restart"]);
    expect(simulation).toMatchObject({ informativeShare: 0.25, solvedShare: 0.6667, unscoredShare: 0 });
    // 24 responses: 13 of one token, then 2 2 2 3 3 4 5 6 7 8 9.
    expect(simulation.responseTokens).toEqual({ quantiles: [1, 1, 1, 3, 9] });
    const older = await measuredSimulation(await measuredRun(true));
    expect(older.simulation).toEqual(simulation);
  });

  it("are printed as the section of a configuration that simulates", async () => {
    let printed = "";
    const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
      printed += String(text);
      return true;
    });
    const silent = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    try {
      expect(await inspectCommand(await measuredRun(), { latencies: true })).toBe(0);
    } finally {
      write.mockRestore();
      silent.mockRestore();
    }
    const section = parse(printed) as { readonly simulation: object };
    const config = parseConfig({ ...smallRun(), ...section });
    expect(config.simulation.latencies.sampleToken).toBe(TOKEN);
    expect(await simulateSeed(config, 1, { faults: 0 })).toMatchObject({ end: "completed", deadlock: null });
  });

  it("are refused for a run without RL steps", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-measured-"));
    const config = smallRun() as unknown as Json;
    const folder = await RunFolder.create({ root, id: "run", seed: 1, config, dataset: {}, clock: () => 0 });
    await folder.close();
    await expect(measuredSimulation(folder.directory)).rejects.toThrow(/WEIR_E_USAGE.*RL steps/);
  });
});
