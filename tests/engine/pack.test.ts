/** Planning of micro-batches: every token once, budgets kept, shapes few. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { COARSE, FINE, PACKED, packPrefixes, planGroups, planRows } from "../../src/model/transformer/packing.js";

const item = fc.record({
  promptIds: fc.array(fc.nat(50), { minLength: 1, maxLength: 40 }),
  completions: fc.array(fc.array(fc.nat(50), { maxLength: 20 }), { minLength: 1, maxLength: 6 }),
});

/** Row and time of a place among the flat tokens. */
function rowAt(
  microBatch: { readonly rows: readonly (readonly number[])[]; readonly length: number },
  tokens: number | null,
  place: number,
): { row: number; time: number } {
  if (tokens === null) return { row: Math.floor(place / microBatch.length), time: place % microBatch.length };
  let start = 0;
  for (const [row, { length }] of microBatch.rows.entries()) {
    if (place < start + length) return { row, time: place - start };
    start += length;
  }
  throw new Error(`place ${place} lies beyond the rows`);
}

const total = (rows: readonly (readonly number[])[]) => rows.reduce((sum, { length }) => sum + length, 0);

describe("microBatches of groups", () => {
  it("hold every completion token exactly once, at the row that predicts it", () => {
    fc.assert(
      fc.property(fc.array(item, { minLength: 1, maxLength: 6 }), fc.integer({ min: 8, max: 400 }), (items, budget) => {
        for (const rounding of [FINE, COARSE, PACKED]) {
          const seen = items.map(({ completions }) => completions.map(() => 0));
          for (const microBatch of planGroups(items, budget, rounding)) {
            let at = 0;
            for (const { group, completion, length } of microBatch.origin) {
              const ids = items[group]!.completions[completion]!;
              expect(length).toBe(ids.length);
              expect(Array.from(microBatch.targets.subarray(at, at + length))).toEqual(ids);
              const { row } = rowAt(microBatch, microBatch.rowTokens, microBatch.places[at]!);
              const inputs = [items[group]!.promptIds.at(-1), ...ids.slice(0, -1)];
              expect(microBatch.rows[row]).toEqual(inputs);
              expect(microBatch.prefixes[Math.floor(row / microBatch.group)]).toEqual(
                items[group]!.promptIds.slice(0, -1),
              );
              expect(microBatch.prompts[Math.floor(row / microBatch.group)]).toBe(group);
              expect(microBatch.starts[Math.floor(row / microBatch.group)]).toBe(items[group]!.promptIds.length - 1);
              for (let t = 0; t < length; t += 1) {
                expect(rowAt(microBatch, microBatch.rowTokens, microBatch.places[at + t]!)).toEqual({ row, time: t });
              }
              seen[group]![completion]! += length;
              at += length;
            }
            expect(at).toBe(microBatch.targets.length);
            expect(microBatch.rows).toHaveLength(microBatch.prefixes.length * microBatch.group);
            if (rounding === PACKED) {
              expect(microBatch.rowTokens).toBeGreaterThanOrEqual(total(microBatch.rows));
              const { tokens } = packPrefixes(microBatch.prefixes, rounding);
              expect(tokens).toBeGreaterThanOrEqual(total(microBatch.prefixes));
              expect(microBatch.paddedTokens).toBe(microBatch.rowTokens! + tokens!);
            } else expect(microBatch.rowTokens).toBeNull();
            // One completion is the least that a micro-batch can hold.
            if (microBatch.origin.length > 1 && rounding === FINE)
              expect(microBatch.paddedTokens).toBeLessThanOrEqual(budget);
          }
          items.forEach(({ completions }, g) => {
            expect(seen[g]).toEqual(completions.map((ids) => ids.length));
          });
        }
      }),
    );
  });
});

describe("microBatches of rows", () => {
  it("hold every wanted token exactly once", () => {
    const rows = fc.array(fc.array(fc.nat(50), { minLength: 1, maxLength: 30 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(rows, fc.integer({ min: 8, max: 200 }), (sequences, budget) => {
        const wanted = (row: number, token: number) => (row + token) % 3 !== 0;
        for (const rounding of [FINE, COARSE, PACKED]) {
          const found = planRows(sequences, wanted, budget, rounding).flatMap((microBatch) =>
            microBatch.origin.map(({ row, token }, index) => {
              const place = rowAt(microBatch, microBatch.tokens, microBatch.places[index]!);
              expect(microBatch.rows[place.row]).toEqual(sequences[row]!.slice(0, -1));
              expect(place.time).toBe(token - 1);
              expect(microBatch.targets[index]).toBe(sequences[row]![token]);
              return `${row}:${token}`;
            }),
          );
          const expected = sequences.flatMap((ids, row) =>
            ids.flatMap((_, token) => (token > 0 && wanted(row, token) ? [`${row}:${token}`] : [])),
          );
          expect(found.sort()).toEqual(expected.sort());
        }
      }),
    );
  });
});

it("packs rows of unlike lengths into few more tokens than they have, up to the budget", () => {
  const sequences = Array.from({ length: 64 }, (_, row) => new Array<number>(41 + ((row * 37) % 60)).fill(1));
  const plan = (rounding: typeof FINE) => planRows(sequences, () => true, 2048, rounding);
  const own = sequences.reduce((sum, { length }) => sum + length - 1, 0);
  const padded = (microBatches: ReturnType<typeof plan>) =>
    microBatches.reduce((sum, microBatch) => sum + microBatch.paddedTokens, 0);
  expect(padded(plan(PACKED))).toBeLessThanOrEqual(1.13 * own);
  expect(padded(plan(PACKED))).toBeLessThan(padded(plan(COARSE)));
  for (const microBatch of plan(PACKED)) expect(microBatch.paddedTokens).toBeLessThanOrEqual(2048);
  // Attention lays the rows out at full length: one long row keeps the short ones from joining without end.
  const uneven = [new Array<number>(1025).fill(1), ...Array.from({ length: 40 }, () => [1, 2, 3])];
  for (const microBatch of planRows(uneven, () => true, 2048, PACKED)) {
    expect(microBatch.rows.length * microBatch.length).toBeLessThanOrEqual(1.5 * 2048);
  }
});

it("rounds lengths up, by an eighth at most from 32 on", () => {
  for (let length = 1; length < 5000; length += 1) {
    const rounded = FINE.length(length);
    expect(rounded).toBeGreaterThanOrEqual(length);
    if (length >= 32) expect(rounded).toBeLessThanOrEqual(length * 1.125);
  }
});

it("rounds to few shapes for compiled graphs", () => {
  const distinct = (round: (n: number) => number, from: number, to: number) =>
    new Set(Array.from({ length: to - from }, (_, index) => round(from + index))).size;
  expect(distinct(COARSE.length, 17, 4097)).toBe(4 * 8);
  expect(distinct(COARSE.completion, 17, 4097)).toBe(2 * 8);
  for (let length = 17; length < 5000; length += 1) {
    expect(COARSE.length(length)).toBeGreaterThanOrEqual(length);
    expect(COARSE.length(length)).toBeLessThanOrEqual(length * 1.25 + 1);
  }
  expect([1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13, 16].map(COARSE.take)).toEqual([1, 2, 3, 4, 4, 6, 6, 8, 8, 12, 12, 16]);
});
