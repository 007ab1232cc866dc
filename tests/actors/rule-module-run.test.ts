/** A run whose rule is a module of the user's own, which for some responses never comes back. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fakeRun } from "./fake-run.js";

const folder = mkdtempSync(join(tmpdir(), "weir-rule-run-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const file = (name: string, text: string) => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
/** One response in twelve or so loops for ever; the others get the parity of their characters. */
const RULE = `
export default ({ response, goldAnswers }) => {
  const sum = [...response].reduce((total, character) => total + character.codePointAt(0), 0);
  if (sum % 12 === 0) for (;;);
  return { value: sum % 2, prediction: response, gold: goldAnswers[0] };
};
`;

describe("a run with a rule of the user's own", () => {
  it("goes on where the rule never comes back; what it scored is all that counts", async () => {
    const rules = { module: file("loops.mjs", RULE), timeoutMs: 300, workers: 1 };
    const over = { phases: [{ maxTokens: 300, steps: 3 }], reward: { actor: "rule", rules } };
    const { system, metrics } = await fakeRun(over, undefined as never);
    await system.start();
    expect((await system.done).status).toBe("completed");
    const shares = metrics.flatMap(({ values }) => values["reward/scored_share"] ?? []);
    expect(shares.length).toBeGreaterThanOrEqual(3);
    expect(Math.min(...shares)).toBeLessThan(1);
    expect(Math.max(...shares)).toBeGreaterThan(0.5);
    for (const { values } of metrics) expect(values["reward/mean"] ?? 0).toBeLessThanOrEqual(1);
  });

  it("does not begin where the module cannot be used", async () => {
    const over = { reward: { actor: "rule", rules: { module: file("none.mjs", "export const rule = 1;") } } };
    const { system } = await fakeRun(over, undefined as never);
    await expect(system.start()).rejects.toThrow(/WEIR_E_PART.*none\.mjs.*expected a function as its default export/);
  });
});
