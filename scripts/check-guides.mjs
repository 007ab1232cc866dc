/**
 * Writes the files of examples/guides into the marked blocks of docs/guides. With --check it changes nothing and fails where a
 * block differs from its file, a file is shown nowhere, or a link leads nowhere.
 * Usage: node scripts/check-guides.mjs [--check]
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { filledIn, guideFaults, guideFiles } from "./guides.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
if (!process.argv.includes("--check")) {
  for (const guide of guideFiles(root)) {
    const text = readFileSync(join(root, guide), "utf8");
    const filled = filledIn(root, text);
    if (filled !== text) writeFileSync(join(root, guide), filled);
  }
}
const faults = guideFaults(root);
for (const fault of faults) console.error(fault);
if (faults.length > 0) process.exitCode = 1;
else console.log(`${guideFiles(root).length} guides hold the files of examples/guides`);
