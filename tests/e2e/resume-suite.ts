import { watch } from "node:fs";
import { mkdir, mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTrainingSystem, type RunResult } from "../../src/actors/run/training-system.js";
import type { ConfigInput } from "../../src/config/schema.js";
import type { Engine } from "../../src/contracts/engine.js";
import { startEngine } from "../../src/model/engine/host.js";
import { drive } from "./drive.js";
import { comparableFacts, endStates, parityReward, TINY_CHOICE, type TinyChoice, tinyConfig } from "./tiny-run.js";

const shaOf = (result: RunResult) => (result.report as { policy: { sha256: string } }).policy.sha256;

async function unbroken(config: ConfigInput): Promise<RunResult> {
  const system = createTrainingSystem(config, { actors: { reward: parityReward } });
  await system.start();
  return system.done;
}

/** Losing the engine or the control process at any moment, in a run of the given kind (I3, I11). */
export function describeResume(choice: TinyChoice): void {
  describe("a run that is killed", () => {
    let reference: RunResult;
    let facts: unknown[];
    let ends: Map<string, string>;

    beforeAll(async () => {
      // Also for the processes that the tests start.
      process.env[TINY_CHOICE] = JSON.stringify(choice);
      reference = await unbroken(await tinyConfig());
      facts = await comparableFacts(reference.runDirectory);
      ends = await endStates(reference.runDirectory);
    }, 120_000);

    afterAll(() => {
      delete process.env[TINY_CHOICE];
    });

    it("has something to lose: rollouts were trained and dropped, and the weights moved", () => {
      const states = new Set([...ends.values()]);
      expect(states.has("trained")).toBe(true);
      expect(ends.size).toBeGreaterThanOrEqual(6 * 3 * 4);
      expect((reference.report as { policy: { n: number } }).policy.n).toBeGreaterThanOrEqual(6);
    });

    it("says in its report how much memory it took at most", () => {
      const { memory } = reference.report as unknown as { memory: Record<string, number> };
      expect(memory.enginePeakBytes).toBeGreaterThan(30 * 2 ** 20);
      expect(memory.controlPeakBytes).toBeGreaterThan(30 * 2 ** 20);
    });

    it("I11: gives the same journal, ledger and weights when it is repeated", async () => {
      const again = await unbroken(await tinyConfig());
      expect(shaOf(again)).toBe(shaOf(reference));
      expect(await comparableFacts(again.runDirectory)).toEqual(facts);
      expect(await endStates(again.runDirectory)).toEqual(ends);
    }, 120_000);

    it.each([1, 3, 5])(
      "I3: loses its engine (kill -9) in the middle of the step after step %i and ends with the same weights",
      async (killAfter) => {
        const engines: Engine[] = [];
        const config = await tinyConfig();
        let killed = false;
        const system = createTrainingSystem(config, {
          actors: {
            engine: async (modelDir, options) => {
              const engine = await startEngine({ modelDir, options });
              engines.push(engine);
              return engine;
            },
            // The engine dies while rewards of the next step are being computed.
            reward: {
              ...parityReward,
              handle: (input, options) => {
                if (!killed && input.rollout.id.startsWith(`s${killAfter + 1}-`)) {
                  killed = true;
                  process.kill(engines[0]?.info.pid as number, "SIGKILL");
                }
                return parityReward.handle(input, options);
              },
            },
          },
        });
        const states: string[] = [];
        system.state$.subscribe(({ lifecycle }) => states.push(lifecycle));
        await system.start();
        const result = await system.done;
        expect(killed).toBe(true);
        expect(engines).toHaveLength(2);
        expect(states).toContain("recovering");
        expect(shaOf(result)).toBe(shaOf(reference));
        expect(await endStates(result.runDirectory)).toEqual(ends);
        expect(await comparableFacts(result.runDirectory)).toEqual(facts);
      },
      120_000,
    );

    it("I3: loses its control process (kill -9) during a checkpoint, resumes from its folder and ends with the same weights", async () => {
      const folder = await mkdtemp(join(tmpdir(), "weir-kill-"));
      const checkpoints = join(folder, "runs", "tiny", "checkpoints");
      let armed = false;
      const lines = await drive([folder], (line, child) => {
        if (line !== "checkpoint.written 2" || armed) return;
        armed = true;
        // Something new in the folder: the next checkpoint has been begun.
        watch(checkpoints, () => child.kill("SIGKILL"));
      });
      expect(lines.some((line) => line.startsWith("done"))).toBe(false);
      const run = join(folder, "runs", "tiny");
      const resumed = await drive(["--resume", run]);
      expect(resumed.at(-1)).toBe(`done ${run}`);
      expect(resumed.some((line) => line.startsWith("run.resumed"))).toBe(true);
      expect(await endStates(run)).toEqual(ends);
      expect(await comparableFacts(run)).toEqual(facts);
      const left = (await readdir(checkpoints)).filter((name) => !/^step-\d+$/.test(name));
      expect(left).toEqual([]);
    }, 180_000);

    it("I3: loses its control process at the very start and resumes from the beginning", async () => {
      const folder = await mkdtemp(join(tmpdir(), "weir-kill-"));
      await mkdir(join(folder, "runs"), { recursive: true });
      await drive([folder], (line, child) => {
        if (line.startsWith("phase.entered")) child.kill("SIGKILL");
      });
      const run = join(folder, "runs", "tiny");
      await drive(["--resume", run]);
      expect(await endStates(run)).toEqual(ends);
      expect(await comparableFacts(run)).toEqual(facts);
    }, 180_000);
  });
}
