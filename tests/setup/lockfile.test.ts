/** Completing a lockfile that was written where the registry serves one platform only. */
import { describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

interface Lock {
  readonly packages: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}
const { completeLock, platformOf } = await loadScript<{
  completeLock(lock: Lock): { readonly lock: Lock; readonly added: string[] };
  platformOf(name: string): { readonly os?: string[]; readonly cpu?: string[]; readonly libc?: string[] };
}>("scripts/lockfile.mjs");

describe("a platform package's name", () => {
  it("says system, processor and C library", () => {
    expect(platformOf("@biomejs/cli-darwin-arm64")).toEqual({ os: ["darwin"], cpu: ["arm64"] });
    expect(platformOf("@oxc-parser/binding-linux-arm-musleabihf")).toEqual({
      os: ["linux"],
      cpu: ["arm"],
      libc: ["musl"],
    });
    expect(platformOf("@oxc-parser/binding-linux-x64-gnu")).toEqual({ os: ["linux"], cpu: ["x64"], libc: ["glibc"] });
    expect(platformOf("fsevents")).toEqual({ os: ["darwin"] });
    expect(platformOf("bufferutil")).toEqual({});
  });
});

describe("completing a lockfile", () => {
  const lock: Lock = {
    packages: {
      "": {},
      "node_modules/tool": {
        version: "2.0.0",
        dev: true,
        optionalDependencies: { "tool-linux-x64": "2.0.0", "tool-win32-x64": "2.0.0", bufferutil: "^4.0.0" },
      },
      "node_modules/tool-linux-x64": { version: "2.0.0", os: ["linux"], cpu: ["x64"], optional: true },
    },
  };

  it("adds what is missing with the parent's version, keeps what is there, leaves other optional packages out", () => {
    const { lock: complete, added } = completeLock(lock);
    expect(added).toEqual(["tool-win32-x64"]);
    expect(complete.packages["node_modules/tool-win32-x64"]).toEqual({
      version: "2.0.0",
      os: ["win32"],
      cpu: ["x64"],
      dev: true,
      optional: true,
    });
    expect(complete.packages["node_modules/tool-linux-x64"]).toEqual(lock.packages["node_modules/tool-linux-x64"]);
    expect(completeLock(complete).added).toEqual([]);
  });
});
