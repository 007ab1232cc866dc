/**
 * Runs vitest with the project's configuration. Usage: node scripts/test.mjs [--long] [vitest arguments …]
 * WEIR_TEST_REPORT=FILE also writes vitest's JSON report there.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const long = process.argv.includes("--long");
const args = process.argv.slice(2).filter((argument) => argument !== "--long");
const report = process.env.WEIR_TEST_REPORT;
if (report) args.push("--reporter=default", "--reporter=json", `--outputFile.json=${report}`);
// Temporary folders of all tests lie below one that is removed at the end, whatever a test left behind.
const temporary = mkdtempSync(join(tmpdir(), "weir-test-"));
const result = spawnSync(process.execPath, [join(root, "node_modules", "vitest", "vitest.mjs"), "run", ...args], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, WEIR_TEST_LONG: long ? "1" : "", TMPDIR: temporary },
});
rmSync(temporary, { recursive: true, force: true });
process.exitCode = result.status ?? 1;
