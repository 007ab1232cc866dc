/** Control of the entropy, in both directions. */
import { describe, expect, it } from "vitest";
import { adapted, controlled, latched, NO_CONTROL } from "../../src/actors/guard/entropy-control.js";
import { createStandardGuard } from "../../src/actors/guard/standard-guard.js";

const AEPO = { low: 0.2, high: 0.4 };
const TARGET = { target: 0.3, change: 0.01, max: 0.04 };
const { signal } = new AbortController();

describe("the AEPO latch (arXiv 2512.12967 Eq. 11)", () => {
  it("closes above the upper bound, opens below the lower one, and stays as it is between them", () => {
    let masked = false;
    const path = [0.3, 0.41, 0.3, 0.2, 0.19, 0.3, 0.4, 0.41].map((entropy) => {
      masked = latched(masked, entropy, AEPO);
      return masked;
    });
    expect(path).toEqual([false, true, true, true, false, false, false, true]);
  });
});

describe("the adaptive entropy coefficient (arXiv 2505.22312)", () => {
  it("grows below the target up to its bound", () => {
    const path = [0.005];
    for (let step = 0; step < 5; step++) path.push(adapted(path.at(-1) as number, 0.1, TARGET));
    expect(path).toEqual([0.005, 0.015, 0.025, expect.closeTo(0.035, 12), 0.04, 0.04]);
  });

  it("falls at and above the target down to 0", () => {
    const path = [0.025];
    for (const entropy of [0.3, 0.5, 0.5, 0.5]) path.push(adapted(path.at(-1) as number, entropy, TARGET));
    expect(path).toEqual([0.025, expect.closeTo(0.015, 12), expect.closeTo(0.005, 12), 0, 0]);
  });
});

describe("a step's preparation", () => {
  it("changes nothing without options, and nothing before an entropy is known", () => {
    const nothing = { maskNegatives: false, entropyCoefficient: null, reason: null };
    expect(controlled(NO_CONTROL, 9, 0.001, { aepo: null, entropyTarget: null }).preparation).toEqual(nothing);
    expect(controlled(NO_CONTROL, null, 0.001, { aepo: AEPO, entropyTarget: TARGET }).preparation).toEqual(nothing);
  });

  it("by the guard starts at the configured coefficient and goes on from its own", () => {
    const detection = {
      ...{ window: 20, z: 6, klLimit: 0.5, entropyLow: 0.01, entropyHigh: 6, mismatchLimit: 0.01 },
      ...{ truncatedShare: 0.95, staleShare: 0.5, advantageLimit: 20, judgeFailureShare: 0.1, judgeSeconds: 15 },
    };
    const guard = createStandardGuard({ detection, klLimit: 0.1, maxRollbacks: 3, aepo: AEPO, entropyTarget: TARGET });
    const prepared = [0.5, 0.1, 0.1].map((entropy, i) =>
      guard.prepare?.(
        {
          ...{ step: i + 1, phase: 1, policyVersion: i, entropyCoefficient: 0.015 },
          values: { "entropy/mean": entropy },
        },
        { signal },
      ),
    );
    expect(prepared).toEqual([
      {
        ...{ maskNegatives: true, entropyCoefficient: expect.closeTo(0.005, 12) },
        reason:
          "entropy went above 0.4 nats and is not below 0.2: only positive advantages count; the entropy coefficient is 0.005, for an entropy of 0.3 nats",
      },
      {
        ...{ maskNegatives: false, entropyCoefficient: expect.closeTo(0.015, 12) },
        reason: "the entropy coefficient is 0.015, for an entropy of 0.3 nats",
      },
      expect.objectContaining({ entropyCoefficient: expect.closeTo(0.025, 12) }),
    ]);
  });
});
