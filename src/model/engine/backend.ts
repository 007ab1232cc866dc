/**
 * Owns the choice and the start of the numerics backend: the native engine where it is set up, else wasm, else the
 * plain JavaScript one. A backend asked for by name is used or is an error, never silently another.
 */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import type { BackendName, EngineOptions } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import { loadNativeTf, locateNative, nativeBinding } from "../tensor/native/index.js";
import { setTf, type Tf, tf } from "../tensor/tf.js";

export interface OpenedBackend {
  readonly backend: BackendName;
  /** Why this backend, in one sentence. */
  readonly reason: string;
  readonly version: string;
}

const require = createRequire(import.meta.url);
let opened: OpenedBackend | null = null;

function openNative(threads: number, reason: string): OpenedBackend {
  const namespace = loadNativeTf({ threads }) as unknown as Tf;
  setTf(namespace, "tensorflow");
  return { backend: "tensorflow", reason, version: nativeBinding(namespace).TF_Version };
}

async function openWasm(reason: string): Promise<OpenedBackend> {
  const core = require("@tensorflow/tfjs-core") as Tf;
  const wasm = require("@tensorflow/tfjs-backend-wasm") as {
    setWasmPaths(directory: string): void;
    version_wasm: string;
  };
  wasm.setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}/`);
  if (!(await core.setBackend("wasm"))) {
    throw new WeirError("WEIR_E_NATIVE_ENGINE", "the wasm backend did not start; choose engine.backend = cpu");
  }
  setTf(core, "wasm");
  return { backend: "wasm", reason, version: wasm.version_wasm };
}

async function openCpu(reason: string): Promise<OpenedBackend> {
  const core = require("@tensorflow/tfjs-core") as Tf;
  const cpu = require("@tensorflow/tfjs-backend-cpu") as { version_cpu: string };
  await core.setBackend("cpu");
  setTf(core, "cpu");
  return { backend: "cpu", reason, version: cpu.version_cpu };
}

/** Message of an error for a reason line. */
function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

async function open(wanted: EngineOptions["backend"], threads: number): Promise<OpenedBackend> {
  switch (wanted) {
    case "tensorflow":
      return openNative(threads, `asked for by name; ${locateNative().reason}`);
    case "wasm":
      return openWasm("asked for by name");
    case "cpu":
      return openCpu("asked for by name");
    case "auto": {
      const native = locateNative();
      let why = native.reason;
      if (native.found) {
        try {
          return openNative(threads, native.reason);
        } catch (error) {
          why = messageOf(error);
        }
      }
      try {
        return await openWasm(`wasm, because ${why}`);
      } catch (error) {
        return openCpu(`plain JavaScript, because ${why}, and wasm failed: ${messageOf(error)}`);
      }
    }
  }
}

/**
 * Opens the process's backend; a second call returns the first one's answer where that fits.
 * Throws WEIR_E_NATIVE_ENGINE where the named backend is not available, WEIR_E_STATE where another one is open already.
 */
export async function openBackend(wanted: EngineOptions["backend"], threads: number): Promise<OpenedBackend> {
  if (opened === null) {
    opened = await open(wanted, threads);
    tf.enableProdMode();
    await tf.ready();
  } else if (wanted !== "auto" && wanted !== opened.backend) {
    throw new WeirError(
      "WEIR_E_STATE",
      `this process runs its arithmetic on ${opened.backend}, so it cannot also open ${wanted}; use a process for each`,
    );
  }
  return opened;
}
