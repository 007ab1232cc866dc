/** The unit tests of native/ by its own command, which needs a compiler and make alone; plainly and under the sanitizers. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, symlinkSync } from "node:fs";
import { basename, isAbsolute, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { temporaryFolder } from "../helpers/fixtures.js";

const native = fileURLToPath(new URL("../../native/", import.meta.url));
const TIMEOUT_MS = 900_000;
const runs = (program: string) => spawnSync(program, ["--version"]).status === 0;
const tools = process.platform === "linux" && runs("make") && runs(process.env.CXX ?? "g++");

/** What the makefile may call. */
const PROGRAMS = ["make", process.env.CXX ?? "g++", "sh", "mkdir", "printf", "as", "ld", "nm", "ar"];

/** A folder with links to those programs alone: neither Node nor Python is found on a path of it. */
async function toolsOnly(): Promise<string> {
  const folder = await temporaryFolder();
  const found = (process.env.PATH ?? "").split(":");
  for (const program of PROGRAMS) {
    const path = [program, ...found.map((directory) => join(directory, program))].find(
      (file) => isAbsolute(file) && existsSync(file),
    );
    if (path !== undefined) symlinkSync(path, join(folder, basename(program)));
  }
  return folder;
}

/** `make` with a build folder of its own, and nothing on the path but what it may call. */
async function make(...goals: string[]): Promise<{ code: number | null; output: string }> {
  const args = ["-C", native, "-j", "2", ...goals, `BUILD=${join(await temporaryFolder(), "build")}`];
  const child = spawn("make", args, { env: { ...process.env, PATH: await toolsOnly() } });
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
      const { code, output } = await make("test", `SANITIZE=${sanitize}`);
      expect(output.slice(-2000)).toMatch(/\d+ passed/);
      expect(output).not.toMatch(/WARNING: ThreadSanitizer|ERROR: AddressSanitizer|runtime error:/);
      expect(code).toBe(0);
    },
    TIMEOUT_MS,
  );

  it(
    "come with micro-benchmarks",
    async () => {
      const { code, output } = await make("bench", "ONLY=attention");
      expect(output.slice(-2000)).toMatch(/attention +64 tokens after +1024 +[\d.]+ ms/);
      expect(code).toBe(0);
    },
    TIMEOUT_MS,
  );
});
