/**
 * Owns finding and loading the native TensorFlow.js backend that `weir setup` put into the per-user cache.
 * Invariants: nothing here installs or downloads; a folder without a complete manifest is never used; the environment
 * that TensorFlow reads once, at load, is set before the addon loads.
 * `WEIR_NATIVE=off` ignores what is set up; `WEIR_NATIVE=DIR` takes exactly that engine folder;
 * `WEIR_KERNELS=off` leaves weir's own kernels out; `WEIR_XLA=off` has graphs on a GPU run without XLA.
 */
import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import util from "node:util";
import type * as tfCore from "@tensorflow/tfjs-core";
import type { EnginePrecision } from "../../../contracts/engine.js";
import { WeirError } from "../../../errors.js";
import { usableMemory } from "../../../system/memory.js";

/** What `locateNative` found; `reason` says in one sentence why there is an engine or why not. */
export interface NativeLocation {
  readonly found: boolean;
  /** The engine folder (holds node_modules/@tensorflow/tfjs-node-gpu); null where none was found. */
  readonly path: string | null;
  readonly reason: string;
  /** Version of libtensorflow, e.g. `2.21.0`. */
  readonly tensorflowVersion: string | null;
  readonly variant: "cpu" | "gpu" | null;
}

/** The raw binding of tfjs-node (ids in, ids out); only what weir uses is typed. */
export interface NativeBinding {
  readonly TF_Version: string;
  readonly TF_FLOAT: number;
  readonly TF_INT32: number;
  readonly TF_INT64: number;
  readonly TF_BOOL: number;
  readonly TF_UINT8: number;
  readonly TF_STRING: number;
  readonly TF_RESOURCE: number;
  readonly TF_ATTR_STRING: number;
  readonly TF_ATTR_INT: number;
  readonly TF_ATTR_FLOAT: number;
  readonly TF_ATTR_BOOL: number;
  readonly TF_ATTR_TYPE: number;
  readonly TF_ATTR_SHAPE: number;
  createTensor(shape: readonly number[], dtype: number, buffer: ArrayBufferView | readonly Uint8Array[]): number;
  deleteTensor(id: number): void;
  tensorDataSync(id: number): Float32Array | Int32Array | Uint8Array | BigInt64Array;
  executeOp(
    name: string,
    attributes: readonly { readonly name: string; readonly type: number; readonly value: unknown }[],
    inputIds: readonly number[],
    outputs: number,
  ): { readonly id: number; readonly shape: readonly number[]; readonly dtype: number }[];
  loadSavedModel(directory: string, tags: string): number;
  deleteSavedModel(id: number): void;
  runSavedModel(
    id: number,
    inputIds: readonly number[],
    inputNames: string,
    outputNames: string,
  ): { readonly id: number; readonly shape: readonly number[]; readonly dtype: number }[];
  getNumOfTensors(): number;
  isUsingGpuDevice(): boolean;
}

/** The `tf` namespace of the cache (its own tfjs-core copy) with the tensorflow backend active. */
export type NativeTf = typeof tfCore;

/** Makes graphs callable as operations of the eager context; see native/functions. */
export interface FunctionsAddon {
  /** `graph`: a GraphDef; `inputs` are placeholders and `outputs` values of it, `node` or `node:2`; `xla`: compiled by XLA. */
  addFunction(
    name: string,
    graph: Uint8Array,
    inputs: readonly string[],
    outputs: readonly string[],
    xla: boolean,
  ): void;
  removeFunction(name: string): void;
}

/** The functions addon of this process, or the reason why there is none. */
export interface FunctionsState {
  readonly addon: FunctionsAddon | null;
  readonly reason: string;
  /** Why XLA must not be used; null where set-up has seen it work, or nobody has tried. */
  readonly xla: string | null;
}

interface FoundEngine {
  readonly directory: string;
  readonly manifest: { readonly tensorflow: string; readonly variant: "cpu" | "gpu" };
}

interface PathsModule {
  findEngines(options: { env: NodeJS.ProcessEnv }): FoundEngine[];
  readManifest(directory: string): FoundEngine["manifest"] | null;
  readonly PACKAGE_PATH: string;
  nativeRoot(env: NodeJS.ProcessEnv): string;
}

interface FunctionsModule {
  locateFunctions(
    directory: string,
    env: NodeJS.ProcessEnv,
  ): {
    readonly path: string | null;
    readonly reason: string;
    readonly xla: string | null;
  };
}

interface KernelKeyModule {
  locateKernels(directory: string, env: NodeJS.ProcessEnv): { readonly path: string | null; readonly reason: string };
}

/** The folder of weir's own package.json, from `src/` as well as from `dist/`. */
export function packageRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "setup", "paths.mjs"))) {
    const parent = dirname(directory);
    if (parent === directory) {
      throw new WeirError(
        "WEIR_E_NATIVE_ENGINE",
        "weir's setup folder was expected in its package; install weir again",
      );
    }
    directory = parent;
  }
  return directory;
}

// The set-up's plain modules are shared, so that finder and installer cannot disagree about the layout.
/** Weir's own version. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { version: string };
  return version;
}

const shared = (name: string) => import(pathToFileURL(join(packageRoot(), "setup", name)).href);
const paths = (await shared("paths.mjs")) as PathsModule;
const { locateKernels } = (await shared("kernel-key.mjs")) as KernelKeyModule;
const { locateFunctions } = (await shared("functions-key.mjs")) as FunctionsModule;
/** The command line that runs `weir` with these arguments, in the way this copy is installed. */
export const { weirCommand } = (await shared("command.mjs")) as { weirCommand(args: string, root?: string): string };

/** Looks for a finished engine; cheap (a few stats), never throws for its absence. */
export function locateNative(env: NodeJS.ProcessEnv = process.env): NativeLocation {
  const missing = (reason: string): NativeLocation => ({
    found: false,
    path: null,
    reason,
    tensorflowVersion: null,
    variant: null,
  });
  const choice = env.WEIR_NATIVE;
  if (choice === "off") return missing("the native engine is switched off by WEIR_NATIVE=off");
  if (choice) {
    const manifest = paths.readManifest(choice);
    if (manifest === null) return missing(`WEIR_NATIVE names ${choice}, which holds no finished engine`);
    return {
      found: true,
      path: choice,
      reason: `libtensorflow ${manifest.tensorflow} of WEIR_NATIVE`,
      tensorflowVersion: manifest.tensorflow,
      variant: manifest.variant,
    };
  }
  const [best] = paths.findEngines({ env });
  if (best === undefined) {
    return missing(`no native engine is set up in ${paths.nativeRoot(env)} (\`${weirCommand("setup")}\` does that)`);
  }
  return {
    found: true,
    path: best.directory,
    reason: `libtensorflow ${best.manifest.tensorflow} (${best.manifest.variant}) is set up in the cache`,
    tensorflowVersion: best.manifest.tensorflow,
    variant: best.manifest.variant,
  };
}

/** Options that become process-wide TensorFlow environment variables; variables that the user has set take precedence. */
export interface NativeOptions {
  /** Intra-op threads; 0 leaves the choice to TensorFlow (one per core). */
  readonly threads?: number;
  /** Loads the functions addon; left out, a GPU build does. */
  readonly functions?: boolean;
  readonly env?: NodeJS.ProcessEnv;
}

let loaded: NativeTf | null = null;
let loadedFrom: string | null = null;
let kernels: KernelsState | null = null;
let functions: FunctionsState = { addon: null, reason: "the functions addon is for GPUs", xla: null };

/**
 * Loads the native backend into this process (once; 0.3-0.6 s) and returns its `tf` namespace.
 * Errors: WEIR_E_NATIVE_ENGINE where none is set up or the addon cannot be loaded.
 */
export function loadNativeTf(options: NativeOptions = {}): NativeTf {
  if (loaded !== null) return loaded;
  const location = locateNative(options.env);
  if (location.path === null) throw new WeirError("WEIR_E_NATIVE_ENGINE", location.reason);
  prepareEnvironment(location.path, location.variant, options.threads ?? 0);
  if (options.functions ?? location.variant === "gpu")
    functions = openFunctions(location.path, options.env ?? process.env);
  try {
    const require = createRequire(join(location.path, "package.json"));
    loaded = require(join(location.path, paths.PACKAGE_PATH)) as NativeTf;
    loadedFrom = location.path;
  } catch (cause) {
    throw new WeirError(
      "WEIR_E_NATIVE_ENGINE",
      `the native engine in ${location.path} could not be loaded (${(cause as Error).message}); run \`${weirCommand("setup --force")}\``,
      { path: location.path },
      { cause },
    );
  }
  return loaded;
}

/** What makes graphs callable as operations, in the process's native engine. */
export function functionsState(): FunctionsState {
  return functions;
}

/** To be called before the binding is loaded, whose call of TFE_NewContext must meet that of the addon. */
function openFunctions(directory: string, env: NodeJS.ProcessEnv): FunctionsState {
  const { path, reason, xla } = locateFunctions(directory, env);
  if (path === null) return { addon: null, reason, xla };
  try {
    const module = { exports: {} as FunctionsAddon };
    process.dlopen(module, path, constants.dlopen.RTLD_LAZY | constants.dlopen.RTLD_GLOBAL);
    return { addon: module.exports, reason, xla };
  } catch (error) {
    return { addon: null, reason: `the functions addon could not be loaded (${(error as Error).message})`, xla };
  }
}

/** Whether weir's kernels are registered with TensorFlow in this process, and why or why not. */
export interface KernelsState {
  readonly loaded: boolean;
  readonly reason: string;
  /** Element types whose matrix products run in weir's own kernel; none where TensorFlow's are faster. */
  readonly products: readonly EnginePrecision[];
}

/**
 * Registers weir's kernels (`Weir…` operations, for the CPU) with the native engine of this process, once; later calls
 * return the same state. Needs a loaded engine; never throws.
 */
export function loadKernels(env: NodeJS.ProcessEnv = process.env): KernelsState {
  if (loaded === null || loadedFrom === null) {
    return noKernels("the native engine is not loaded in this process");
  }
  kernels ??= registerKernels(loaded, loadedFrom, env);
  return kernels;
}

function registerKernels(tf: NativeTf, directory: string, env: NodeJS.ProcessEnv): KernelsState {
  try {
    if (nativeBinding(tf).isUsingGpuDevice()) return noKernels("kernels are for the CPU, this is a GPU");
    const { path, reason } = locateKernels(directory, env);
    if (path === null) return noKernels(reason);
    const { productTypes } = createRequire(path)(path) as { readonly productTypes: string };
    return { loaded: true, reason, products: productTypes.split(",") as EnginePrecision[] };
  } catch (error) {
    return noKernels(`the kernels could not be loaded (${(error as Error).message})`);
  }
}

const noKernels = (reason: string): KernelsState => ({ loaded: false, reason, products: [] });

/** The raw binding behind a loaded native `tf`. */
export function nativeBinding(tf: NativeTf): NativeBinding {
  return (tf.backend() as unknown as { readonly binding: NativeBinding }).binding;
}

function prepareEnvironment(directory: string, variant: string | null, threads: number): void {
  const set = (name: string, value: string) => {
    process.env[name] ??= value;
  };
  // 2: no warnings and infos of TensorFlow itself.
  set("TF_CPP_MIN_LOG_LEVEL", "2");
  // Otherwise TensorFlow takes the whole GPU at start.
  set("TF_FORCE_GPU_ALLOW_GROWTH", "true");
  if (variant === "gpu") {
    // The binding uploads to one GPU only, and operations must not be placed on others.
    set("CUDA_VISIBLE_DEVICES", "0");
    // Products in float32 are meant to be that, not TensorFloat-32; bfloat16 is the faster choice.
    set("NVIDIA_TF32_OVERRIDE", "0");
  }
  if (variant === "cpu") {
    // The allocator reuses memory instead of returning it to the system, whose pages would be cleared at every use.
    set("TF_CPU_ALLOCATOR_USE_BFC", "true");
    set("TF_CPU_BFC_MEM_LIMIT_IN_MB", String(Math.floor(usableMemory().totalBytes / 1024 ** 2)));
  }
  if (threads > 0) {
    set("TF_NUM_INTRAOP_THREADS", String(threads));
    set("OMP_NUM_THREADS", String(threads));
  }
  const cudaCompiler = join(directory, paths.PACKAGE_PATH, "deps", "nvidia", "cuda_nvcc");
  if (existsSync(cudaCompiler)) set("XLA_FLAGS", `--xla_gpu_cuda_data_dir=${cudaCompiler}`);
  // tfjs-node 4.22 calls two helpers that Node 23 removed.
  const helpers = util as unknown as Record<string, unknown>;
  helpers.isNullOrUndefined ??= (value: unknown) => value === null || value === undefined;
  helpers.isArray ??= Array.isArray;
}
