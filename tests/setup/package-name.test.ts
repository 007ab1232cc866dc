/**
 * The name `weir` on npm belongs to another package: whatever a reader may paste from a document, a message or a script
 * must run this package or nothing.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

const ROOT = join(import.meta.dirname, "..", "..");
const READ = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "package.json",
  ".ci",
  "docs",
  "examples",
  "scripts",
  "setup",
  "src",
  "monitor",
  "bench",
];
const TEXT = /(\.(md|ts|tsx|mjs|js|json|yaml|yml|sh|html|py)|\/run)$/;

function textFiles(): { readonly file: string; readonly text: string }[] {
  const files = READ.flatMap((entry) => {
    const path = join(ROOT, entry);
    if (/\.(md|json)$/.test(entry)) return [path];
    return readdirSync(path, { recursive: true, withFileTypes: true })
      .filter((found) => found.isFile())
      .map((found) => join(found.parentPath ?? found.path, found.name));
  });
  return files
    .filter((file) => TEXT.test(file) && !file.includes("node_modules"))
    .map((file) => ({ file: relative(ROOT, file), text: readFileSync(file, "utf8") }));
}

/** Lines that match, as `file:line text`. */
function found(pattern: RegExp): string[] {
  return textFiles().flatMap(({ file, text }) =>
    text.split("\n").flatMap((line, index) => (pattern.test(line) ? [`${file}:${index + 1} ${line.trim()}`] : [])),
  );
}

describe("the package's name", () => {
  it("is never fetched by a command that a document, message or script names", () => {
    // `npx --no -- weir` installs nothing, and `weir-rl` is this package.
    expect(found(/\bnpx (?!--no |--no-install )(?:-\S+ )*weir(?![-\w])/)).toEqual([]);
    expect(found(/\bnpm (?:exec|install|i|add|create)\b(?! --no )(?:\s+-\S+)*\s+weir(?![-\w./])/)).toEqual([]);
  });

  it("is what every import of weir's doors says", () => {
    expect(found(/(?:from|import\(?)\s*["']weir(?:["']|\/)/)).toEqual([]);
    expect(found(/\bweir\/(?:testing|monitor)\b/)).toEqual([]);
  });

  it("would be found in the forms that are refused", () => {
    const refused = /\bnpx (?!--no |--no-install )(?:-\S+ )*weir(?![-\w])/;
    for (const text of ["run `npx weir setup`", "npx -y weir doctor", "npx weir"]) expect(text).toMatch(refused);
    for (const text of ["npx weir-rl doctor", "npx --no -- weir doctor", "npm run weir -- setup"])
      expect(text).not.toMatch(refused);
  });

  it("stands in package.json and lockfile with the three doors and the command", () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8"));
    expect([manifest.name, lock.name, lock.packages[""].name]).toEqual(["weir-rl", "weir-rl", "weir-rl"]);
    expect(Object.keys(manifest.exports)).toEqual([".", "./testing", "./monitor", "./package.json"]);
    expect(Object.keys(manifest.bin)).toEqual(["weir"]);
    expect(manifest.scripts.weir).toContain("dist/src/cli/main.js");
  });
});

describe("the command that messages name", () => {
  it("is the npm script in a clone, and npm's runner without installing elsewhere", async () => {
    const { weirCommand } = await loadScript<{ weirCommand(args: string, root?: string): string }>("setup/command.mjs");
    expect(weirCommand("setup --gpu")).toBe("npm run weir -- setup --gpu");
    expect(weirCommand("setup --gpu", "/nowhere")).toBe("npx --no -- weir setup --gpu");
  });
});
