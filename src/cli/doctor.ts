/**
 * `weir doctor`: capabilities of the machine, what weir will use, its speed, and why.
 * Invariants: every backend is tried in a separate process, so a crash of native code becomes a finding;
 * nothing is installed, downloaded or changed.
 */

import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism, cpus } from "node:os";
import { join } from "node:path";
import { BACKENDS } from "../contracts/engine.js";
import type { BackendName } from "../contracts/index.js";
import { locateNative, type NativeLocation, packageRoot, weirCommand } from "../model/tensor/native/index.js";
import { memoryBudget } from "../model/transformer/memory-plan.js";
import { freeGpuBytes } from "../system/gpu-memory.js";
import { type MemoryLimit, type UsableMemory, usableMemory } from "../system/memory.js";

/** Result of one backend's probe process. */
export interface BackendProbe {
  readonly ok: boolean;
  /** Why it failed; absent when ok. */
  readonly reason?: string;
  readonly version?: string;
  readonly gpu?: boolean;
  readonly bf16?: AbilityProbe;
  readonly xla?: AbilityProbe;
  /** weir's own kernels, loaded and run. */
  readonly kernels?: AbilityProbe;
  /** Graphs as functions on the device, loaded and run. */
  readonly functions?: AbilityProbe;
  readonly loadSeconds?: number;
  /** GFLOP/s of edge×edge×edge products, median of several. */
  readonly gemm?: { readonly edge: number; readonly f32: number; readonly bf16?: number };
  /** GFLOP/s of products of the shape asked for. */
  readonly peak?: { readonly shape: readonly number[]; readonly f32: number; readonly bf16?: number };
}

export interface AbilityProbe {
  readonly ok: boolean;
  readonly reason?: string;
}

/** One decision with its cause. */
export interface DoctorChoice {
  readonly what: string;
  readonly chosen: string;
  readonly why: string;
}

export interface DoctorReport {
  readonly weir: string;
  readonly node: { readonly version: string; readonly supported: boolean; readonly required: string };
  readonly machine: {
    readonly platform: string;
    readonly cpu: string;
    readonly cores: number;
    readonly memoryBytes: number;
    /** The tightest limit of the containers around this process, with the file that states it; null where there is none. */
    readonly memoryLimit: MemoryLimit | null;
    /** What is free now, within that limit. */
    readonly freeBytes: number;
  };
  readonly backend: BackendName | null;
  readonly tensorflow: {
    readonly version: string | null;
    readonly variant: string | null;
    readonly path: string | null;
  };
  readonly bf16: AbilityProbe;
  readonly xla: AbilityProbe;
  readonly kernels: AbilityProbe;
  readonly gpu: AbilityProbe & { readonly device: string | null };
  readonly threads: { readonly count: number; readonly source: string };
  /** GFLOP/s of the backend in use; null where nothing could be measured. */
  readonly gemm: { readonly edge: number; readonly f32: number; readonly bf16: number | null } | null;
  readonly choices: readonly DoctorChoice[];
  /** Problems; empty on a healthy machine. */
  readonly problems: readonly string[];
}

/** Sources of `runDoctor`; tests give their own. */
export interface DoctorSources {
  readonly env: NodeJS.ProcessEnv;
  readonly nodeVersion: string;
  readonly locate: (env: NodeJS.ProcessEnv) => NativeLocation;
  readonly probe: (backend: BackendName, directory: string | null, env: NodeJS.ProcessEnv) => Promise<BackendProbe>;
  /** Name of the first NVIDIA GPU with its driver, or null. */
  readonly gpuDevice: () => string | null;
  readonly memory: () => UsableMemory;
  /** What is free on the GPU; null where that is not known. */
  readonly gpuFreeBytes: () => number | null;
}

/** A probe that measures takes a few seconds; a GPU that compiles kernels first, longer. */
const PROBE_TIMEOUT_MS = 180_000;

const systemSources: DoctorSources = {
  env: process.env,
  nodeVersion: process.version,
  locate: locateNative,
  probe: probeInProcess,
  gpuDevice: askNvidiaDriver,
  memory: usableMemory,
  gpuFreeBytes: freeGpuBytes,
};

/** Gathers the report; never rejects for a missing or broken backend. */
export async function runDoctor(given: Partial<DoctorSources> = {}): Promise<DoctorReport> {
  const sources = { ...systemSources, ...given };
  const manifest = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as {
    readonly version: string;
    readonly engines: { readonly node: string };
  };
  const choices: DoctorChoice[] = [];
  const problems: string[] = [];
  const supported = isNodeSupported(sources.nodeVersion);
  if (!supported) problems.push(`Node ${manifest.engines.node} is expected, this is ${sources.nodeVersion}`);

  const location = sources.locate(sources.env);
  const device = sources.gpuDevice();
  const { backend, probe, why } = await chooseBackend(sources, location, problems);
  choices.push({ what: "backend", chosen: backend ?? "none", why });

  const native = backend === "tensorflow";
  choices.push({
    what: "libtensorflow",
    chosen: location.found ? `${location.tensorflowVersion} (${location.variant})` : "none",
    why: location.reason,
  });
  const elsewhere = (ability: string): AbilityProbe => ({
    ok: false,
    reason: `${ability} needs the tensorflow backend; in use: ${backend ?? "none"}`,
  });
  const bf16 = native ? (probe.bf16 ?? { ok: false, reason: "not probed" }) : elsewhere("bf16");
  const xla = native ? (probe.xla ?? { ok: false, reason: "not probed" }) : elsewhere("XLA");
  const kernels = native ? (probe.kernels ?? { ok: false, reason: "not probed" }) : elsewhere("the kernel library");
  const gpu = describeGpu(native, probe.gpu === true, location.variant, device);
  if (device !== null && !gpu.ok) problems.push(`a GPU is present but not used: ${gpu.reason}`);
  choices.push({ what: "device", chosen: gpu.ok ? "GPU" : "CPU", why: gpu.reason ?? "TensorFlow lists a GPU" });

  choices.push(chooseKernels(kernels));
  if (gpu.ok) choices.push(chooseGraphs(probe.functions));

  const memory = sources.memory();
  choices.push(chooseMemory(memory, gpu.ok ? sources.gpuFreeBytes() : null));

  const threads = countThreads(backend, sources.env);
  choices.push({ what: "threads", chosen: String(threads.count), why: threads.source });
  const gemm = probe.gemm ? { edge: probe.gemm.edge, f32: probe.gemm.f32, bf16: probe.gemm.bf16 ?? null } : null;
  choices.push(choosePrecision(bf16, gemm));

  return {
    weir: manifest.version,
    node: { version: sources.nodeVersion, supported, required: manifest.engines.node },
    machine: {
      platform: `${process.platform}-${process.arch}`,
      cpu: cpus()[0]?.model.trim() ?? "unknown",
      cores: availableParallelism(),
      memoryBytes: memory.machineBytes,
      memoryLimit: memory.limit,
      freeBytes: memory.freeBytes,
    },
    backend,
    tensorflow: {
      version: native ? (probe.version ?? location.tensorflowVersion) : location.tensorflowVersion,
      variant: location.variant,
      path: location.path,
    },
    bf16,
    xla,
    kernels,
    gpu,
    threads,
    gemm,
    choices,
    problems,
  };
}

/** The first backend of tensorflow, wasm, cpu that computes; a native engine that is set up and fails is a problem. */
async function chooseBackend(sources: DoctorSources, location: NativeLocation, problems: string[]) {
  const refused: string[] = [];
  if (location.found) {
    const probe = await sources.probe("tensorflow", location.path, sources.env);
    if (probe.ok) return { backend: "tensorflow" as const, probe, why: `${location.reason}, and its probe succeeded` };
    problems.push(
      `the native engine in ${location.path} fails: ${probe.reason}; run \`${weirCommand("setup --force")}\``,
    );
    refused.push(`tensorflow fails (${probe.reason})`);
  } else {
    refused.push(location.reason);
  }
  for (const backend of BACKENDS) {
    if (backend === "tensorflow") continue;
    const probe = await sources.probe(backend, null, sources.env);
    if (probe.ok) return { backend, probe, why: refused.join("; ") };
    problems.push(`the ${backend} backend fails: ${probe.reason}`);
    refused.push(`${backend} fails (${probe.reason})`);
  }
  return { backend: null, probe: { ok: false } as BackendProbe, why: refused.join("; ") };
}

function describeGpu(
  native: boolean,
  used: boolean,
  variant: string | null,
  device: string | null,
): DoctorReport["gpu"] {
  if (used) return { ok: true, device };
  const because = () => {
    if (device === null) return "no NVIDIA driver answers (nvidia-smi)";
    if (!native) return "the tensorflow backend is not in use";
    if (variant === "cpu") return `the CPU build of TensorFlow is set up; run \`${weirCommand("setup --gpu")}\``;
    return "TensorFlow cannot use it (driver too old, or CUDA libraries missing)";
  };
  return { ok: false, device, reason: because() };
}

/** weir's kernels replace chains of TensorFlow's operations where they are compiled. */
function chooseKernels(kernels: AbilityProbe): DoctorChoice {
  if (kernels.ok)
    return { what: "kernels", chosen: "weir's", why: "compiled for this processor, and their probe succeeded" };
  return { what: "kernels", chosen: "none", why: kernels.reason ?? "unknown" };
}

/** On a GPU graphs run as functions, or not at all; the engine compares them with single operations when it starts. */
function chooseGraphs(functions: AbilityProbe | undefined): DoctorChoice {
  if (functions?.ok) return { what: "graphs", chosen: "on the GPU", why: "the functions addon's probe succeeded" };
  return { what: "graphs", chosen: "none", why: functions?.reason ?? "not probed" };
}

/** Memory budget where `engine.memoryGiB` is not set. `onGpu`: what is free there, where the engine computes on one. */
function chooseMemory({ limit, freeBytes, machineBytes }: UsableMemory, onGpu: number | null): DoctorChoice {
  const gib = (bytes: number) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
  if (onGpu !== null) {
    const why = `80 % of the ${gib(onGpu)} that are free on the GPU`;
    return { what: "memory", chosen: gib(memoryBudget(null, () => onGpu)), why };
  }
  const bound =
    limit === null ? "the machine's, no container limits it" : `${limit.file} limits it to ${gib(limit.bytes)}`;
  const why = `80 % of the ${gib(freeBytes)} that are free (${bound}; the machine has ${gib(machineBytes)})`;
  return { what: "memory", chosen: gib(memoryBudget(null, () => freeBytes)), why };
}

/** Intra-op threads that the backend will use. */
function countThreads(backend: BackendName | null, env: NodeJS.ProcessEnv): DoctorReport["threads"] {
  if (backend === "tensorflow") {
    const asked = Number(env.TF_NUM_INTRAOP_THREADS);
    if (Number.isInteger(asked) && asked > 0) return { count: asked, source: "TF_NUM_INTRAOP_THREADS is set" };
    return {
      count: availableParallelism(),
      source: "TensorFlow takes one per core unless engine.threads says otherwise",
    };
  }
  return { count: 1, source: `the ${backend ?? "chosen"} backend has no threads in Node` };
}

/** f32 is the default; the speed-up by bf16 is reported too. */
function choosePrecision(bf16: AbilityProbe, gemm: DoctorReport["gemm"]): DoctorChoice {
  const standing = "the default of engine.precision";
  if (!bf16.ok || gemm === null || gemm.bf16 === null) return { what: "precision", chosen: "f32", why: standing };
  const ratio = (gemm.bf16 / gemm.f32).toFixed(1);
  return { what: "precision", chosen: "f32", why: `${standing}; bf16 products run ${ratio} times as fast here` };
}

/** Node 20.19 and later of 20, then 22.12 and everything newer: what `engines` in package.json says. */
export function isNodeSupported(version: string): boolean {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  return (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
}

/** Runs setup/probe.mjs, by default with all it measures; a crash or a hang becomes `ok: false` with the reason. */
export function probeInProcess(
  backend: BackendName,
  directory: string | null,
  env: NodeJS.ProcessEnv,
  measures: readonly string[] = ["--measure"],
): Promise<BackendProbe> {
  const script = join(packageRoot(), "setup", "probe.mjs");
  const args = [script, backend, ...(directory === null ? [] : [directory]), ...measures];
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { env, stdio: ["ignore", "pipe", "ignore"] });
    let stdout = "";
    const timer = setTimeout(() => child.kill("SIGKILL"), PROBE_TIMEOUT_MS);
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      stdout += chunk;
    });
    const settle = (probe: BackendProbe) => {
      clearTimeout(timer);
      resolve(probe);
    };
    child.on("error", (error) => settle({ ok: false, reason: error.message }));
    child.on("close", (code, signal) => {
      try {
        settle(JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as BackendProbe);
      } catch {
        const end = signal === null ? `with code ${code}` : `by ${signal}`;
        settle({ ok: false, reason: `its probe process ended ${end}` });
      }
    });
  });
}

function askNvidiaDriver(): string | null {
  const answer = spawnSync("nvidia-smi", ["--query-gpu=name,driver_version", "--format=csv,noheader"], {
    encoding: "utf8",
    timeout: 30_000,
  });
  return answer.status === 0 ? (answer.stdout.trim().split("\n")[0] ?? null) : null;
}
