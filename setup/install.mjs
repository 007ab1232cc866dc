/**
 * Puts the native engine into the per-user cache: JS package, libtensorflow, addon, probe — in a dot-folder that is
 * renamed when all of it works. Each stage leaves a mark, so an interrupted set-up goes on where it stopped.
 */
import {
  closeSync,
  cpSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileAddon } from "./addon.mjs";
import { withLock } from "./lock.mjs";
import {
  compareVersions,
  findEngines,
  MANIFEST_SCHEMA,
  MINIMUM_TENSORFLOW,
  NAPI_VERSION,
  nativeKey,
  nativeRoot,
  PACKAGE_PATH,
  readManifest,
  requiredFiles,
  TFJS_VERSION,
} from "./paths.mjs";
import { run } from "./run.mjs";
import { findCompiler, findGpu, findNodeHeaders, findPip, Unavailable } from "./tools.mjs";
import { addCuda, downloadWheel, unpackTensorflow } from "./wheel.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
/** Loading takes a second; a GPU build that compiles kernels at first use takes longer. */
const PROBE_TIMEOUT_MS = 120_000;

/**
 * @typedef {{ status: "ready" | "reused" | "unavailable", directory: string | null, tensorflow: string | null,
 *   variant: "cpu" | "gpu" | null, reason: string, seconds: number }} NativeResult
 */

/**
 * @param {{ variant?: "auto" | "cpu" | "gpu", force?: boolean, elsewhere?: boolean, env?: NodeJS.ProcessEnv,
 *   say?: (line: string) => void }} options
 *   elsewhere: the engine is for another machine, so that no GPU has to be seen here, and there is no CPU build instead
 * @returns {Promise<NativeResult>} never rejects for a missing tool or download: that is status "unavailable"
 */
export async function ensureNative({
  variant = "auto",
  force = false,
  elsewhere = false,
  env = process.env,
  say = () => {},
} = {}) {
  const started = performance.now();
  const finish = (fields) => ({
    directory: null,
    tensorflow: null,
    variant: null,
    ...fields,
    seconds: (performance.now() - started) / 1000,
  });
  try {
    if (process.platform !== "linux" || !["x64", "arm64"].includes(process.arch)) {
      throw new Unavailable(
        `it is built for Linux on x64 or arm64, this is ${process.platform}-${process.arch}`,
        "Use such a machine",
      );
    }
    const gpu = variant === "cpu" ? null : findGpu(env);
    const wanted = variant === "gpu" || gpu !== null ? "gpu" : "cpu";
    if (!force) {
      const existing = await reuse(wanted, env);
      if (existing !== null) return finish({ status: "reused", ...existing });
    }
    return await withLock(
      join(nativeRoot(env), ".lock"),
      async () => {
        // Another set-up may have finished while this one waited.
        const existing = force ? null : await reuse(wanted, env);
        if (existing !== null) return finish({ status: "reused", ...existing });
        const build = elsewhere ? buildEngine : buildWithFallback;
        const built = await build({ variant: wanted, force, elsewhere, env, say });
        return finish({ status: "ready", ...built });
      },
      { onWait: (owner) => say(`waiting for ${owner}, which is setting up the same cache`) },
    );
  } catch (error) {
    if (error instanceof Unavailable) return finish({ status: "unavailable", reason: error.message });
    const fault = new Unavailable(
      `set-up failed (${String(error?.message ?? error).split("\n")[0]})`,
      "Remove the cause",
    );
    return finish({ status: "unavailable", reason: fault.message });
  }
}

/** A finished engine that still answers; one that was probed by this very Node is trusted by its file sizes. */
async function reuse(wanted, env) {
  const engines = findEngines({ env });
  const matching = engines.filter(({ manifest }) =>
    wanted === "cpu" ? manifest.variant === "cpu" : manifest.variant === "gpu" || manifest.insteadOfGpu,
  );
  for (const { directory, manifest } of matching) {
    const reason = `libtensorflow ${manifest.tensorflow} (${manifest.variant}) found in ${directory}`;
    const facts = { directory, tensorflow: manifest.tensorflow, variant: manifest.variant, reason };
    if (manifest.probe?.node === process.version) return facts;
    const probe = await probeEngine(directory, env);
    if (!probe.ok) continue;
    writeManifest(directory, { ...manifest, probe });
    return facts;
  }
  return null;
}

async function buildWithFallback({ variant, force, env, say }) {
  if (variant === "gpu") {
    try {
      return await buildEngine({ variant: "gpu", force, env, say });
    } catch (error) {
      say(`GPU build left out (${String(error?.message ?? error).split("\n")[0]}); taking the CPU build`);
      // Marked, so that the next set-up does not fetch the GPU build again only to fail again; --force does.
      const existing = force ? null : await reuse("cpu", env);
      if (existing === null) return await buildEngine({ variant: "cpu", insteadOfGpu: true, force, env, say });
      writeManifest(existing.directory, { ...readManifest(existing.directory), insteadOfGpu: true });
      return existing;
    }
  }
  return await buildEngine({ variant: "cpu", force, env, say });
}

async function buildEngine({ variant, insteadOfGpu = false, elsewhere = false, force, env, say }) {
  const pip = findPip(env);
  const compiler = findCompiler(env);
  const nodeHeaders = findNodeHeaders(env);
  const root = nativeRoot(env);
  const downloads = join(root, ".downloads");
  const packageName = variant === "gpu" ? "tensorflow" : "tensorflow-cpu";
  const wheel = await downloadWheel({ packageName, directory: downloads, pip, env, say });

  const key = nativeKey({ tensorflow: wheel.version, variant });
  const staging = join(root, `.building-${key}`);
  if (force) rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  const packageDirectory = join(staging, PACKAGE_PATH);
  const deps = join(packageDirectory, "deps");

  await stage(staging, "npm", () => installPackage(staging, env, say));
  await stage(staging, "libraries", () => unpackTensorflow(wheel, deps, say));
  if (variant === "gpu")
    await stage(staging, "cuda", () => addCuda({ wheel, deps, directory: downloads, pip, env, say }));
  await stage(staging, "addon", async () => {
    say(`compiling the addon (${compiler.version})`);
    await compileAddon({ packageDirectory, compiler, nodeHeaders, env });
  });

  say("probing the engine");
  const probe = await probeEngine(staging, env);
  if (!probe.ok) {
    rmSync(staging, { recursive: true, force: true });
    throw new Unavailable(`the compiled engine does not run here (${probe.reason})`, "Free the cause");
  }
  if (variant === "gpu" && !probe.gpu && !elsewhere) {
    rmSync(staging, { recursive: true, force: true });
    throw new Error("TensorFlow sees no GPU");
  }
  const files = Object.fromEntries(requiredFiles().map((file) => [file, statSync(join(staging, file)).size]));
  for (const name of readdirSync(staging)) if (name.startsWith(".stage-")) rmSync(join(staging, name));
  writeManifest(staging, {
    schema: MANIFEST_SCHEMA,
    key,
    tfjs: TFJS_VERSION,
    tensorflow: wheel.version,
    variant,
    insteadOfGpu,
    napi: NAPI_VERSION,
    platform: process.platform,
    arch: process.arch,
    compiler: compiler.version,
    createdAt: new Date().toISOString(),
    files,
    probe,
  });
  publish(staging, join(root, key));
  rmSync(downloads, { recursive: true, force: true });
  return {
    directory: join(root, key),
    tensorflow: wheel.version,
    variant,
    reason: `libtensorflow ${wheel.version} (${variant}) set up in ${join(root, key)}`,
  };
}

/** Runs `work` unless an earlier try finished it. */
async function stage(staging, name, work) {
  const mark = join(staging, `.stage-${name}`);
  if (existsSync(mark)) return;
  await work();
  writeFileSync(mark, "");
}

/** The JS package from its lockfile with install scripts off: those would fetch another, older libtensorflow. */
async function installPackage(staging, env, say) {
  say(`installing @tensorflow/tfjs-node-gpu ${TFJS_VERSION}`);
  for (const file of ["package.json", "package-lock.json"]) cpSync(join(HERE, "tensorflow", file), join(staging, file));
  const result = await run("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: staging,
    env: cleanNpmEnvironment(env),
  });
  if (result.code === 127) throw new Unavailable("npm was not found", "Install Node with npm");
  if (result.code !== 0) {
    const line =
      result.output
        .trim()
        .split("\n")
        .find((text) => /npm error/.test(text)) ?? result.output.trim();
    throw new Unavailable(
      `npm could not install @tensorflow/tfjs-node-gpu (${line.slice(0, 200)})`,
      "Check npm's registry setting",
    );
  }
  prune(join(staging, "node_modules"));
}

/** Settings that an outer npm passes down by environment would change what the inner one does (folder, omit, workspaces). */
export function cleanNpmEnvironment(env) {
  const keep =
    /^npm_config_(registry|userconfig|globalconfig|cache|cafile|ca|proxy|https_proxy|noproxy|strict_ssl|prefer_offline|offline|.*auth.*)$/i;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !/^npm_/i.test(name) || keep.test(name)));
}

/** Source maps and type files are two thirds of the package and are never loaded. */
function prune(directory) {
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (entry.isFile() && /\.(map|d\.ts|min\.js)$/.test(entry.name)) {
      rmSync(join(entry.parentPath ?? entry.path, entry.name));
    }
  }
}

/** @returns {Promise<{ ok: boolean, reason?: string, gpu?: boolean, node?: string }>} */
async function probeEngine(directory, env) {
  const result = await run(process.execPath, [join(HERE, "probe.mjs"), "tensorflow", directory], {
    env,
    timeoutMs: PROBE_TIMEOUT_MS,
  });
  const line = result.stdout.trim().split("\n").at(-1) ?? "";
  try {
    const probe = JSON.parse(line);
    if (probe.ok && compareVersions(probe.version, MINIMUM_TENSORFLOW) < 0)
      return { ok: false, reason: `libtensorflow ${probe.version} is too old` };
    return probe;
  } catch {
    return {
      ok: false,
      reason: `the probe ended with code ${result.code}: ${result.output.trim().split("\n").at(-1) ?? ""}`,
    };
  }
}

function writeManifest(directory, manifest) {
  const file = join(directory, "manifest.json");
  writeFileSync(`${file}.part`, `${JSON.stringify(manifest, null, 2)}\n`);
  const handle = openSync(`${file}.part`, "r");
  fsyncSync(handle);
  closeSync(handle);
  renameSync(`${file}.part`, file);
}

/** Puts the finished folder in its place; a damaged or forced-out older one steps aside first. */
function publish(staging, target) {
  const aside = `${dirname(target)}/.old-${process.pid}-${Date.now()}`;
  if (existsSync(target)) renameSync(target, aside);
  renameSync(staging, target);
  rmSync(aside, { recursive: true, force: true });
}
