/** When a clone's node_modules is installed again, and what an inner npm inherits. */
import { describe, expect, it } from "vitest";
import { loadScript } from "./scripts.js";

const { staleReason } = await loadScript<{ staleReason(lock: unknown, installed: unknown): string | null }>(
  "setup/packages.mjs",
);
const { cleanNpmEnvironment } = await loadScript<{
  cleanNpmEnvironment(env: Record<string, string>): Record<string, string>;
}>("setup/install.mjs");

const lock = {
  packages: {
    "": { version: "0.1.0" },
    "node_modules/a": { version: "1.0.0" },
    "node_modules/a/node_modules/b": { version: "2.0.0" },
    "node_modules/only-mac": { version: "1.0.0", os: ["darwin"] },
    "node_modules/maybe": { version: "1.0.0", optional: true },
  },
};
const complete = {
  packages: { "node_modules/a": { version: "1.0.0" }, "node_modules/a/node_modules/b": { version: "2.0.0" } },
};

describe("node_modules against the lockfile", () => {
  it("fits when everything that this machine needs is there, whatever else lies beside it", () => {
    expect(staleReason(lock, complete)).toBeNull();
    expect(
      staleReason(lock, { packages: { ...complete.packages, "node_modules/c": { version: "9.0.0" } } }),
    ).toBeNull();
  });

  it("is stale when it is missing, lacks a package or holds another version, and the reason says which", () => {
    expect(staleReason(lock, null)).toBe("node_modules is missing");
    expect(staleReason(lock, { packages: { "node_modules/a": { version: "1.0.0" } } })).toBe("b is missing");
    const other = { packages: { ...complete.packages, "node_modules/a": { version: "1.1.0" } } };
    expect(staleReason(lock, other)).toBe("a is 1.1.0, the lockfile says 1.0.0");
  });
});

describe("the environment of an inner npm", () => {
  it("keeps where packages come from and drops what the outer npm was told to do", () => {
    const env = {
      PATH: "/bin",
      npm_config_registry: "r",
      npm_config_cafile: "c",
      npm_config_omit: "dev",
      npm_config_prefix: "/p",
      npm_lifecycle_event: "test",
      npm_package_name: "weir-rl",
    };
    expect(cleanNpmEnvironment(env)).toEqual({ PATH: "/bin", npm_config_registry: "r", npm_config_cafile: "c" });
  });
});
