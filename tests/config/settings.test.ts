import { describe, expect, it } from "vitest";
import { parseConfig } from "../../src/config/load.js";
import { applySetting, applySettings } from "../../src/config/settings.js";

const minimal = { model: { path: "m" }, data: { train: ["t.parquet"] } };
const configOf = (...settings: string[]) => parseConfig(applySettings(minimal, settings));

describe("a setting", () => {
  it.each([
    // What YAML would read as a number, a switch or something else.
    ["500"],
    ["true"],
    ["no"],
    ["1e3"],
    ["007"],
    ["2026-11-28"],
    [".inf"],
    ["0xff"],
    ["0.50"],
    ["-0"],
  ])("of a text option is text, whatever it looks like: %s", (text) => {
    expect(configOf(`run.id=${text}`).run.id).toBe(text);
    expect(configOf(`model.path=${text}`).model.path).toBe(text);
  });

  it.each([
    ["model.path=C:\\models: a #1", "C:\\models: a #1"],
    ["model.path=[a]", "[a]"],
    ["model.path={a: b}", "{a: b}"],
    ["model.path=a=b", "a=b"],
    ["model.path=null", "null"],
    ['model.path="quoted: text"', "quoted: text"],
    ["model.path='it''s'", "it's"],
    ["model.path=  padded ", "padded"],
    ["model.path='unclosed", "'unclosed"],
  ])("takes text as it stands, and quotes as quotes: %s", (setting, path) => {
    expect(configOf(setting).model.path).toBe(path);
  });

  it("of a text option that may be null is null, and its text in quotes", () => {
    expect(configOf("run.id=null").run.id).toBeNull();
    expect(configOf('run.id="null"').run.id).toBe("null");
    expect(configOf("reward.judge.url=null").reward.judge.url).toBeNull();
  });

  it.each([".", "..", "a/b", "", "x".repeat(201)])("that is no folder name is refused as run.id: %s", (id) => {
    expect(() => configOf(`run.id=${id}`)).toThrow(/WEIR_E_CONFIG.*run\.id.*folder name/);
  });

  it("of a list of texts holds texts; a single one is a list of one", () => {
    expect(configOf("data.train=[a, b.jsonl]").data.train).toEqual(["a", "b.jsonl"]);
    expect(configOf("data.train=[500, 007, true, null, 2026-01-02]").data.train).toEqual([
      "500",
      "007",
      "true",
      "null",
      "2026-01-02",
    ]);
    expect(configOf("data.train=x.jsonl").data.train).toEqual(["x.jsonl"]);
    expect(configOf("data.train.0=500").data.train).toEqual(["500"]);
    expect(configOf("data.train.1=2").data.train).toEqual(["t.parquet", "2"]);
  });

  it("of a number or a switch is what YAML reads", () => {
    const config = configOf(
      "rollout.groupSize=4",
      "optimiser.learningRate=1e-3",
      "loss.monitorKl=true",
      "run.seed=007",
    );
    expect(config.rollout.groupSize).toBe(4);
    expect(config.optimiser.learningRate).toBe(0.001);
    expect(config.loss.monitorKl).toBe(true);
    expect(config.run.seed).toBe(7);
    expect(configOf("loss.dualClip=null").loss.dualClip).toBeNull();
    expect(() => configOf("rollout.groupSize=four")).toThrow(/WEIR_E_CONFIG.*rollout\.groupSize.*got "four"/);
    expect(() => configOf("run.seed=")).toThrow(/run\.seed.*got null/);
  });

  it("of a whole section or list of sections gives each option its own type", () => {
    const config = configOf(
      "run={id: 500, seed: 3}",
      "phases=[{maxTokens: 10, steps: 1}]",
      "phases.1={maxTokens: 20, steps: 2}",
    );
    expect(config.run).toMatchObject({ id: "500", seed: 3 });
    expect(config.phases).toEqual([
      { maxTokens: 10, steps: 1 },
      { maxTokens: 20, steps: 2 },
    ]);
  });

  it.each([
    ["rollout.groupSize", /PATH=VALUE/],
    ["=5", /PATH=VALUE/],
    ["rollout.groupSize=[", /expected a YAML value.*quotes/],
    ["rollout={a: [}", /expected a YAML value/],
    ["data.train.first=a", /"data\.train" is a list of 1; expected an index from 0 to 1, got "first"/],
    ["data.train.7=a", /index from 0 to 1, got "7"/],
  ])("that cannot be applied is told: %s", (setting, message) => {
    expect(() => applySettings(minimal, [setting])).toThrow(/WEIR_E_USAGE/);
    expect(() => applySettings(minimal, [setting])).toThrow(message);
  });

  it.each(["__proto__.polluted=1", "constructor.prototype.polluted=1", "run.__proto__.polluted=1"])(
    "reaches nothing but the configuration: %s",
    (setting) => {
      applySettings(minimal, [setting]);
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
      expect(() => configOf(setting)).toThrow(/WEIR_E_CONFIG/);
    },
  );

  it("of an unknown option is kept for the complaint about it", () => {
    const tree: Record<string, unknown> = { a: { b: 1 } };
    applySetting(tree, "a.c.d=[1, 2]");
    expect(tree).toEqual({ a: { b: 1, c: { d: [1, 2] } } });
    expect(() => configOf("rollout.groupsize=4")).toThrow(/did you mean "rollout\.groupSize"/);
    expect(() => configOf("x=null")).toThrow(/unknown option "x"/);
  });
});
