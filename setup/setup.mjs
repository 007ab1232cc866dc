/**
 * The whole set-up: npm packages and dist (in a clone only), then the native engine, and weir's kernels (for the CPU) or its functions
 * addon (for a GPU).
 * Called by `node setup/main.mjs` in a clone and by `weir setup` anywhere; plain Node, no dependency.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ensureBuild } from "./dist.mjs";
import { ensureFunctions } from "./functions.mjs";
import { ensureNative } from "./install.mjs";
import { ensureKernels } from "./kernels.mjs";
import { ensurePackages } from "./packages.mjs";

export const PACKAGE_ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** A clone has its sources and lockfile; an installed package has dist only. */
export function isClone(root = PACKAGE_ROOT) {
  return existsSync(join(root, "tsconfig.build.json")) && existsSync(join(root, "package-lock.json"));
}

/**
 * @param {{ native?: boolean, variant?: "auto" | "cpu" | "gpu", force?: boolean, packages?: boolean,
 *   env?: NodeJS.ProcessEnv, root?: string, say?: (line: string) => void }} options
 *   packages: false leaves npm packages and dist alone (the running program is part of them)
 * @returns {Promise<{ packages: any, build: any, native: import("./install.mjs").NativeResult | { status: "skipped", reason: string },
 *   kernels: import("./kernels.mjs").KernelsResult | { status: "skipped", reason: string },
 *   functions: import("./functions.mjs").FunctionsResult | { status: "skipped", reason: string }, seconds: number }>}
 *   rejects when npm or the compiler fails; a missing native engine is a status, not an error
 */
export async function runSetup({
  native = true,
  variant = "auto",
  force = false,
  packages = true,
  env = process.env,
  root = PACKAGE_ROOT,
  say = () => {},
} = {}) {
  const started = performance.now();
  const clone = packages && isClone(root);
  const skipped = { status: "skipped", seconds: 0 };
  const packagesResult = clone ? await ensurePackages({ root, force, env, say }) : skipped;
  const build = clone ? await ensureBuild({ root, force, say }) : skipped;
  const nativeResult = native
    ? await ensureNative({ variant, force, env, say })
    : { status: "skipped", reason: "native engine left out (--no-native)" };
  const kernels =
    nativeResult.directory && nativeResult.variant === "cpu"
      ? await ensureKernels({ directory: nativeResult.directory, force, env, say })
      : { status: "skipped", reason: "kernels are for the native engine on the CPU" };
  const functions =
    nativeResult.directory && nativeResult.variant === "gpu"
      ? await ensureFunctions({ directory: nativeResult.directory, force, env, say })
      : { status: "skipped", reason: "the functions addon is for the native engine on a GPU" };
  const seconds = (performance.now() - started) / 1000;
  return { packages: packagesResult, build, native: nativeResult, kernels, functions, seconds };
}
