/** The rules of `.dependency-cruiser.mjs`: what they let pass and what they catch. `npm run check:imports` applies them to weir. */
import { spawnSync } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { temporaryFolder } from "../helpers/fixtures.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = join(root, "node_modules", "dependency-cruiser", "bin", "dependency-cruise.mjs");

/** What the rules say of a project of these files. */
async function check(files: Readonly<Record<string, string>>): Promise<{ code: number | null; output: string }> {
  const folder = await temporaryFolder();
  const all = {
    "tsconfig.json": "{}",
    "src/errors.ts": "export const code = 1;",
    "monitor/protocol/a.ts": "",
    ...files,
  };
  for (const [path, text] of Object.entries(all)) {
    await mkdir(dirname(join(folder, path)), { recursive: true });
    await writeFile(join(folder, path), text);
  }
  const args = [program, "--config", join(root, ".dependency-cruiser.mjs"), "src", "monitor"];
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" });
  return { code: status, output: stdout + stderr };
}

const value = "export const x = 1;";

it("lets a folder import itself, what lies below it, and packages", async () => {
  const { code, output } = await check({
    "src/algorithms/x.ts": value,
    "src/rewards/y.ts": value,
    "src/rewards/rules.ts":
      'import { x } from "../algorithms/x.js";\nimport { x as y } from "./y.js";\nexport default x + y;',
    "src/model/tensor/t.ts": value,
    "src/model/decode/d.ts": 'import { x } from "../tensor/t.js";\nexport default x;',
  });
  expect(output).toContain("no dependency violations");
  expect(code).toBe(0);
});

it("catches imports against the direction, between floors and actors too", async () => {
  const { code, output } = await check({
    "src/contracts/task.ts": 'import { code } from "../errors.js";\nexport default code;',
    "src/model/train/learner.ts": value,
    "src/model/decode/sampler.ts": 'import { x } from "../train/learner.js";\nexport default x;',
    "src/model/tensor/t.ts": 'import type { x } from "../decode/sampler.js";\nexport type T = typeof x;',
    "src/actors/run/step.ts": value,
    "src/actors/reward/reward.ts": 'export const load = () => import("../run/step.js");',
  });
  for (const [from, to] of [
    ["src/contracts/task.ts", "src/errors.ts"],
    ["src/model/decode/sampler.ts", "src/model/train/learner.ts"],
    ["src/model/tensor/t.ts", "src/model/decode/sampler.ts"],
    ["src/actors/reward/reward.ts", "src/actors/run/step.ts"],
  ])
    expect(output).toContain(`${from} → ${to}`);
  expect(code).toBeGreaterThan(0);
});

it("catches circles, of types too, and folders without a rule", async () => {
  const { output } = await check({
    "src/store/a.ts": 'import type { B } from "./b.js";\nexport type A = B | null;',
    "src/store/b.ts": 'import type { A } from "./a.js";\nexport type B = A[];',
    "src/extra/c.ts": 'import { code } from "../errors.js";\nexport default code;',
  });
  expect(output).toMatch(/no circles: src\/store\/[ab]\.ts/);
  expect(output).toContain("every folder has a rule: src/extra/c.ts → src/errors.ts");
});
