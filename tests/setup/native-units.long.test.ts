/** The unit tests of native/ by its own command, which needs a compiler and make alone; plainly and under the sanitizers. */
import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../helpers/fixtures.js";

const native = fileURLToPath(new URL("../../native/", import.meta.url));
const TIMEOUT_MS = 900_000;
const runs = (program: string) => spawnSync(program, ["--version"]).status === 0;
const tools = process.platform === "linux" && runs("make") && runs(process.env.CXX ?? "g++");

/** `make test` with a build folder of its own, and nothing on the path but the system's programs. */
async function test(sanitize: string): Promise<{ code: number | null; output: string }> {
  const args = [
    "-C",
    native,
    "-j",
    "2",
    "test",
    `SANITIZE=${sanitize}`,
    `BUILD=${join(await temporaryFolder(), "build")}`,
  ];
  const path = (process.env.PATH ?? "").split(":").filter((folder) => !/node|python|venv/.test(folder));
  const child = spawn("make", args, { env: { ...process.env, PATH: path.join(":") } });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk) => {
      output += chunk;
    });
  const code = await new Promise<number | null>((resolve) => child.on("close", resolve));
  return { code, output };
}

describe.runIf(tools)("the unit tests of native/", () => {
  it.each([
    ["plainly", ""],
    ["under the thread sanitizer", "thread"],
    ["under the address and undefined-behaviour sanitizers", "address,undefined"],
  ])(
    "pass %s",
    async (_, sanitize) => {
      const { code, output } = await test(sanitize);
      expect(output.slice(-2000)).toMatch(/\d+ passed/);
      expect(output).not.toMatch(/WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error:/);
      expect(code).toBe(0);
    },
    TIMEOUT_MS,
  );
});
