import fc from "fast-check";
import { expect, it } from "vitest";
import { CoveredTime } from "../../src/system/covered-time.js";

/** Covered seconds of pieces [from, to], told in the order of their ends. */
function coveredBy(pieces: readonly (readonly [from: number, to: number])[]): number {
  const time = new CoveredTime();
  for (const [from, to] of [...pieces].sort((a, b) => a[1] - b[1])) time.ended(to - from, to);
  return time.take();
}

it("time in which several pieces of work were under way counts once, and time between them not", () => {
  expect(coveredBy([])).toBe(0);
  expect(coveredBy([[1, 3]])).toBe(2);
  expect(
    coveredBy([
      [1, 3],
      [2, 4],
    ]),
  ).toBe(3);
  expect(
    coveredBy([
      [1, 2],
      [5, 7],
    ]),
  ).toBe(3);
  expect(
    coveredBy([
      [1, 2],
      [3, 4],
      [0, 10],
    ]),
  ).toBe(10);
});

it("time that was taken is not counted again", () => {
  const time = new CoveredTime();
  time.ended(2, 10);
  expect(time.take()).toBe(2);
  expect(time.take()).toBe(0);
  time.ended(1, 11);
  expect(time.take()).toBe(1);
});

it("is what counting the covered ticks gives, whatever the pieces", () => {
  const piece = fc
    .tuple(fc.integer({ min: 0, max: 30 }), fc.integer({ min: 0, max: 10 }))
    .map(([from, length]) => [from, from + length] as const);
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const ticks = new Set(pieces.flatMap(([from, to]) => Array.from({ length: to - from }, (_, i) => from + i)));
      expect(coveredBy(pieces)).toBe(ticks.size);
    }),
  );
});
