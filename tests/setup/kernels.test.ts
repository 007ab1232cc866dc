/** weir's kernels in the cache: what their key depends on, how they are found, and that none of it is ever in the way. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadKernels } from "../../src/model/tensor/native/index.js";
import { loadScript } from "./scripts.js";

interface Source {
  readonly name: string;
  readonly path: string;
}
const keys = await loadScript<{
  kernelSources(): Source[];
  processorFlags(): string;
  kernelKey(parts?: { readonly sources?: readonly Source[]; readonly processor?: string }): string;
  kernelFile(directory: string, key?: string): string;
  locateKernels(
    directory: string,
    env: Record<string, string>,
  ): { readonly path: string | null; readonly reason: string };
}>("setup/kernel-key.mjs");
const { ensureKernels } = await loadScript<{
  ensureKernels(options: {
    readonly directory: string;
    readonly env: Record<string, string>;
  }): Promise<{ readonly status: string; readonly reason: string }>;
}>("setup/kernels.mjs");

let engine: string;
beforeEach(() => {
  engine = mkdtempSync(join(tmpdir(), "weir-kernels-"));
});
afterEach(() => {
  rmSync(engine, { recursive: true, force: true });
});

describe("the kernels' key", () => {
  it("follows every source, its name and the processor", () => {
    const path = join(engine, "a.cc");
    const sources = [{ name: "kernels/a.cc", path }];
    const keyOf = (text: string, name = "kernels/a.cc", processor = "avx2") => {
      writeFileSync(path, text);
      return keys.kernelKey({ sources: [{ name, path }], processor });
    };
    const first = keyOf("int a;");
    expect(first).toMatch(/^[0-9a-f]{16}$/);
    expect(keys.kernelKey({ sources, processor: "avx2" })).toBe(first);
    const others = [keyOf("int b;"), keyOf("int a;", "kernels/b.cc"), keyOf("int a;", "kernels/a.cc", "avx512f")];
    expect(new Set([first, ...others]).size).toBe(4);
  });

  it("is made of the package's own sources", () => {
    const names = keys.kernelSources().map(({ name }) => name);
    expect(names).toContain("core/parallel.cc");
    expect(names).toContain("tensorflow/registry.h");
    expect(names.every((name) => /\.(cc|h|inc)$/.test(name))).toBe(true);
  });

  it.runIf(process.platform === "linux")("knows the processor whatever order Linux lists its abilities in", () => {
    const flags = keys.processorFlags().split(" ");
    expect(flags.length).toBeGreaterThan(3);
    expect(flags).toEqual([...flags].sort());
  });
});

describe("finding the kernels", () => {
  it("takes the file under the key, and says why where there is none", () => {
    const missing = keys.locateKernels(engine, {});
    expect(missing).toEqual({
      path: null,
      reason: "no kernels of this version are compiled for this processor (`npm run weir -- setup` does that)",
    });
    const file = keys.kernelFile(engine);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, "");
    expect(keys.locateKernels(engine, {}).path).toBe(file);
    expect(keys.locateKernels(engine, { WEIR_KERNELS: "off" })).toEqual({
      path: null,
      reason: "the kernels are switched off by WEIR_KERNELS=off",
    });
  });

  it("does not load what no engine is there for", () => {
    expect(loadKernels()).toEqual({
      loaded: false,
      reason: "the native engine is not loaded in this process",
      products: [],
    });
  });
});

describe.runIf(process.platform === "linux")("compiling the kernels", () => {
  it("is left out in one line where there is no compiler", async () => {
    const result = await ensureKernels({ directory: engine, env: { PATH: "/nowhere" } });
    expect(result).toMatchObject({
      status: "unavailable",
      reason: "kernels left out: no C++ compiler was found; TensorFlow's own operations do their work",
    });
  });

  it("is left out in one line where the compiler refuses a file, and leaves nothing behind", async () => {
    const compiler = join(engine, "refusing-compiler");
    const script =
      '#!/bin/sh\n[ "$1" = --version ] && echo "compiler 1" && exit 0\necho "error: no such thing" >&2\nexit 1\n';
    writeFileSync(compiler, script, { mode: 0o755 });
    const env = { ...process.env, CXX: compiler } as Record<string, string>;
    const result = await ensureKernels({ directory: engine, env });
    expect(result.status).toBe("unavailable");
    expect(result.reason).toMatch(
      /^kernels left out: .*could not compile (kernels|attention)\/\w+\.cc \(error: no such thing\); [^\n]*$/,
    );
    expect(keys.locateKernels(engine, {}).path).toBeNull();
  });
});
