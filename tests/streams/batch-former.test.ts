import { describe, expect, it } from "vitest";
import { BatchFormer, type FormerOptions, type JudgedRound } from "../../src/streams/batch-former.js";
import { failure } from "../helpers/errors.js";
import { groupWith } from "../helpers/groups.js";

const options: FormerOptions = { wanted: 2, maxLag: 0, oversample: 1, maxRounds: 3, onExhausted: "proceed" };

/** Groups of a round by number; those with a reason were dropped by the filter. */
const round = (given: Readonly<Record<number, string | null>>, version = 0): JudgedRound => {
  const entries = Object.entries(given).map(([id, reason]) => ({
    group: groupWith([0, 1], Number(id), { version }),
    reason,
  }));
  return {
    kept: entries.flatMap(({ group, reason }) => (reason === null ? [group] : [])),
    dropped: entries.flatMap(({ group, reason }) => (reason === null ? [] : [{ group, reason }])),
  };
};

const ids = (groups: readonly { readonly id: string }[]) => groups.map(({ id }) => id);
const reasons = (dropped: JudgedRound["dropped"]) => dropped.map(({ group, reason }) => [group.id, reason]);

describe("batches without lag", () => {
  it("wait for what is missing, keep the order, and say why groups were dropped", () => {
    const former = new BatchFormer(options);
    former.take(round({ 0: "zero_variance", 1: null }), 1);
    expect(former.form()).toBeNull();
    former.take(round({ 2: "group_too_small", 3: null, 4: null }), 1);
    const batch = former.form();
    expect(ids(batch?.kept ?? [])).toEqual(["g1", "g3"]);
    expect(reasons(batch?.dropped ?? [])).toEqual([
      ["g0", "zero_variance"],
      ["g2", "group_too_small"],
      ["g4", "surplus"],
    ]);
    expect(ids(batch?.ended ?? [])).toEqual(["g0", "g1", "g2", "g3", "g4"]);
    expect(batch).toMatchObject({ rounds: 2, exhausted: false });
    former.take(round({ 5: null, 6: null }), 1);
    expect(former.form()).toMatchObject({ rounds: 1, dropped: [] });
  });

  it("proceed with what there is at the bound of rounds, or fail with a coded error", async () => {
    for (const onExhausted of ["proceed", "fail"] as const) {
      const former = new BatchFormer({ ...options, onExhausted });
      for (const id of [0, 1]) {
        former.take(round({ [id]: "zero_variance" }), 1);
        expect(former.form()).toBeNull();
      }
      former.take(round({ 2: null }), 1);
      if (onExhausted === "proceed")
        expect(former.form()).toMatchObject({ rounds: 3, exhausted: true, kept: [{ id: "g2" }] });
      else
        expect((await failure(() => former.form(), "WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED")).message).toContain(
          "within 3 rounds, got 1 (2 were dropped",
        );
    }
  });

  it("wait for ever where no bound is set", () => {
    const former = new BatchFormer({ ...options, maxRounds: 0 });
    for (let id = 0; id < 50; id++) former.take(round({ [id]: "zero_variance" }), 1);
    expect(former.form()).toBeNull();
  });

  it("drop nothing as stale: there is one version", () => {
    const former = new BatchFormer(options);
    former.take(round({ 0: null, 1: null }), 1);
    expect(former.dropStale(9)).toEqual([]);
  });
});

describe("batches with lag", () => {
  it("leave over what the next step can take", () => {
    const former = new BatchFormer({ ...options, maxLag: 2 });
    former.take(round({ 0: null, 1: null, 2: null }), 1);
    expect(ids(former.form()?.kept ?? [])).toEqual(["g0", "g1"]);
    expect(former.form()).toBeNull();
    former.take(round({ 3: null }), 1);
    expect(ids(former.form()?.kept ?? [])).toEqual(["g2", "g3"]);
  });

  it("drop what would be trained at a lag above the bound, and tell of it with the batch", () => {
    const former = new BatchFormer({ ...options, maxLag: 2 });
    former.take(round({ 0: null }, 1), 1);
    former.take(round({ 1: null }, 2), 1);
    former.take(round({ 2: null }, 4), 1);
    expect(reasons(former.dropStale(3))).toEqual([]);
    expect(reasons(former.dropStale(4))).toEqual([["g0", "stale"]]);
    const batch = former.form();
    expect(ids(batch?.kept ?? [])).toEqual(["g1", "g2"]);
    expect(reasons(batch?.dropped ?? [])).toEqual([["g0", "stale"]]);
  });

  it("count a round for as many groups as one would have drawn", () => {
    const former = new BatchFormer({ ...options, maxLag: 1, oversample: 1.5, maxRounds: 2 });
    for (let id = 0; id < 5; id++) {
      former.take(round({ [id]: "zero_variance" }), 1);
      expect(former.form()).toBeNull();
    }
    former.take(round({ 5: "zero_variance" }), 1);
    // Six groups are two rounds of ⌈2 · 1.5⌉.
    expect(former.form()).toMatchObject({ kept: [], rounds: 2, exhausted: true });
  });

  it("drop groups of a phase that has ended, which count for no round of the next", () => {
    const former = new BatchFormer({ ...options, maxLag: 2, maxRounds: 1 });
    const of = (phase: number, id: number) => groupWith([0, 1], id, { phase });
    former.take({ kept: [of(1, 0)], dropped: [] }, 1);
    expect(reasons(former.enterPhase(2))).toEqual([["g0", "phase_ended"]]);
    // In flight when the phase ended.
    const late = [1, 2, 3].map((id) => ({ group: of(1, id), reason: id === 3 ? "zero_variance" : "phase_ended" }));
    former.take({ kept: [], dropped: late }, 2);
    expect(former.form()).toBeNull();
    former.take({ kept: [of(2, 4), of(2, 5)], dropped: [] }, 2);
    const batch = former.form();
    expect(ids(batch?.kept ?? [])).toEqual(["g4", "g5"]);
    expect(batch).toMatchObject({ exhausted: false, rounds: 1 });
    expect(ids(batch?.ended ?? [])).toEqual(["g0", "g1", "g2", "g3", "g4", "g5"]);
  });
});
