/** Walks the golden file: every key has a handler, every case agrees, and every expected value is really looked at. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Json,
  type JsonObject,
  leaves,
  type Path,
  pattern,
  perturbations,
  valueAt,
  withValue,
} from "./compare.js";
import { handlers } from "./handlers.js";

const folder = process.env.WEIR_FIXTURES ?? join(import.meta.dirname, "..", "fixtures");
const goldens = JSON.parse(readFileSync(join(folder, "goldens.json"), "utf8")) as Record<string, JsonObject>;

function runHandler(key: string, golden: Json): void {
  const handler = handlers[key];
  if (!handler) throw new Error(`goldens.json has the key ${JSON.stringify(key)}, for which no handler exists`);
  handler.check(golden as JsonObject);
}

/** Groups of settings have names of their own: fork_clip_0p2_0p28, three_rows … */
function isInput(key: string, path: Path): boolean {
  const inputs = handlers[key]?.inputs ?? [];
  const [first, ...rest] = path;
  const named = ["<variant>", "<set>"].map((name) => pattern([name, ...rest]));
  return inputs.includes(pattern(path)) || (typeof first === "string" && named.some((text) => inputs.includes(text)));
}

/** On a kink either branch's counter is right, so only values that are no branch's are refused there. */
function isUndecided(golden: Json, path: Path): boolean {
  const field = path[path.length - 1];
  const row = valueAt(golden, path.slice(0, -1)) as JsonObject;
  return row.at_kink === true && (field === "counted_clipped" || field === "counted_clipped_lower");
}

describe("golden numbers", () => {
  it.each(Object.keys(goldens))("%s: every case agrees", (key) => {
    runHandler(key, goldens[key] as Json);
  });

  it("every handler has its key in the file", () => {
    expect(Object.keys(handlers).filter((key) => !(key in goldens))).toEqual([]);
  });

  it("an unknown key fails", () => {
    expect(() => runHandler("value_clipping", { cases: [] })).toThrow(/no handler/);
  });

  it.each(Object.keys(goldens))("%s: changing any expected value fails", (key) => {
    const golden = goldens[key] as Json;
    const unseen: string[] = [];
    for (const path of leaves(golden)) {
      if (isInput(key, path) || isUndecided(golden, path)) continue;
      for (const value of perturbations(valueAt(golden, path))) {
        let seen = false;
        try {
          runHandler(key, withValue(golden, path, value));
        } catch {
          seen = true;
        }
        if (!seen) unseen.push(`${key}.${path.join(".")}: ${JSON.stringify(value)} went unnoticed`);
      }
    }
    expect(unseen).toEqual([]);
  });

  it.each(Object.keys(goldens))("%s: shortening an expected list fails", (key) => {
    const golden = goldens[key] as Json;
    const lists = new Set(
      leaves(golden)
        .filter((path) => !isInput(key, path))
        .map((path) => JSON.stringify(path)),
    );
    for (const text of lists) {
      const path = JSON.parse(text) as Path;
      const index = path[path.length - 1];
      if (typeof index !== "number") continue;
      const list = valueAt(golden, path.slice(0, -1)) as Json[];
      expect(() => runHandler(key, withValue(golden, path.slice(0, -1), list.slice(0, -1))), text).toThrow();
    }
  });
});
