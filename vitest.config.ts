/**
 * Owns how tests are found and run. `*.test.ts` run with `npm test`; `*.long.test.ts` (minutes, not seconds) only where
 * WEIR_TEST_LONG=1, which `npm run test:long` sets; those of tests/engines, against real servers, only where WEIR_TEST_ENGINES=1, which
 * `npm run test:engines` sets.
 */
import { defineConfig } from "vitest/config";

const engines = process.env.WEIR_TEST_ENGINES === "1";
const long = process.env.WEIR_TEST_LONG === "1" && !engines;
const slow = long || engines;

const included = engines ? "tests/engines/**/*.test.ts" : long ? "tests/**/*.long.test.ts" : "tests/**/*.test.ts";
const excluded = engines ? [] : ["tests/engines/**", ...(long ? [] : ["tests/**/*.long.test.ts"])];

export default defineConfig({
  test: {
    include: [included],
    exclude: ["**/node_modules/**", "**/dist/**", ...excluded],
    pool: "forks",
    // Two files at a time: tests start engine processes of their own, each of which can use every core. A server of another engine takes
    // some GiB: one at a time.
    maxWorkers: engines ? 1 : 2,
    // A loaded machine is several times slower than an idle one; a hang still ends.
    testTimeout: slow ? 900_000 : 180_000,
    hookTimeout: slow ? 900_000 : 180_000,
    coverage: { provider: "v8", include: ["src/**", "monitor/**"], reporter: ["text-summary", "json-summary"] },
  },
});
