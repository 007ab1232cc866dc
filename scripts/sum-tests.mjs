/**
 * Adds up vitest's JSON reports and prints "N passed, N failed". A report that is missing counts as one failure:
 * its run did not get as far as writing it.
 */
import { existsSync, readFileSync } from "node:fs";

let passed = 0;
let failed = 0;
for (const file of process.argv.slice(2)) {
  if (!existsSync(file)) {
    failed += 1;
    continue;
  }
  const report = JSON.parse(readFileSync(file, "utf8"));
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  // A file that cannot be loaded has no tests to count.
  failed += report.testResults.filter(
    (result) => result.status === "failed" && result.assertionResults.length === 0,
  ).length;
}
console.log(`${passed} passed, ${failed} failed`);
