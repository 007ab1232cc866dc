import { describe, expect, it } from "vitest";
import type { SampleGroup } from "../../src/contracts/group.js";
import type { PolicySpan } from "../../src/contracts/policy-version.js";
import { assertLag, lagsOf, largestLag, tokensByLag } from "../../src/streams/lag.js";
import { exampleRollout, exampleTask, fakeVersion } from "../../src/testing.js";

const span = (n: number, start: number, end: number): PolicySpan => ({
  version: n,
  sha256: fakeVersion(n).sha256,
  start,
  end,
});

const rollout = (policy: readonly PolicySpan[], tokens = 4) => ({
  ...exampleRollout(exampleTask(), "x"),
  id: "r",
  tokenIds: new Array<number>(tokens).fill(7),
  policy,
});

const groupOf = (policy: readonly PolicySpan[]): SampleGroup[] => [
  {
    group: { id: "g", task: exampleTask(), phase: 1, visit: 0, carried: false, sequence: 0, members: [] },
    samples: [{ rollout: rollout(policy), reward: 1, advantages: [1, 1, 1, 1] }],
  },
];

describe("the lag of sampled tokens", () => {
  it("is counted per token, over all spans of a rollout", () => {
    const mixed = rollout([span(2, 0, 1), span(4, 1, 4)]);
    expect(lagsOf(mixed, { n: 5 })).toEqual([3, 1, 1, 1]);
    expect(largestLag(mixed, { n: 5 })).toBe(3);
    expect(largestLag(rollout([], 0), { n: 5 })).toBe(0);
  });

  it("I13: is never guessed for a token without a span", () => {
    expect(() => lagsOf(rollout([span(5, 0, 3)]), { n: 5 })).toThrow(/WEIR_E_POLICY_VERSION.*token 3 of 4/);
    expect(() => assertLag(groupOf([span(5, 0, 3)]), fakeVersion(5), 2)).toThrow("WEIR_E_POLICY_VERSION");
  });

  it("makes a histogram up to the bound", () => {
    expect(tokensByLag([[0, 2, 2], [0], []], 3)).toEqual([2, 0, 2, 0]);
    expect(() => tokensByLag([[4]], 3)).toThrow(/WEIR_E_SHAPE.*lag 4/);
    expect(() => tokensByLag([[-1]], 3)).toThrow("WEIR_E_SHAPE");
  });
});

describe("I13: what may be trained on", () => {
  const check = (spans: readonly PolicySpan[], maxLag: number) => () =>
    assertLag(groupOf(spans), fakeVersion(5), maxLag);

  it("without lag is the trainer's version alone", () => {
    expect(check([span(5, 0, 4)], 0)).not.toThrow();
    expect(check([span(4, 0, 4)], 0)).toThrow(/policy version 4 .* the trainer holds 5 .*Let the sampler adopt/);
    expect(check([span(5, 0, 3), span(4, 3, 4)], 0)).toThrow("WEIR_E_POLICY_VERSION");
    expect(check([{ ...span(5, 0, 4), sha256: "other" }], 0)).toThrow("WEIR_E_POLICY_VERSION");
  });

  it("with a lag is also what older versions sampled, down to the bound, in every span", () => {
    expect(check([span(3, 0, 4)], 2)).not.toThrow();
    expect(check([span(3, 0, 2), span(5, 2, 4)], 2)).not.toThrow();
    expect(check([span(5, 0, 3), span(2, 3, 4)], 2)).toThrow(/a lag of 3 is more than async\.maxLag \(2\)/);
  });

  it("is neither a version still to come nor other weights of the same version, whatever the bound", () => {
    expect(check([span(6, 0, 4)], 8)).toThrow("WEIR_E_POLICY_VERSION");
    expect(check([{ ...span(5, 0, 4), sha256: "other" }], 8)).toThrow("WEIR_E_POLICY_VERSION");
  });
});
