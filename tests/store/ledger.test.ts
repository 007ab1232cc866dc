import { appendFile, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { LedgerEntry, LedgerState } from "../../src/contracts/ledger.js";
import { Ledger, type LedgerMark, readLedger } from "../../src/store/ledger.js";
import { isEnd, LEDGER_STATES, LedgerBook } from "../../src/store/ledger-book.js";

const entry = (rolloutId: string, state: LedgerState): Omit<LedgerEntry, "schema_version"> => ({
  rolloutId,
  groupId: "g",
  taskId: "t",
  phase: 1,
  state,
  step: 1,
  policyVersion: 0,
  ...(state === "dropped" ? { reason: "zero_variance" } : {}),
});

async function fresh() {
  const folder = await mkdtemp(join(tmpdir(), "weir-ledger-"));
  const notices: string[] = [];
  const path = join(folder, "ledger.ndjson");
  return { folder, path, notices, open: () => Ledger.open(path, { say: (notice) => notices.push(notice) }) };
}

const events = fc.array(
  fc.record({ id: fc.constantFrom("a", "b", "c", "d"), state: fc.constantFrom(...LEDGER_STATES) }),
  {
    maxLength: 60,
  },
);

describe("the ledger (I2: each issued rollout ends in exactly one end state)", () => {
  it.each<[LedgerState[], boolean]>([
    [["issued", "generated", "scored", "trained"], true],
    [["issued", "generated", "scored", "dropped"], true],
    [["issued", "generated", "dropped"], true],
    [["issued", "dropped"], true],
    [["generated"], false],
    [["issued", "issued"], false],
    [["issued", "scored"], false],
    [["issued", "generated", "trained"], false],
    [["issued", "generated", "scored", "trained", "rolledBack"], true],
    [["issued", "generated", "rolledBack"], true],
    [["issued", "rolledBack", "rolledBack"], false],
    [["issued", "generated", "dropped", "rolledBack"], false],
    [["issued", "generated", "scored", "trained", "dropped"], false],
    [["issued", "dropped", "dropped"], false],
    [["issued", "dropped", "generated"], false],
  ])("%j is legal: %s", (states, legal) => {
    const book = new LedgerBook();
    const walk = () => {
      for (const state of states) book.apply(entry("r", state));
    };
    if (legal) expect(walk).not.toThrow();
    else expect(walk).toThrow(expect.objectContaining({ code: "WEIR_E_LEDGER" }));
  });

  it("wants a reason for a drop", () => {
    const book = new LedgerBook();
    book.apply(entry("r", "issued"));
    const { reason: _, ...bare } = entry("r", "dropped");
    expect(() => book.apply(bare)).toThrow(/without a reason/);
    expect(book.stateOf("r")).toBe("issued");
  });

  it("counts each rollout once, whatever is tried, and refuses a second end (property)", () => {
    fc.assert(
      fc.property(events, (tried) => {
        const book = new LedgerBook();
        const issued = new Set<string>();
        const ends = new Map<string, number>();
        for (const { id, state } of tried) {
          const undone = state === "rolledBack" && book.stateOf(id) === "trained";
          try {
            book.apply(entry(id, state));
          } catch {
            continue;
          }
          if (state === "issued") issued.add(id);
          if (isEnd(state) && !undone) ends.set(id, (ends.get(id) ?? 0) + 1);
        }
        const counts = book.counts();
        expect(Object.values(counts).reduce((sum, count) => sum + count, 0)).toBe(issued.size);
        expect([...ends.values()].every((count) => count === 1)).toBe(true);
        expect(counts.trained + counts.dropped + counts.rolledBack).toBe(ends.size);
        expect(book.open().length).toBe(issued.size - ends.size);
        expect(book.reasons()).toEqual(counts.dropped > 0 ? { zero_variance: counts.dropped } : {});
      }),
    );
  });

  it("reads back to the same index, and rolls back to any mark (property)", async () => {
    await fc.assert(
      fc.asyncProperty(events, fc.nat(), async (tried, pick) => {
        const { open, path } = await fresh();
        const ledger = await open();
        const marks: { mark: LedgerMark; counts: Record<LedgerState, number> }[] = [
          { mark: ledger.mark(), counts: ledger.counts() },
        ];
        for (const { id, state } of tried) {
          try {
            ledger.append(entry(id, state));
          } catch {
            continue;
          }
          marks.push({ mark: ledger.mark(), counts: ledger.counts() });
        }
        const total = ledger.counts();
        ledger.close();
        const reopened = await open();
        expect(reopened.counts()).toEqual(total);
        const chosen = marks[pick % marks.length] as (typeof marks)[number];
        const aside = await reopened.rollBack(chosen.mark);
        expect(reopened.counts()).toEqual(chosen.counts);
        expect([...reopened.read()].length).toBe(chosen.mark.entries);
        const cut = aside === null ? 0 : [...readLedger(aside)].length;
        expect(cut).toBe(marks.length - 1 - chosen.mark.entries);
        reopened.close();
        expect([...readLedger(path)].length).toBe(chosen.mark.entries);
      }),
      { numRuns: 25 },
    );
  });

  it("writes nothing for a refused entry", async () => {
    const { open, path } = await fresh();
    const ledger = await open();
    ledger.append(entry("r", "issued"));
    expect(() => ledger.append(entry("r", "trained"))).toThrow(/trained may follow scored, its state is issued/);
    ledger.close();
    expect((await readFile(path, "utf8")).trim().split("\n")).toHaveLength(1);
  });

  it("moves a torn end aside and refuses a file that breaks I2", async () => {
    const { open, path, notices } = await fresh();
    const ledger = await open();
    ledger.append(entry("r", "issued"));
    ledger.close();
    await appendFile(path, '{"schema_version":1,"rollo');
    const reopened = await open();
    expect(reopened.counts().issued).toBe(1);
    expect(notices).toEqual([expect.stringMatching(/ledger\.ndjson: .*ledger\.torn-1\.ndjson/)]);
    reopened.close();
    const line = (await readFile(path, "utf8")).trim();
    await writeFile(path, `${line}\n${line}\n`);
    await expect(open()).rejects.toMatchObject({ code: "WEIR_E_RUN_FOLDER", details: { line: 2 } });
  });
});
