/** The per-user cache of native engines: its key, which folders count as finished, and their re-use. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadScript, type Manifest, type PathsModule } from "./scripts.js";

const paths = await loadScript<PathsModule>("setup/paths.mjs");
const { ensureNative } = await loadScript<{
  ensureNative(options: {
    readonly variant: string;
    readonly env: Record<string, string>;
  }): Promise<{ readonly status: string; readonly directory: string | null; readonly reason: string }>;
}>("setup/install.mjs");
const lock = await loadScript<{
  withLock<T>(path: string, work: () => Promise<T>, options?: { onWait?: (owner: string) => void }): Promise<T>;
  isAbandoned(path: string, owner: { pid: number; host: string } | null): boolean;
}>("setup/lock.mjs");

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), "weir-cache-"));
});
afterEach(() => {
  rmSync(cache, { recursive: true, force: true });
});

/** A folder that looks finished: the required files, one byte each, and a manifest that lists them. */
function plantEngine(name: string, fields: Manifest = {}): string {
  const directory = join(cache, "native", name);
  for (const file of paths.requiredFiles()) {
    mkdirSync(dirname(join(directory, file)), { recursive: true });
    writeFileSync(join(directory, file), "x");
  }
  const manifest = {
    schema: paths.MANIFEST_SCHEMA,
    tfjs: paths.TFJS_VERSION,
    tensorflow: "2.21.0",
    variant: "cpu",
    platform: process.platform,
    arch: process.arch,
    files: Object.fromEntries(paths.requiredFiles().map((file) => [file, 1])),
    probe: { ok: true, node: process.version },
    ...fields,
  };
  writeFileSync(join(directory, "manifest.json"), JSON.stringify(manifest));
  return directory;
}

describe("the cache's place", () => {
  it("is WEIR_CACHE, else XDG_CACHE_HOME/weir, else ~/.cache/weir", () => {
    expect(paths.cacheRoot({ WEIR_CACHE: "/a", XDG_CACHE_HOME: "/b", HOME: "/c" })).toBe("/a");
    expect(paths.cacheRoot({ XDG_CACHE_HOME: "/b", HOME: "/c" })).toBe("/b/weir");
    expect(paths.cacheRoot({ HOME: "/c" })).toBe("/c/.cache/weir");
  });
});

describe("the engine's key", () => {
  const base = { tensorflow: "2.21.0", variant: "cpu", platform: "linux", arch: "x64", tfjs: "4.22.0", napi: 8 };

  it("names everything that the compiled engine depends on", () => {
    expect(paths.nativeKey(base)).toBe("tfjs-4.22.0_tf-2.21.0-cpu_napi-8_linux-x64");
  });

  it("differs when any single part differs", () => {
    const others = { tensorflow: "2.20.0", variant: "gpu", platform: "darwin", arch: "arm64", tfjs: "4.23.0", napi: 9 };
    const keys = Object.entries(others).map(([part, value]) => paths.nativeKey({ ...base, [part]: value }));
    expect(new Set([paths.nativeKey(base), ...keys]).size).toBe(7);
  });

  it("compares versions by number, not by letter", () => {
    expect(paths.compareVersions("2.9.1", "2.18.0")).toBe(-1);
    expect(paths.compareVersions("2.21.0", "2.21")).toBe(0);
    expect(paths.compareVersions("10.0.0", "9.9.9")).toBe(1);
  });
});

describe("finding a finished engine", () => {
  const find = (options = {}) =>
    paths.findEngines({ env: { WEIR_CACHE: cache }, ...options }).map(({ directory }) => directory);

  it("finds nothing in an empty or missing cache", () => {
    expect(find()).toEqual([]);
    rmSync(cache, { recursive: true });
    expect(find()).toEqual([]);
  });

  it("prefers a GPU build, then the newer TensorFlow", () => {
    const old = plantEngine("a", { tensorflow: "2.19.0" });
    const fresh = plantEngine("b", { tensorflow: "2.21.0" });
    const gpu = plantEngine("c", { tensorflow: "2.18.0", variant: "gpu" });
    expect(find()).toEqual([gpu, fresh, old]);
  });

  it("passes over unfinished folders, other machines, other layouts and TensorFlow before 2.18", () => {
    plantEngine(".building-x");
    plantEngine("other-arch", { arch: "s390x" });
    plantEngine("other-layout", { schema: 0 });
    plantEngine("too-old", { tensorflow: "2.9.1" });
    expect(find()).toEqual([]);
  });

  it("passes over an engine whose library was cut short or whose addon is gone", () => {
    const cut = plantEngine("cut");
    writeFileSync(join(cut, paths.requiredFiles()[2] as string), "");
    const gone = plantEngine("gone");
    rmSync(join(gone, paths.requiredFiles()[1] as string));
    expect(find()).toEqual([]);
  });
});

describe("setting the engine up", () => {
  it("re-uses a finished engine of this Node without pip, compiler or network", async () => {
    const directory = plantEngine("ready");
    const result = await ensureNative({ variant: "cpu", env: { WEIR_CACHE: cache, PATH: "/nowhere" } });
    expect(result).toMatchObject({ status: "reused", directory });
  });

  it.runIf(process.platform === "linux")("says in one line that pip is missing, and how to add it", async () => {
    const result = await ensureNative({ variant: "cpu", env: { WEIR_CACHE: cache, PATH: "/nowhere" } });
    expect(result.status).toBe("unavailable");
    expect(result.reason).toBe(
      "native engine left out: pip was not found. Add it (Debian/Ubuntu: `sudo apt-get install python3-pip`), " +
        "then run `npm run weir -- setup`; until then weir runs on wasm.",
    );
    expect(paths.findEngines({ env: { WEIR_CACHE: cache } })).toEqual([]);
  });

  it.runIf(process.platform === "linux")("says in one line that the compiler is missing", async () => {
    const bin = join(cache, "bin");
    mkdirSync(bin);
    writeFileSync(join(bin, "pip3"), "#!/bin/sh\necho 'pip 23.2.1 from nowhere (python 3.11)'\n", { mode: 0o755 });
    const result = await ensureNative({ variant: "cpu", env: { WEIR_CACHE: cache, PATH: bin } });
    expect(result.status).toBe("unavailable");
    expect(result.reason).toMatch(/^native engine left out: no C\+\+ compiler was found\. .*apt-get install g\+\+/);
    expect(result.reason).not.toContain("\n");
  });
});

describe("the set-up's lock", () => {
  it("lets one piece of work in at a time and is gone afterwards", async () => {
    const path = join(cache, ".lock");
    const events: string[] = [];
    let release = () => {};
    const first = lock.withLock(path, async () => {
      events.push("first in");
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      events.push("first out");
    });
    const second = lock.withLock(path, async () => void events.push("second in"), {
      onWait: (owner) => {
        events.push(`second waits for ${owner.includes(String(process.pid)) ? "this process" : owner}`);
        release();
      },
    });
    await Promise.all([first, second]);
    expect(events).toEqual(["first in", "second waits for this process", "first out", "second in"]);
    await lock.withLock(path, async () => void events.push("free again"));
    expect(events.at(-1)).toBe("free again");
  });

  it("takes over the lock of a process that is gone, not that of one that lives", () => {
    const path = join(cache, ".lock");
    mkdirSync(path);
    // Above the largest process id that Linux hands out.
    expect(lock.isAbandoned(path, { pid: 2 ** 22 + 1, host: hostname() })).toBe(true);
    expect(lock.isAbandoned(path, { pid: process.pid, host: hostname() })).toBe(false);
    expect(lock.isAbandoned(path, { pid: 1, host: "another machine" })).toBe(false);
  });

  it("takes over a lock that nobody has refreshed for a minute, whoever held it", () => {
    const path = join(cache, ".lock");
    mkdirSync(path);
    const before = new Date(Date.now() - 120_000);
    utimesSync(path, before, before);
    expect(lock.isAbandoned(path, { pid: 1, host: "another machine" })).toBe(true);
  });
});
