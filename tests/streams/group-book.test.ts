import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GroupBook, type GroupPlace } from "../../src/streams/group-book.js";
import { groupIdOf } from "../../src/streams/rollout-stages.js";
import { issuedOf } from "../helpers/groups.js";

const PLACES: readonly GroupPlace[] = ["inFlight", "ready", "training"];

describe("the book of open groups", () => {
  it("counts groups by where they are, and knows what was issued", () => {
    const book = new GroupBook();
    for (const sequence of [2, 0, 1]) book.issue(issuedOf(sequence));
    book.move("s1-q2", "ready");
    book.move("s1-q0", "training");
    expect(PLACES.map((place) => book.count(place))).toEqual([1, 1, 1]);
    expect(book.all().map(({ sequence }) => sequence)).toEqual([0, 1, 2]);
    expect(book.end("s1-q2")?.task.id).toBe("t2");
    expect(book.end("s1-q2")).toBeNull();
    book.move("s1-q2", "training");
    expect(PLACES.map((place) => book.count(place))).toEqual([1, 0, 1]);
  });

  it("keeps its counts through any order of moves and ends", () => {
    const operation = fc.record({ id: fc.nat(9), place: fc.constantFrom(...PLACES, "issued", "ended") });
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 80 }), (operations) => {
        const book = new GroupBook();
        const places = new Map<string, GroupPlace>();
        let sequence = 10;
        for (const { id, place } of operations) {
          const known = `s1-q${id + 10}`;
          if (place === "issued") {
            const issued = issuedOf(sequence++);
            book.issue(issued);
            places.set(groupIdOf(issued), "inFlight");
          } else if (place === "ended") {
            expect(book.end(known) !== null).toBe(places.delete(known));
          } else {
            book.move(known, place);
            if (places.has(known)) places.set(known, place);
          }
        }
        for (const place of PLACES)
          expect(book.count(place)).toBe([...places.values()].filter((at) => at === place).length);
        expect(book.all().map(groupIdOf).sort()).toEqual([...places.keys()].sort());
      }),
    );
  });
});
