import { mkdtemp, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { drive } from "./drive.js";
import { endStates, TINY_CHOICE, type TinyChoice } from "./tiny-run.js";

/** A run with overlap that is killed again and again: nothing is lost, and nothing is trained on twice (I2, I3). */

const STEPS = 6;
const PROMPTS = 3;
const GROUP = 4;

const choice: TinyChoice = {
  engine: { backend: "cpu" },
  over: {
    async: { maxLag: 2 },
    update: { miniBatchPrompts: 2, microBatchTokens: 512, correction: { importance: "token" } },
    checkpoint: { everySteps: 2 },
    dynamicSampling: { maxRounds: 20 },
  },
};

interface IssuedLine {
  readonly rolloutId: string;
  readonly taskId: string;
  readonly step: number;
  readonly state: string;
}

/** `cases`: a name, and the facts at which the control process is killed, one after another. */
export function describeKilledOverlap(cases: readonly (readonly [string, readonly string[]])[]): void {
  describe("a run with overlap that is killed", () => {
    beforeAll(() => {
      process.env[TINY_CHOICE] = JSON.stringify(choice);
    });
    afterAll(() => {
      delete process.env[TINY_CHOICE];
    });

    it.each(cases)(
      "I3: %s, goes on and has every rollout in one end state",
      async (_, moments) => {
        const folder = await mkdtemp(join(tmpdir(), "weir-kill-"));
        const run = join(folder, "runs", "tiny");
        let lines: string[] = [];
        for (const [at, moment] of moments.entries()) {
          lines = await drive(at === 0 ? [folder] : ["--resume", run], (line, child) => {
            if (line === moment) child.kill("SIGKILL");
          });
          expect(lines.some((line) => line.startsWith("done"))).toBe(false);
        }
        lines = await drive(["--resume", run]);
        expect(lines.at(-1)).toBe(`done ${run}`);
        const ends = [...(await endStates(run)).values()];
        expect(ends.filter((end) => end === "trained")).toHaveLength(STEPS * PROMPTS * GROUP);
        const ledger = (await readFile(join(run, "ledger.ndjson"), "utf8")).trim().split("\n");
        const trained = ledger.map((line) => JSON.parse(line) as IssuedLine).filter(({ state }) => state === "trained");
        const perStep = new Map<number, number>();
        for (const { step } of trained) perStep.set(step, (perStep.get(step) ?? 0) + 1);
        expect([...perStep.values()]).toEqual(new Array(STEPS).fill(PROMPTS * GROUP));
      },
      180_000,
    );
  });
}
