/**
 * Adds up JSON reports of test runs and prints "N passed, N failed", with ", N skipped" where tests were left out. A report
 * that is missing counts as one failure: its run did not get as far as writing it.
 */
import { existsSync, readFileSync } from "node:fs";
import { countLine, countTests } from "./test-summary.mjs";

const files = process.argv.slice(2);
const counts = countTests(files.filter(existsSync).map((file) => JSON.parse(readFileSync(file, "utf8"))));
counts.failed += files.filter((file) => !existsSync(file)).length;
console.log(countLine(counts));
