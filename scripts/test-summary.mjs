/**
 * What a run of vitest came to, from its JSON report: counts, and which tests were left out on which condition, so that a
 * machine without an engine or a browser does not pass for one that has tested everything.
 */
import { readFileSync } from "node:fs";
import { relative } from "node:path";

/**
 * Adds reports up. A file that cannot be loaded has no tests to count and is one failure.
 * @param {any[]} reports
 * @returns {{ passed: number, failed: number, skipped: number }}
 */
export function countTests(reports) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const report of reports) {
    counts.passed += report.numPassedTests;
    counts.failed += report.numFailedTests;
    counts.skipped += (report.numPendingTests ?? 0) + (report.numTodoTests ?? 0);
    counts.failed += report.testResults.filter(
      (result) => result.status === "failed" && result.assertionResults.length === 0,
    ).length;
  }
  return counts;
}

/** `N passed, N failed`, and `N skipped` where there are some. */
export function countLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`;
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

/** The condition that a source puts before the suite or test of this title, such as `skipIf(!hasBrowser)`, or null. */
function conditionOf(source, title) {
  const found = new RegExp(`\\.(skipIf|runIf)\\(((?:[^()]|\\([^()]*\\))*)\\)\\(\\s*["'\`]${escaped(title)}["'\`]`).exec(
    source,
  );
  return found ? `${found[1] === "skipIf" ? "skipped" : "run only"} where ${found[2].trim()}` : null;
}

/**
 * One line for each suite of which tests were left out, or test without a suite: how many, where, and why.
 * @param {any} report
 * @param {{ root: string, read?: (file: string) => string }} options
 */
export function skippedLines(report, { root, read = (file) => readFileSync(file, "utf8") }) {
  const lines = new Map();
  for (const { name: file, assertionResults } of report.testResults) {
    const left = assertionResults.filter(({ status }) => status !== "passed" && status !== "failed");
    if (left.length === 0) continue;
    const source = read(file);
    for (const { ancestorTitles, title } of left) {
      const titles = [...ancestorTitles, title];
      // The outermost title with a condition is what was left out as a whole.
      const at = titles.findIndex((text) => conditionOf(source, text) !== null);
      const told = /\(left out: .*\)$/.test(title);
      const why = at >= 0 ? ` (${conditionOf(source, titles[at])})` : told ? "" : " (marked in its file)";
      const where = (at >= 0 ? titles.slice(0, at + 1) : titles).join(" > ");
      const key = `${relative(root, file)} > ${where}${why}`;
      lines.set(key, (lines.get(key) ?? 0) + 1);
    }
  }
  return [...lines].map(([where, count]) => `skipped: ${count} of ${where}`);
}
