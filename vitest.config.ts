/**
 * Owns how tests are found and run. `*.test.ts` run with `npm test`; `*.long.test.ts` (minutes, not seconds) only where
 * WEIR_TEST_LONG=1, which `npm run test:long` sets.
 */
import { defineConfig } from "vitest/config";

const long = process.env.WEIR_TEST_LONG === "1";

export default defineConfig({
  test: {
    include: [long ? "tests/**/*.long.test.ts" : "tests/**/*.test.ts"],
    exclude: ["**/node_modules/**", "**/dist/**", ...(long ? [] : ["tests/**/*.long.test.ts"])],
    pool: "forks",
    // Two files at a time: tests start engine processes of their own, each of which can use every core.
    maxWorkers: 2,
    // A loaded machine is several times slower than an idle one; a hang still ends.
    testTimeout: long ? 900_000 : 180_000,
    hookTimeout: long ? 900_000 : 180_000,
    coverage: { provider: "v8", include: ["src/**", "monitor/**"], reporter: ["text-summary", "json-summary"] },
  },
});
