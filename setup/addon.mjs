/**
 * Compiles the addon from the package's own two source files with one compiler call: no node-gyp, no downloads.
 */
import { mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import { NAPI_VERSION } from "./paths.mjs";
import { run } from "./run.mjs";
import { Unavailable } from "./tools.mjs";

/**
 * @param {{ packageDirectory: string, compiler: { command: string }, nodeHeaders: string, env: NodeJS.ProcessEnv }} options
 */
export async function compileAddon({ packageDirectory, compiler, nodeHeaders, env }) {
  const deps = join(packageDirectory, "deps");
  const output = join(packageDirectory, "lib", `napi-v${NAPI_VERSION}`);
  mkdirSync(output, { recursive: true });
  const target = join(output, "tfjs_binding.node");
  const args = [
    "-std=c++17",
    "-O2",
    "-fPIC",
    "-shared",
    "-fvisibility=default",
    `-DNAPI_VERSION=${NAPI_VERSION}`,
    "-DBUILDING_NODE_EXTENSION",
    `-I${join(deps, "include")}`,
    `-I${nodeHeaders}`,
    `-I${join(packageDirectory, "..")}`,
    join(packageDirectory, "binding", "tfjs_backend.cc"),
    join(packageDirectory, "binding", "tfjs_binding.cc"),
    `-L${join(deps, "lib")}`,
    "-ltensorflow",
    "-ltensorflow_framework",
    // Relative to the addon, so the folder can be renamed into place.
    "-Wl,-rpath,$ORIGIN/../../deps/lib",
    "-o",
    `${target}.part`,
  ];
  const result = await run(compiler.command, args, { env, timeoutMs: 600_000 });
  if (result.code !== 0) {
    const line = result.output.split("\n").find((text) => /error/i.test(text)) ?? `exit code ${result.code}`;
    throw new Unavailable(
      `${compiler.command} could not compile the addon (${line.trim().slice(0, 200)})`,
      "Install a C++17 compiler with its standard library (Debian/Ubuntu: `sudo apt-get install g++`)",
    );
  }
  renameSync(`${target}.part`, target);
  return target;
}
