/** Filters of one's own in a run: which groups are trained on, what the ledger says of the others, and faults. */
import { describe, expect, it } from "vitest";
import type { FilterGroup, GroupFilter } from "../../src/contracts/filter.js";
import { endStates, parityReward } from "../e2e/tiny-run.js";
import { fakeRun, rewardOf } from "./fake-run.js";

const onePhase = {
  phases: [{ maxTokens: 300, steps: 2 }],
  update: { miniBatchPrompts: null },
  dynamicSampling: { maxRounds: 8 },
};

function filterOf(give: (group: FilterGroup) => string | null): GroupFilter {
  return { kind: "mine", specificationVersion: 1, filter: (groups) => groups.map(give) };
}

describe("a filter of one's own", () => {
  it("decides which groups are trained on; the ledger has its reasons", async () => {
    const seen: FilterGroup[] = [];
    const filter = filterOf((group) => {
      seen.push(group);
      return seen.length % 2 === 1 ? "odd" : null;
    });
    const { system, metrics } = await fakeRun(onePhase, parityReward, { actors: { filter } });
    await system.start();
    const { runDirectory } = await system.done;
    const ends = new Set((await endStates(runDirectory)).values());
    expect(ends).toContain("dropped:odd");
    expect(ends).toContain("trained");
    expect(metrics.flatMap(({ values }) => values["group/kept"] ?? [])).toEqual([3, 3]);
    const [first] = seen;
    expect(first).toMatchObject({ size: 4, groupId: expect.stringMatching(/^s1-q/) });
    expect(first?.members[0]).toMatchObject({ tokenIds: expect.any(Array), unshaped: expect.any(Number) });
  });

  it("that drops everything ends the run with its cause, and one that breaks the contract is named", async () => {
    const none = filterOf(() => "never");
    const equal = rewardOf(({ rollout }) => rollout.sampleIndex % 2);
    const { system } = await fakeRun({ ...onePhase, dynamicSampling: { maxRounds: 2 } }, equal, {
      actors: { filter: none },
    });
    await system.start();
    await expect(system.done).rejects.toThrow(/WEIR_E_NOTHING_TRAINED.*filter part dropped/s);
    const broken = await fakeRun(onePhase, equal, { actors: { filter: filterOf(() => "Not a word") } });
    await broken.system.start();
    await expect(broken.system.done).rejects.toThrow(
      /WEIR_E_PART: the filter part "mine" gave the reason "Not a word"/,
    );
  });
});
