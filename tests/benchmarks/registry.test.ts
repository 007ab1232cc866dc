/** Benchmarks in the registry: several by name, never one by value, and their answers checked. */
import { describe, expect, it } from "vitest";
import { createRegistry } from "../../src/actors/parts/built-ins.js";
import { parseConfig } from "../../src/config/load.js";
import type { Benchmark } from "../../src/contracts/benchmark.js";

const config = parseConfig({ model: { path: "model" }, data: { train: ["tasks.jsonl"] } });
const options = { signal: new AbortController().signal, judge: null, requireThink: false };

const own: Benchmark = {
  kind: "own",
  specificationVersion: 1,
  item: (row, index) => ({
    id: String(index),
    source: "own",
    messages: [{ role: "user", content: String(row.question) }],
    golds: ["yes"],
    meta: {},
  }),
  score: async (_, response) => ({ kind: "scored", value: Number(response), scores: {}, prediction: response }),
};

describe("benchmarks in the registry", () => {
  it("are built by their names, as many as are asked for", () => {
    const registry = createRegistry(config);
    const kinds = ["hotpotqa", "musique"].map((name) => registry.build("benchmark", { benchmark: name }).kind);
    expect(kinds).toEqual(["hotpotqa", "musique"]);
  });

  it("name the nearest one where a name is unknown", () => {
    const build = () => createRegistry(config).build("benchmark", { benchmark: "hotpotqq" });
    expect(build).toThrow(/WEIR_E_ACTOR_UNKNOWN.*did you mean "hotpotqa"/);
  });

  it("are not given by value, since an evaluation may have several", () => {
    expect(() => createRegistry(config).use("benchmark" as "reward", own as never)).toThrow(/WEIR_E_USAGE.*register/);
  });

  it("are checked: a score outside [0, 1] is WEIR_E_PART naming the part, and a scorer that throws leaves it unscored", async () => {
    const registry = createRegistry(config).register("benchmark", "own", () => own);
    const part = registry.build("benchmark", { benchmark: "own" });
    const item = part.item({ question: "Is it?" }, 0);
    await expect(part.score(item, "7", options)).rejects.toThrow(/WEIR_E_PART.*benchmark part "own".*value 7/);
    const throwing = { ...own, score: () => Promise.reject(new TypeError("broken")) };
    const other = createRegistry(config).register("benchmark", "throwing", () => throwing);
    const score = await other.build("benchmark", { benchmark: "throwing" }).score(item, "1", options);
    expect(score).toEqual({
      kind: "unscored",
      code: "WEIR_E_PART",
      reason: 'the benchmark part "throwing" threw: TypeError: broken',
    });
  });

  it("are refused where an item lacks what the harness needs", () => {
    const registry = createRegistry(config).register("benchmark", "bare", () => ({
      ...own,
      item: () => ({ id: "", source: "own", messages: [], golds: [], meta: {} }),
    }));
    expect(() => registry.build("benchmark", { benchmark: "bare" }).item({}, 3)).toThrow(
      /WEIR_E_PART.*item with the id "" for row 3/,
    );
  });
});
