/** Which configurations may train on samples of older policies. */
import { describe, expect, it } from "vitest";
import { assertOffPolicy, correctionOf } from "../../src/actors/run/off-policy.js";
import { parseConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";
import { createBuiltInLoss } from "../../src/losses/built-in.js";
import { lossSettings } from "../../src/losses/settings.js";
import { fakeRun, rewardOf } from "./fake-run.js";

const configOf = (update: ConfigInput["update"], maxLag = 1) =>
  parseConfig({ model: { path: "m" }, data: { train: ["t.jsonl"] }, async: { maxLag }, update });

const loss = (name: string, over: Parameters<typeof lossSettings>[1] = {}) =>
  createBuiltInLoss(name, lossSettings(name, over));

const check = (update: ConfigInput["update"], part = loss("dapo"), maxLag = 1) =>
  expect(() => assertOffPolicy(configOf(update, maxLag), part));

describe("training on older policies", () => {
  it("is refused uncorrected, with the three ways out", () => {
    check({}).toThrow(
      /WEIR_E_CONFIG: option "async\.maxLag": with 1.*update\.correction\.importance to token.*update\.oldLogprobs to sampler.*allowUncorrected to true/,
    );
    check({ correction: { rejection: "seq_sum" } }).toThrow("WEIR_E_CONFIG");
    check({}, loss("cispo")).toThrow("WEIR_E_CONFIG");
    check({}, loss("dapo"), 0).not.toThrow();
  });

  it("is allowed with importance weights", () => {
    check({ correction: { importance: "token" } }).not.toThrow();
    check({ correction: { importance: "sequence" } }, loss("reinforce")).not.toThrow();
  });

  it("is allowed with the sampler's log-probs where the loss bounds its ratio", () => {
    for (const name of ["cispo", "sapo", "dppo_tv"]) check({ oldLogprobs: "sampler" }, loss(name)).not.toThrow();
    for (const name of ["grpo", "dapo", "dr_grpo"]) {
      check({ oldLogprobs: "sampler" }, loss(name)).toThrow("WEIR_E_CONFIG");
      check({ oldLogprobs: "sampler" }, loss(name, { dualClip: 3 })).not.toThrow();
    }
    for (const name of ["gspo", "gmpo", "reinforce"])
      check({ oldLogprobs: "sampler" }, loss(name)).toThrow(`the loss "${name}" does not`);
  });

  it("is refused for a loss of one's own with the sampler's log-probs, even under a built-in's name", () => {
    const own = { ...loss("cispo") };
    check({ oldLogprobs: "sampler" }, own).toThrow("WEIR_E_CONFIG");
    check({ oldLogprobs: "sampler", correction: { allowUncorrected: true } }, own).not.toThrow();
    check({ correction: { importance: "token" } }, own).not.toThrow();
  });

  it("is allowed where it is asked for", () => {
    check({ correction: { allowUncorrected: true } }).not.toThrow();
  });
});

describe("a run on older policies", () => {
  it("does not start uncorrected", async () => {
    const { system } = await fakeRun(
      { async: { maxLag: 1 } },
      rewardOf(() => 0),
    );
    await expect(system.start()).rejects.toThrow('WEIR_E_CONFIG: option "async.maxLag"');
  });
});

describe("the options of rollout correction", () => {
  it("are off by default", () => expect(correctionOf(configOf({}))).toBeNull());

  it("give weights, rejection or both; a lower ratio that is left out is the reciprocal of the upper one", () => {
    expect(correctionOf(configOf({ correction: { importance: "sequence", lower: 0.5, upper: 5 } }))).toEqual({
      importance: { level: "sequence", lower: 0.5, upper: 5 },
      rejection: null,
    });
    expect(correctionOf(configOf({ correction: { rejection: "seq_mean", rejectionUpper: 4 } }))).toEqual({
      importance: null,
      rejection: { level: "seq_mean", estimator: "k1", lower: 0.25, upper: 4 },
    });
  });

  it("are refused with the sampler's log-probs as π_old, which leave nothing to compare", () => {
    for (const correction of [{ importance: "token" }, { rejection: "token" }] as const)
      expect(() => configOf({ oldLogprobs: "sampler", correction })).toThrow(
        /WEIR_E_CONFIG: option "update\.correction\.(importance|rejection)": .*set update\.oldLogprobs to recompute/,
      );
  });

  it("are refused with bounds that leave nothing", () => {
    const refused: [string, NonNullable<NonNullable<ConfigInput["update"]>["correction"]>][] = [
      ["lower", { importance: "token", lower: 2, upper: 2 }],
      ["rejectionUpper", { rejection: "token", rejectionUpper: 0.5 }],
      ["rejectionUpper", { rejection: "token", rejectionLower: 3, rejectionUpper: 2 }],
    ];
    for (const [option, correction] of refused)
      expect(() => configOf({ correction })).toThrow(`WEIR_E_CONFIG: option "update.correction.${option}"`);
    expect(() =>
      configOf({ correction: { rejection: "token", rejectionEstimator: "k3", rejectionUpper: 0.01 } }),
    ).not.toThrow();
  });
});
