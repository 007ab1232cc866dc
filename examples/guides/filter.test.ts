import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { describeGroupFilter, exampleFilterGroup } from "weir-rl/testing";
import { createMiddle } from "./filter.js";

describeGroupFilter({ create: () => createMiddle(0.05, 0.95), framework: { describe, it } });

describe("the filter of the middle", () => {
  it("says why it drops a group", async () => {
    const { signal } = new AbortController();
    const groups = [exampleFilterGroup([1, 1, 1, 0]), exampleFilterGroup([1, 0]), exampleFilterGroup([1, 1])];
    assert.deepEqual(await createMiddle(0.2, 0.6).filter(groups, { signal }), ["too_easy", null, "zero_variance"]);
  });
});
