/** The count of a test run, and what it says of tests that were left out. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

const { countLine, countTests, skippedLines } = await loadScript<{
  countTests(reports: readonly object[]): { passed: number; failed: number; skipped: number };
  countLine(counts: object): string;
  skippedLines(report: object, options: { root: string; read: (file: string) => string }): string[];
}>("scripts/test-summary.mjs");

const SOURCE = `
describe.skipIf(!hasBrowser)("the page", () => { it("opens", () => {}); it("closes", () => {}); });
describe("engines", () => {
  it.runIf(process.platform === "linux" && ready(x))(
    "read /proc",
    () => {},
  );
  it.skip("later", () => {});
});`;

const test = (status: string, ...titles: string[]) => ({
  status,
  ancestorTitles: titles.slice(0, -1),
  title: titles.at(-1),
});
const REPORT = {
  numPassedTests: 1,
  numFailedTests: 0,
  numPendingTests: 4,
  numTodoTests: 0,
  testResults: [
    {
      name: "/w/tests/page.test.ts",
      status: "passed",
      assertionResults: [
        test("passed", "engines", "start"),
        test("skipped", "the page", "opens"),
        test("skipped", "the page", "closes"),
        test("skipped", "engines", "read /proc"),
        test("skipped", "engines", "later"),
      ],
    },
  ],
};

describe("the summary of a test run", () => {
  it("counts what was left out, and names each suite with its condition", () => {
    expect(countLine(countTests([REPORT]))).toBe("1 passed, 0 failed, 4 skipped");
    expect(skippedLines(REPORT, { root: "/w", read: () => SOURCE })).toEqual([
      "skipped: 2 of tests/page.test.ts > the page (skipped where !hasBrowser)",
      'skipped: 1 of tests/page.test.ts > engines > read /proc (run only where process.platform === "linux" && ready(x))',
      "skipped: 1 of tests/page.test.ts > engines > later (marked in its file)",
    ]);
  });

  it("counts a file that cannot be loaded, and a report that was never written, as failures", () => {
    const broken = { ...REPORT, numPendingTests: 0, testResults: [{ status: "failed", assertionResults: [] }] };
    expect(countLine(countTests([broken, broken]))).toBe("2 passed, 2 failed");
    const folder = mkdtempSync(join(tmpdir(), "weir-sum-"));
    try {
      writeFileSync(join(folder, "a.json"), JSON.stringify(REPORT));
      const script = join(import.meta.dirname, "..", "..", "scripts", "sum-tests.mjs");
      const files = [join(folder, "a.json"), join(folder, "missing.json")];
      const output = execFileSync(process.execPath, [script, ...files], { encoding: "utf8" });
      expect(output).toBe("1 passed, 1 failed, 4 skipped\n");
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
