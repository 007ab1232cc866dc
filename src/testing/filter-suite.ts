/** The conformance suite of group filters; the built-ins run it too. */
import assert from "node:assert/strict";
import type { FilterGroup, GroupFilter } from "../contracts/filter.js";
import { checksOf, deepFreeze, registerSuite, type SuiteOptions } from "./framework.js";

export interface FilterSuiteOptions extends SuiteOptions {
  readonly create: () => GroupFilter | Promise<GroupFilter>;
}

/** A finished group whose scored members have these rewards. */
export function exampleFilterGroup(rewards: readonly number[], over: Partial<FilterGroup> = {}): FilterGroup {
  return {
    groupId: "s1-q0",
    taskId: "t0",
    source: "musique",
    phase: 1,
    size: rewards.length,
    members: rewards.map((reward, g) => ({
      reward,
      unshaped: reward,
      parts: { rule: reward },
      tokenIds: [5 + g, 6, 7],
      entropies: [0.5, 0.4, 0.3],
      samplerLogprobs: [-1, -0.5, -0.25],
      finish: "stop",
    })),
    ...over,
  };
}

const GROUPS: readonly FilterGroup[] = [
  exampleFilterGroup([1, 0, 0, 1]),
  exampleFilterGroup([0, 0, 0, 0], { groupId: "s1-q1", taskId: "t1" }),
  exampleFilterGroup([1, 1, 1, 1], { groupId: "s1-q2", taskId: "t2" }),
  exampleFilterGroup([0.25, 0.5], { groupId: "s1-q3", taskId: "t3", size: 4 }),
];

type Check = (filter: GroupFilter) => Promise<void> | void;

const live = () => ({ signal: new AbortController().signal });

const CHECKS: Readonly<Record<string, Check>> = {
  "declares a kind and specification version 1": ({ kind, specificationVersion }) => {
    assert.equal(typeof kind, "string");
    assert.notEqual(kind, "");
    assert.equal(specificationVersion, 1);
  },
  "gives null or a reason for each group": async (filter) => {
    for (const groups of [GROUPS, GROUPS.slice(0, 1), []]) {
      const found = await filter.filter(groups, live());
      assert.equal(found.length, groups.length);
      for (const reason of found) assert.ok(reason === null || /^[a-z0-9_]{1,40}$/.test(reason), `reason ${reason}`);
    }
  },
  "keeps a group whose rewards differ": async (filter) => {
    assert.deepEqual(await filter.filter(GROUPS.slice(0, 1), live()), [null]);
  },
  "does not change the groups": async (filter) => {
    await filter.filter(deepFreeze(structuredClone(GROUPS) as FilterGroup[]), live());
  },
};

export function describeGroupFilter(options: FilterSuiteOptions): void {
  registerSuite("group filter contract", checksOf(CHECKS, options.create), options);
}
