import { spawn } from "node:child_process";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, it } from "vitest";
import { below, counterKey } from "../../src/algorithms/random.js";
import { listCheckpoints } from "../../src/store/checkpoint-store.js";
import { RunFolder } from "../../src/store/run-folder.js";
import { STARTED } from "../helpers/facts.js";

const WRITER = new URL("./children/writer.ts", import.meta.url).pathname;
const ROLLOUTS = 4;
/** More than any round gets to. */
const ENDLESS = 1_000_000;
/** Lines of a step pair: 2 × (4 rollouts × 4 states + commit) + 4 parts + checkpoint. */
const LINES_OF_TWO_STEPS = 39;
const ROUNDS = 8;

/** Runs the writer and kills it (SIGKILL) after that many lines of output; resolves to all lines that came. */
function runWriter(directory: string, steps: number, killAfter: number, hold = 0): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["--import", "tsx", WRITER, directory, String(steps), String(hold)], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines: string[] = [];
    createInterface({ input: child.stdout }).on("line", (line) => {
      lines.push(line);
      if (lines.length === killAfter) child.kill("SIGKILL");
    });
    child.on("error", reject);
    child.on("close", () => resolve(lines));
  });
}

/** Opens the folder as a resuming run would, checks that everything agrees, and returns the step it stands at. */
async function checkConsistent(directory: string, notices: string[]): Promise<number> {
  const folder = await RunFolder.open(directory, { say: (notice) => notices.push(notice) });
  try {
    const numbers = [...folder.journal.read()].map((fact) => fact.seq);
    expect(numbers).toEqual(numbers.map((_, i) => i + 1));
    const latest = await folder.latest();
    await folder.rollBack(latest?.state ?? null);
    const step = latest?.step ?? 0;
    expect(folder.book.open()).toEqual([]);
    expect(folder.ledgerCounts().trained).toBe(step * ROLLOUTS);
    if (latest) expect(latest.state).toMatchObject({ step, trained: step * ROLLOUTS });
    const commits = [...folder.journal.read()]
      .filter((fact) => fact.type === "step.committed")
      .map((fact) => fact.step);
    expect(commits).toEqual(Array.from({ length: step }, (_, i) => i + 1));
    return step;
  } finally {
    await folder.close();
  }
}

describe("killed at any instant (I3, store side)", () => {
  it("leaves a folder that resumes with no rollout lost or doubled", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-kill-"));
    const fresh = await RunFolder.create({ root, id: "run", seed: 1, config: {}, dataset: {} });
    fresh.append("run.started", 0, STARTED);
    await fresh.close();
    const { directory } = fresh;
    const key = counterKey(20_26, "kill-test");
    const notices: string[] = [];
    let step = 0;
    for (let round = 0; round < ROUNDS; round++) {
      await runWriter(directory, ENDLESS, 1 + below(LINES_OF_TWO_STEPS, key, round));
      const now = await checkConsistent(directory, notices);
      expect(now).toBeGreaterThanOrEqual(step);
      step = now;
    }
    expect(notices.filter((notice) => notice.includes("no longer alive"))).toHaveLength(ROUNDS);
    const last = step + 4;
    expect((await runWriter(directory, last, Number.POSITIVE_INFINITY)).at(-1)).toBe("done");
    expect(await checkConsistent(directory, notices)).toBe(last);
  });

  it("does not publish a checkpoint that was being written", async () => {
    const root = await mkdtemp(join(tmpdir(), "weir-kill-"));
    const fresh = await RunFolder.create({ root, id: "run", seed: 1, config: {}, dataset: {} });
    await fresh.close();
    const { directory } = fresh;
    // Two steps and two of the four parts of the first checkpoint, where the writer holds.
    const lines = await runWriter(directory, ENDLESS, LINES_OF_TWO_STEPS - 3, 2);
    expect(lines.slice(-2)).toEqual(["part", "part"]);
    const checkpoints = join(directory, "checkpoints");
    expect((await readdir(checkpoints))[0]).toMatch(/^\.draft-/);
    expect(await listCheckpoints(checkpoints)).toEqual([]);
    expect(await checkConsistent(directory, [])).toBe(0);
    expect(await readdir(checkpoints)).toEqual([]);
  });
});
