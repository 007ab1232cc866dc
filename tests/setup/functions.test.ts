/** The functions addon in an engine's folder: how it is found, what keeps XLA out, and that its absence is one line. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

const keys = await loadScript<{
  functionsFile(directory: string): string;
  xlaFaultFile(directory: string): string;
  locateFunctions(
    directory: string,
    env: Record<string, string>,
  ): { readonly path: string | null; readonly reason: string; readonly xla: string | null };
}>("setup/functions-key.mjs");
const { ensureFunctions, tryXla } = await loadScript<{
  ensureFunctions(options: {
    readonly directory: string;
    readonly env: Record<string, string>;
  }): Promise<{ readonly status: string; readonly reason: string }>;
  tryXla(options: { readonly directory: string }): Promise<string | null>;
}>("setup/functions.mjs");

let engine: string;
beforeEach(() => {
  engine = mkdtempSync(join(tmpdir(), "weir-functions-"));
});
afterEach(() => {
  rmSync(engine, { recursive: true, force: true });
});

function putAddon(): string {
  const file = keys.functionsFile(engine);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, "");
  return file;
}

describe("finding the functions addon", () => {
  it("takes the file under the key, and says why where there is none", () => {
    expect(keys.locateFunctions(engine, {})).toEqual({
      path: null,
      reason: "no functions addon of this version is compiled for the engine (`npm run weir -- setup` does that)",
      xla: null,
    });
    const file = putAddon();
    expect(keys.locateFunctions(engine, {})).toMatchObject({ path: file, xla: null });
  });

  it("keeps XLA out where a try of it failed, or where WEIR_XLA=off asks for it", () => {
    putAddon();
    writeFileSync(keys.xlaFaultFile(engine), "XLA compiled nothing: no libdevice\n");
    expect(keys.locateFunctions(engine, {}).xla).toBe("XLA compiled nothing: no libdevice");
    expect(keys.locateFunctions(engine, { WEIR_XLA: "off" }).xla).toBe("XLA is switched off by WEIR_XLA=off");
  });

  it("notes what a try of XLA ends with", async () => {
    putAddon();
    // A folder without TensorFlow: the process of the try fails.
    const reason = await tryXla({ directory: engine });
    expect(reason).toMatch(/^XLA compiled nothing: the engine does not run \(/);
    expect(keys.locateFunctions(engine, {}).xla).toBe(reason);
  });
});

describe.runIf(process.platform === "linux")("compiling the functions addon", () => {
  it("is left out in one line where there is no compiler", async () => {
    const result = await ensureFunctions({ directory: engine, env: { PATH: "/nowhere" } });
    expect(result).toMatchObject({
      status: "unavailable",
      reason: "functions addon left out: no C++ compiler was found; a GPU runs operation by operation",
    });
  });

  it("is left out in one line where the compiler refuses it, and leaves nothing behind", async () => {
    const compiler = join(engine, "refusing-compiler");
    const script =
      '#!/bin/sh\n[ "$1" = --version ] && echo "compiler 1" && exit 0\necho "error: no such thing" >&2\nexit 1\n';
    writeFileSync(compiler, script, { mode: 0o755 });
    const result = await ensureFunctions({
      directory: engine,
      env: { ...process.env, CXX: compiler } as Record<string, string>,
    });
    expect(result.status).toBe("unavailable");
    expect(result.reason).toMatch(/^functions addon left out: .* could not compile it \(error: no such thing\); /);
    expect(keys.locateFunctions(engine, {}).path).toBeNull();
  });
});
