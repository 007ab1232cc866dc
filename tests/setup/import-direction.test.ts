/** The import-direction check: what it lets pass, what it catches, and that the code base passes it. */
import { describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

interface Source {
  readonly path: string;
  readonly source: string;
}
const { findViolations, importsOf, layerOf, readSources } = await loadScript<{
  findViolations(
    files: readonly Source[],
  ): { readonly file: string; readonly imports: string; readonly message: string }[];
  importsOf(source: string): string[];
  layerOf(file: string): string | null;
  readSources(root: string): Source[];
}>("check-imports.mjs");

const check = (path: string, source: string) => findViolations([{ path, source }]).map(({ message }) => message);

describe("layers", () => {
  it("are the folders of src and monitor, and the single files of src", () => {
    expect(layerOf("src/model/engine/native/native.ts")).toBe("model");
    expect(layerOf("src/errors.ts")).toBe("errors");
    expect(layerOf("monitor/protocol/messages.ts")).toBe("monitor/protocol");
    expect(layerOf("tests/setup/wheel.test.ts")).toBeNull();
  });
});

describe("imports", () => {
  it("are found in every form, and not in comments", () => {
    const source = `
      import { a } from "./a.js";
      import type { B } from '../b.js';
      export * from "../c.js";
      import "./d.js";
      const e = await import("../e.js");
      const worker = new URL("./f.js", import.meta.url);
      const folder = new URL("../data/", import.meta.url);
      // import { g } from "../g.js";
      /* import { h } from "../h.js"; */
      import { z } from "zod";`;
    expect(importsOf(source)).toEqual(["./a.js", "../b.js", "../c.js", "./d.js", "../e.js", "./f.js"]);
  });
});

describe("the direction", () => {
  it("lets a layer import itself, what lies below it, and packages", () => {
    expect(
      check("src/rewards/rules.ts", 'import { x } from "../algorithms/x.js"; import { y } from "./y.js";'),
    ).toEqual([]);
    expect(check("src/actors/update.ts", 'import { x } from "../store/x.js"; import { setup } from "xstate";')).toEqual(
      [],
    );
    expect(check("monitor/protocol/a.ts", 'import type { F } from "../../src/contracts/fact.js";')).toEqual([]);
  });

  it("catches an import against it, naming both layers", () => {
    expect(check("src/contracts/task.ts", 'import { WeirError } from "../errors.js";')).toEqual([
      "contracts may import nothing but itself; not errors",
    ]);
    expect(check("src/algorithms/x.ts", 'import type { C } from "../config/schema.js";')).toEqual([
      "algorithms may import contracts, errors; not config",
    ]);
    expect(check("src/store/x.ts", 'import { a } from "../actors/a.js";')).toHaveLength(1);
    expect(check("src/streams/x.ts", 'import { a } from "../model/a.js";')).toHaveLength(1);
    expect(check("monitor/protocol/a.ts", 'import { w } from "../../src/errors.js";')).toHaveLength(1);
    expect(check("src/model/x.ts", 'import { t } from "../../tests/t.js";')).toHaveLength(1);
  });

  it("makes an exception for the metric registry in the page, and for nothing beside it", () => {
    expect(check("monitor/web/charts.ts", 'import { METRICS } from "../../src/streams/telemetry/metrics.js";')).toEqual([]);
    expect(check("monitor/web/charts.ts", 'import { lanes } from "../../src/streams/lanes.js";')).toHaveLength(1);
  });

  it("asks for a rule where a folder is new", () => {
    expect(check("src/novelty/x.ts", "")).toEqual(["novelty has no rule in scripts/check-imports.mjs"]);
  });

  it("holds in the whole code base", () => {
    const files = readSources(new URL("../..", import.meta.url).pathname);
    expect(files.length).toBeGreaterThan(50);
    expect(findViolations(files)).toEqual([]);
  });
});
