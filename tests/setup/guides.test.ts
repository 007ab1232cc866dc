/** The guides: their blocks are the files that CI runs, and the commands that CI runs are found in them. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

interface GuidesModule {
  guideFaults(root: string): string[];
  filledIn(root: string, text: string): string;
  commandsOf(text: string): { readonly script: string; readonly lines: readonly string[] }[];
  bashScript(script: string): string;
  missingLine(output: string, lines: readonly string[]): string | null;
}

const { guideFaults, filledIn, commandsOf, bashScript, missingLine } =
  await loadScript<GuidesModule>("scripts/guides.mjs");
const root = join(import.meta.dirname, "..", "..");

/** A folder with the files given, by path. */
async function folder(files: Readonly<Record<string, string>>): Promise<string> {
  const path = mkdtempSync(join(tmpdir(), "weir-guides-"));
  for (const [file, content] of Object.entries(files)) {
    await mkdir(dirname(join(path, file)), { recursive: true });
    writeFileSync(join(path, file), content);
  }
  return path;
}

const block = (content: string, file = "a.ts") =>
  `<!-- example: examples/guides/${file} -->\n\n\`\`\`ts\n${content}\n\`\`\`\n`;

describe("the guides", () => {
  it("hold the files of examples/guides, and their links lead somewhere", () => {
    expect(guideFaults(root)).toEqual([]);
  });

  it.each<[string, string, string[]]>([
    ["a block equal to its file", `# A\n\n${block("1;")}[a](a.md#a)\n`, []],
    [
      "a block that differs",
      block("2;"),
      ["docs/guides/a.md: a block differs from its file; run node scripts/check-guides.mjs"],
    ],
    [
      "code that is no file",
      `${block("1;")}\n\`\`\`ts\n3;\n\`\`\`\n`,
      ['docs/guides/a.md: a block of code is no file: mark it with "example:"'],
    ],
    [
      "a mark without a block",
      "<!-- example: examples/guides/a.ts -->\n\ntext\n",
      ['docs/guides/a.md: a mark "example:" has no fenced block below it'],
    ],
    ["a link that leads nowhere", `${block("1;")}[b](b.md)\n`, ["docs/guides/a.md: links to b.md, which is not there"]],
    [
      "a heading that is not there",
      `# A\n\n${block("1;")}[b](#b)\n`,
      ["docs/guides/a.md: links to #b, which is no heading"],
    ],
    [
      "a file that is not there",
      `${block("1;")}${block("1;", "b.ts")}`,
      ["docs/guides/a.md: there is no file examples/guides/b.ts"],
    ],
    ["a file that is not shown", "text\n", ["examples/guides/a.ts: no guide shows this file"]],
  ])("are told of %s", async (_, guide, faults) => {
    expect(guideFaults(await folder({ "docs/guides/a.md": guide, "examples/guides/a.ts": "1;\n" }))).toEqual(faults);
  });

  it("are filled in from the files, with dollar signs as they are", async () => {
    const path = await folder({ "examples/guides/a.ts": "$1 $& $$;\n" });
    expect(filledIn(path, block("old"))).toBe(block("$1 $& $$;"));
  });
});

describe("commands of a guide", () => {
  const text =
    "```sh\none\ntwo\n```\n\n```text\nfirst\n\nsecond …\n```\n\n```text\nalone\n```\n\n<!-- run: three -->\n";

  it("are its blocks and its hidden ones, with the output right below them", () => {
    expect(commandsOf(text)).toEqual([
      { script: "one\ntwo", lines: ["first", "second …"] },
      { script: "three", lines: [] },
    ]);
  });

  it.each<[string, number]>([
    ["true", 0],
    ["false", 1],
    ["exit 3   # exit code 3", 3],
    ["(exit 3)   # exit code 3", 0],
    ["true   # exit code 3", 1],
    ["(exit 3)   # exit code 3\nfalse", 1],
  ])("%s ends with %i", (script, code) => {
    expect(spawnSync("bash", ["-c", bashScript(script)]).status).toBe(code);
  });

  it("miss the first line that their output lacks, in order", () => {
    expect(missingLine("a (1)\nb 22 c\n", ["a (1)", "b … c"])).toBeNull();
    expect(missingLine("b\na\n", ["a", "b"])).toBe("b");
    expect(missingLine("a\nb\n", ["a … b"])).toBe("a … b");
  });
});
