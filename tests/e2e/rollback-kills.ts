import { mkdir, mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { drive, ROLLING } from "./drive.js";
import { comparableFacts, endStates } from "./tiny-run.js";

/** Rollbacks at two steps, one of them twice in a row. */
const TIMES = { 2: 1, 4: 2 } as const;

/**
 * Kills the control process of a run with rollbacks at `kills` of the lines that it tells, spread over the whole run and over the
 * moments after a rollback above all; after each the run comes to what an unbroken one comes to (I3).
 */
export function describeKills(kills: number, root: string): void {
  describe(`a run with rollbacks that is killed (kill -9) at ${kills} moments`, () => {
    const environment = { [ROLLING]: JSON.stringify(TIMES) };
    let lines: string[];
    let facts: unknown[];
    let ends: Map<string, string>;

    beforeAll(async () => {
      const folder = await folderIn(root);
      lines = await drive([folder], undefined, [], environment);
      const run = join(folder, "runs", "tiny");
      expect(lines.at(-1)).toBe(`done ${run}`);
      facts = await comparableFacts(run);
      ends = await endStates(run);
      expect(lines.filter((line) => line.startsWith("run.rolledBack"))).toHaveLength(3);
    }, 120_000);

    it(
      "comes to the same journal, ledger and weights",
      async () => {
        for (const at of momentsOf(lines, kills)) {
          const folder = await folderIn(root);
          const run = join(folder, "runs", "tiny");
          let told = 0;
          const before = await drive(
            [folder],
            (_, child) => {
              if (told++ === at) child.kill("SIGKILL");
            },
            [],
            environment,
          );
          const where = `killed after line ${at}, ${lines[at]}`;
          if (before.at(-1)?.startsWith("done")) continue;
          const resumed = await drive(["--resume", run], undefined, [], environment);
          expect(resumed.at(-1), where).toBe(`done ${run}`);
          expect(await endStates(run), where).toEqual(ends);
          expect(await comparableFacts(run), where).toEqual(facts);
        }
      },
      600_000 + kills * 60_000,
    );
  });
}

async function folderIn(root: string): Promise<string> {
  const folder = await mkdtemp(join(root, "weir-rollback-"));
  await mkdir(join(folder, "runs"), { recursive: true });
  return folder;
}

/** Indices of lines: those around each rollback first, then evenly over the run. */
function momentsOf(lines: readonly string[], count: number): number[] {
  const near = lines.flatMap((line, i) =>
    line.startsWith("run.rolledBack") ? [i, i - 3, i + 1, i + 2] : line.includes("rollingBack") ? [i] : [],
  );
  const even = Array.from({ length: count }, (_, k) => Math.floor(((k + 0.5) * lines.length) / count));
  return [...new Set([...near, ...even])].filter((i) => i > 0 && i < lines.length - 1).slice(0, count);
}
