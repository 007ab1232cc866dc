/** The check of a GPU machine where there is none: it says what is missing, and its exit code does. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { locateNative } from "../../src/model/tensor/native/index.js";
import { loadScript } from "./scripts.js";

const { run } = await loadScript<{
  run(command: string, args: string[]): Promise<{ readonly code: number; readonly output: string }>;
}>("setup/run.mjs");
const { ensureFunctions } = await loadScript<{
  ensureFunctions(options: { readonly directory: string }): Promise<{ readonly status: string }>;
}>("setup/functions.mjs");
const { cacheRoot } = await loadScript<{ cacheRoot(env: NodeJS.ProcessEnv): string }>("setup/paths.mjs");
const { findGpu } = await loadScript<{ findGpu(): string | null }>("setup/tools.mjs");

const script = new URL("../../scripts/gpu-check.mjs", import.meta.url).pathname;
const check = (...args: string[]) => run(process.execPath, [script, ...args]);

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-gpu-check-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

describe("the check of a GPU machine", () => {
  it("says how it is used", async () => {
    const { code, output } = await check();
    expect(code).toBe(2);
    expect(output).toContain("--prepare FOLDER | gpu-check.mjs FOLDER");
  });

  it("says that a folder was not prepared", async () => {
    const { code, output } = await check(folder);
    expect(code).toBe(1);
    expect(output).toContain(`${folder} holds no native engine for this machine; prepare it with --prepare`);
  });

  it.runIf(locateNative().found && findGpu() === null)("ends with 3 where TensorFlow sees no GPU", async () => {
    expect((await ensureFunctions({ directory: locateNative().path as string })).status).not.toBe("unavailable");
    const out = join(folder, "found.json");
    const { code, output } = await check(cacheRoot(process.env), "--out", out);
    expect(output).toContain("TensorFlow sees no GPU");
    expect(code).toBe(3);
    const { gpu, steps } = JSON.parse(readFileSync(out, "utf8"));
    expect(gpu).toBeNull();
    // Nothing is measured on the processor in the GPU's name.
    expect(steps).toHaveLength(1);
    expect(steps[0]).toMatchObject({ status: "ok", result: { gpu: false, functions: { ok: true } } });
  });
});
