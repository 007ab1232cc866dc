/**
 * The path of GPUs on the processor: TensorFlow with the functions addon, whose binding says that it computes on a GPU. Calls of the
 * binding are counted. To be opened before anything else loads TensorFlow in the process.
 */

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { openBackend } from "../../src/model/engine/backend.js";
import {
  functionsState,
  loadNativeTf,
  locateNative,
  type NativeBinding,
  packageRoot,
} from "../../src/model/tensor/native/index.js";
import { native } from "../../src/model/tensor/tf.js";

/** What was called since `reset`. */
export interface BindingCalls {
  /** Floats uploaded, and read back. */
  uploaded: number;
  read: number;
  /** Calls of functions, and of sessions. */
  functions: number;
  sessions: number;
}

interface FunctionsSetup {
  ensureFunctions(options: { directory: string }): Promise<{ status: string; reason: string }>;
}

/** The pretended GPU. */
export interface PretendedGpu {
  readonly calls: BindingCalls;
  reset(): void;
  /** The binding says again what it computes on. */
  pretend(on: boolean): void;
}

/** Compiles the addon where it is missing, and pretends. */
export async function pretendGpu(): Promise<PretendedGpu> {
  const directory = locateNative().path;
  if (directory === null) throw new Error("no native engine");
  const file = pathToFileURL(join(packageRoot(), "setup", "functions.mjs")).href;
  const made = await ((await import(file)) as FunctionsSetup).ensureFunctions({ directory });
  if (made.status === "unavailable") throw new Error(made.reason);
  loadNativeTf({ functions: true });
  if (functionsState().addon === null) throw new Error(functionsState().reason);
  await openBackend("tensorflow", 0);
  const calls: BindingCalls = { uploaded: 0, read: 0, functions: 0, sessions: 0 };
  const own = native().binding;
  const watched: NativeBinding = Object.assign(Object.create(own) as NativeBinding, {});
  const define = <K extends keyof NativeBinding>(name: K, value: NativeBinding[K]) =>
    Object.defineProperty(watched, name, { value });
  let gpu = true;
  define("isUsingGpuDevice", () => gpu);
  define("createTensor", (shape, dtype, buffer) => {
    if (buffer instanceof Float32Array) calls.uploaded += buffer.length;
    return own.createTensor(shape, dtype, buffer);
  });
  define("tensorDataSync", (id) => {
    const values = own.tensorDataSync(id);
    calls.read += values.length;
    return values;
  });
  define("executeOp", (name, attributes, ids, outputs) => {
    if (name.startsWith("weir_")) calls.functions += 1;
    return own.executeOp(name, attributes, ids, outputs);
  });
  define("runSavedModel", (...args) => {
    calls.sessions += 1;
    return own.runSavedModel(...args);
  });
  Object.defineProperty(native(), "binding", { value: watched });
  const reset = () => Object.assign(calls, { uploaded: 0, read: 0, functions: 0, sessions: 0 });
  const pretend = (on: boolean) => {
    gpu = on;
  };
  return { calls, reset, pretend };
}
