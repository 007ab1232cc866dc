/**
 * Runs vitest with the project's configuration, then lists what was left out and why.
 * Usage: node scripts/test.mjs [--long | --engines] [vitest arguments …]
 * WEIR_TEST_REPORT=FILE keeps vitest's JSON report there.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { countLine, countTests, skippedLines } from "./test-summary.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const long = process.argv.includes("--long");
const engines = process.argv.includes("--engines");
const args = process.argv.slice(2).filter((argument) => argument !== "--long" && argument !== "--engines");
// Temporary folders of all tests lie below one that is removed at the end, whatever a test left behind.
const temporary = mkdtempSync(join(tmpdir(), "weir-test-"));
const report = process.env.WEIR_TEST_REPORT || join(temporary, "report.json");
const chosen = args.some((argument) => argument.startsWith("--reporter"));
args.push(...(chosen ? [] : ["--reporter=default"]), "--reporter=json", `--outputFile.json=${report}`);
const result = spawnSync(process.execPath, [join(root, "node_modules", "vitest", "vitest.mjs"), "run", ...args], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, WEIR_TEST_LONG: long ? "1" : "", WEIR_TEST_ENGINES: engines ? "1" : "", TMPDIR: temporary },
});
if (existsSync(report)) {
  const read = JSON.parse(readFileSync(report, "utf8"));
  // A name pattern leaves out whatever does not match it: that needs no list.
  const byName = args.some((argument) => argument === "-t" || argument.startsWith("--testNamePattern"));
  if (!byName) for (const line of skippedLines(read, { root })) console.log(line);
  console.log(countLine(countTests([read])));
}
rmSync(temporary, { recursive: true, force: true });
process.exitCode = result.status ?? 1;
