/**
 * Owns how the guides of docs/guides hold code: which blocks are files of examples/guides, and which commands CI runs.
 *
 *     <!-- example: examples/guides/reward.ts -->     the fenced block below is that file, filled in by check-guides.mjs
 *     ```sh                                           commands, run by run-guides.mjs in a folder that holds examples/guides
 *     <!-- run: weir data show wrong.jsonl -->        the same, not shown
 *     ```text                                         right below commands: lines of their output; … stands for any text
 *
 * A command that ends in `# exit code N` has to end with that code, all others with 0.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, extname, join, relative } from "node:path";

const LANGUAGES = { ".jsonl": "json", ".ts": "ts", ".yaml": "yaml", ".html": "html", ".js": "js", ".json": "json" };

/** Files below a folder, as paths relative to `root`, in order. */
export function filesBelow(root, folder) {
  return readdirSync(join(root, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath ?? entry.path, entry.name)))
    .sort();
}

/** The guides, in the order in which they are run. */
export const guideFiles = (root) => filesBelow(root, join("docs", "guides")).filter((file) => file.endsWith(".md"));

const EXAMPLE = /^<!-- example: (\S+) -->\n\n?```[a-z]*\n[\s\S]*?^```$/gm;

/** A guide with every marked block equal to its file; one whose file is not there stays as it is. */
export function filledIn(root, text) {
  return text.replace(EXAMPLE, (block, file) => {
    if (!existsSync(join(root, file))) return block;
    const content = readFileSync(join(root, file), "utf8").trimEnd();
    return `<!-- example: ${file} -->\n\n\`\`\`${LANGUAGES[extname(file)] ?? ""}\n${content}\n\`\`\``;
  });
}

/** The files that a guide holds as blocks. */
export const examplesOf = (text) => [...text.matchAll(/^<!-- example: (\S+) -->$/gm)].map(([, file]) => file);

/** Headings of a page, as links name them. */
const headingsOf = (text) =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );

/** What is wrong with the guides of a folder, one line each. */
export function guideFaults(root) {
  const faults = [];
  const shown = new Set();
  for (const guide of guideFiles(root)) {
    const text = readFileSync(join(root, guide), "utf8");
    const blocks = [...text.matchAll(EXAMPLE)].length;
    const fences = [...text.matchAll(/^```(?:ts|js|json|yaml|html)$/gm)].length;
    for (const file of examplesOf(text)) {
      shown.add(file);
      if (!existsSync(join(root, file))) faults.push(`${guide}: there is no file ${file}`);
    }
    if (blocks !== examplesOf(text).length) faults.push(`${guide}: a mark "example:" has no fenced block below it`);
    else if (fences > blocks) faults.push(`${guide}: a block of code is no file: mark it with "example:"`);
    else if (filledIn(root, text) !== text)
      faults.push(`${guide}: a block differs from its file; run node scripts/check-guides.mjs`);
    for (const [, target, anchor] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const path = target === "" ? guide : join(dirname(guide), target);
      if (!existsSync(join(root, path))) faults.push(`${guide}: links to ${target}, which is not there`);
      else if (anchor !== undefined && !headingsOf(readFileSync(join(root, path), "utf8")).includes(anchor))
        faults.push(`${guide}: links to ${target}#${anchor}, which is no heading`);
    }
  }
  for (const file of filesBelow(root, join("examples", "guides")))
    if (!shown.has(file)) faults.push(`${file}: no guide shows this file`);
  return faults;
}

const COMMANDS = /(?:^```sh\n([\s\S]*?)^```$|^<!-- run: (.*) -->$)(?:\n+```text\n([\s\S]*?)^```$)?/gm;

/** Commands of a guide, in order: the script, and the lines that its output must have, as patterns. */
export function commandsOf(text) {
  return [...text.matchAll(COMMANDS)].map(([, block, hidden, output]) => ({
    script: (block ?? `${hidden}\n`).trimEnd(),
    lines: (output ?? "").split("\n").filter((line) => line.trim() !== ""),
  }));
}

/** The script for bash: it stops at the first command that ends with another exit code than it should. */
export function bashScript(script) {
  const checked = script.split("\n").map((line) => {
    const code = /\s+# exit code (\d+)$/.exec(line);
    if (!code) return line;
    const command = line.slice(0, code.index);
    return `code=0; ${command} || code=$?; [ $code -eq ${code[1]} ] || { echo "exit code $code"; exit 1; }`;
  });
  return ["set -euo pipefail", ...checked].join("\n");
}

/** The first line that an output lacks, in order; null where it has them all. */
export function missingLine(output, lines) {
  let rest = output;
  for (const line of lines) {
    const parts = line
      .trim()
      .split("…")
      .map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const found = new RegExp(parts.join(".*")).exec(rest);
    if (!found) return line;
    rest = rest.slice(found.index + found[0].length);
  }
  return null;
}
