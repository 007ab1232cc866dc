import { describe, expect, it } from "vitest";
import { assertKnob, KNOB_PATHS, knobStates, withKnobs } from "../../src/config/knobs.js";
import { parseConfig } from "../../src/config/load.js";
import type { ConfigInput } from "../../src/config/schema.js";

const config = (over: Partial<ConfigInput> = {}) =>
  parseConfig({ model: { path: "m" }, data: { train: ["t.jsonl"] }, ...over });
const asynchronous = config({
  async: { maxLag: 3 },
  update: { correction: { importance: "token" } },
  loss: { monitorKl: true, clipHigh: 0.3 },
});

describe("knobs", () => {
  it("are options of the configuration, and say what it says until they are turned", () => {
    const states = knobStates(asynchronous, { "rollout.temperature": 1.5, "loss.clipHigh": null });
    expect(states.map(({ path }) => path)).toEqual(KNOB_PATHS);
    const byPath = new Map(states.map((state) => [state.path, state]));
    expect(byPath.get("rollout.temperature")).toMatchObject({ value: 1.5, configured: 0.7 });
    expect(byPath.get("loss.clipHigh")).toMatchObject({ value: null, configured: 0.3 });
    expect(byPath.get("optimiser.learningRate")).toMatchObject({ value: 2e-6, configured: 2e-6 });
    expect(byPath.get("async.maxLag")).toMatchObject({ value: 3, min: 1, max: 3 });
  });

  it("change the configuration where they are turned, and nothing else of it", () => {
    expect(withKnobs(asynchronous, {})).toBe(asynchronous);
    const turned = withKnobs(asynchronous, { "optimiser.learningRate": 1e-4, "loss.clipHigh": null });
    const { optimiser, loss } = asynchronous;
    expect(turned).toEqual({
      ...asynchronous,
      optimiser: { ...optimiser, learningRate: 1e-4 },
      loss: { ...loss, clipHigh: null },
    });
    expect(asynchronous.optimiser.learningRate).toBe(2e-6);
  });

  it("that a run cannot use are not listed, and say why they cannot be turned", () => {
    const paths = knobStates(config(), {}).map(({ path }) => path);
    expect(paths).not.toContain("async.maxLag");
    expect(paths).not.toContain("loss.klCoefficient");
    expect(() => assertKnob(config(), "async.maxLag", 1)).toThrow(/WEIR_E_KNOB.*trains synchronously/);
    expect(() => assertKnob(config(), "loss.klCoefficient", 0.1)).toThrow(/WEIR_E_KNOB.*no reference policy/);
  });

  it.each([
    ["optimiser.learningRate", -1e-9, /a number from 0 to 1, got -1e-9/],
    ["optimiser.learningRate", Number.NaN, /got NaN/],
    ["optimiser.learningRate", "0.1", /got "0.1"/],
    ["optimiser.learningRate", null, /got null/],
    ["loss.clipLow", 1, /from 0.000001 to 0.999999, or null/],
    ["loss.entropyCoefficient", -1.01, /from -1 to 1/],
    ["rollout.groupSize", 2.5, /a whole number from 1 to 1024/],
    ["async.maxLag", 4, /from 1 to 3/],
    ["async.maxLag", 0, /from 1 to 3/],
    ["optimiser.learnrate", 1, /no knob "optimiser.learnrate"; did you mean "optimiser.learningRate"\?/],
    ["run.seed", 2, /no knob "run.seed".*change when a run is resumed/],
  ])("refuse %s = %s", (path, value, text) => {
    expect(() => assertKnob(asynchronous, path, value)).toThrow(text);
  });

  it.each([
    ["optimiser.learningRate", 0],
    ["loss.entropyCoefficient", -1],
    ["loss.clipHigh", null],
    ["async.maxLag", 1],
    ["rollout.temperature", 3],
  ])("take %s = %s", (path, value) => {
    expect(() => assertKnob(asynchronous, path, value)).not.toThrow();
  });
});
