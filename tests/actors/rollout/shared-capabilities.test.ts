import { expect, it } from "vitest";
import { sharedCapabilities } from "../../../src/actors/rollout/shared-capabilities.js";
import { CAPABILITIES } from "./scripted-members.js";

it("several samplers can do what each of them can, and adopt no handle", () => {
  const other = {
    ...CAPABILITIES,
    seeds: "per-request",
    heldVersions: 3,
    entropies: false,
    tokenVersions: true,
    precision: "bfloat16",
  } as const;
  expect(sharedCapabilities([CAPABILITIES, other])).toEqual({
    ...{ logprobBasis: "scaled", seeds: "per-request", tokenVersions: false, adopts: ["checkpoint"] },
    ...{ heldVersions: 1, entropies: false, abort: true, precision: null },
  });
  expect(sharedCapabilities([other, other]).precision).toBe("bfloat16");
});

it("samplers whose log-probs are of different distributions are refused, and nothing is known of none", () => {
  expect(() => sharedCapabilities([CAPABILITIES, { ...CAPABILITIES, logprobBasis: "raw" }])).toThrow(
    "WEIR_E_CAPABILITY",
  );
  expect(() => sharedCapabilities([])).toThrow("WEIR_E_STATE");
});
