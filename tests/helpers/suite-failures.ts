import type { TestFramework } from "../../src/testing.js";

/** Runs a suite by hand and gives the names of failed tests. */
export async function failures(register: (framework: TestFramework) => void): Promise<string[]> {
  const tests: { name: string; body: () => unknown }[] = [];
  register({ describe: (_name, body) => body(), it: (name, body) => tests.push({ name, body }) });
  const failed: string[] = [];
  for (const { name, body } of tests) {
    try {
      await body();
    } catch {
      failed.push(name);
    }
  }
  return failed;
}
