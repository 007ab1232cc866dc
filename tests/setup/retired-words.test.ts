/**
 * Names and phrases that were replaced stay out of code and documents. `retired-words.json` lists them with what to say instead.
 * Identifiers match as they are written, phrases in any case, as whole words and across line ends of comments and prose.
 */
import { readdirSync, readFileSync } from "node:fs";
import { extname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import retired from "./retired-words.json" with { type: "json" };

interface Retired {
  readonly find: string;
  readonly say: string;
}

const root = fileURLToPath(new URL("../..", import.meta.url));
const PLACES = [
  "src",
  "monitor",
  "docs",
  "native",
  "examples",
  "bench",
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
];
const TEXT = new Set([".ts", ".tsx", ".mjs", ".js", ".py", ".md", ".json", ".css", ".html", ".cc", ".h", ".txt", ""]);
/** What a build leaves in native/. */
const BUILT = new Set(["build", "node_modules"]);

function filesIn(path: string): string[] {
  if (extname(path) === ".md") return [path];
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    const inside = join(path, entry.name);
    if (entry.isDirectory()) return BUILT.has(entry.name) ? [] : filesIn(inside);
    return entry.isFile() && TEXT.has(extname(entry.name)) ? [inside] : [];
  });
}

/** The text with its lines joined by one space, without the marks that begin lines of comments and quotations. */
const joined = (text: string) => text.replace(/\s*\n[ \t]*(?:\/\/+|\*(?!\/)|#|>)?[ \t]*/g, " ");
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** `found: say …` for each retired word that a text holds. */
function retiredIn(text: string): string[] {
  const { identifiers, phrases } = retired as { identifiers: Retired[]; phrases: Retired[] };
  const line = joined(text);
  const said = ({ find, say }: Retired) => `"${find}": say ${say}`;
  return [
    ...identifiers.filter(({ find }) => text.includes(find)).map(said),
    ...phrases.filter(({ find }) => new RegExp(`(?<!\\w)${escaped(find)}(?!\\w)`, "i").test(line)).map(said),
  ];
}

describe("retired names and phrases", () => {
  it("are found as whole words, in any case, across the lines of a comment", () => {
    expect(retiredIn("/**\n * The Kept\n * rows of a call.\n */")).toEqual(['"kept rows": say activation cache']);
    expect(retiredIn("engine.sample({ keepForTraining: true })")).toHaveLength(1);
    expect(retiredIn("the dearest endeavour, three rounds")).toEqual([]);
  });

  it("occur nowhere", () => {
    const files = PLACES.flatMap((place) => filesIn(join(root, place)));
    expect(files.length).toBeGreaterThan(300);
    const found = files.flatMap((file) =>
      retiredIn(readFileSync(file, "utf8")).map((words) => `${relative(root, file)}: ${words}`),
    );
    expect(found).toEqual([]);
  });
});
