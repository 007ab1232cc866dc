/**
 * Turns a tfjs function into a TensorFlow graph without running it: while a trace is open, the active tfjs backend is one
 * whose kernels emit nodes and infer shapes. Gradients of tfjs's own tape (`tf.grads`) are traced too.
 */
import type * as tfCore from "@tensorflow/tfjs-core";
import type { EnginePrecision } from "../../../contracts/engine.js";
import { WeirError } from "../../../errors.js";
import { backendName, setRecorder, tf } from "../tf.js";
import { graphKernels } from "./tfjs-kernels.js";
import { openTrace, setOpenTrace, Tracer, traceAtWork } from "./tracer.js";

const TRACE_BACKEND = "weir-graph";

let backend: tfCore.KernelBackend | null = null;

/** A tfjs backend that computes nothing. */
function backendOf(): tfCore.KernelBackend {
  backend ??= register();
  return backend;
}

function register(): tfCore.KernelBackend {
  const read = (): never => {
    throw new WeirError("WEIR_E_SHAPE", "a traced function cannot read a tensor's values; keep them in the graph");
  };
  class GraphBackend extends tf.KernelBackend {
    override write(values: tfCore.BackendValues, shape: number[], dtype: tfCore.DataType): object {
      const tracer = openTrace();
      return tracer.info(tracer.write(values, shape, dtype)).dataId;
    }
    override disposeData(): boolean {
      return true;
    }
    override incRef(): void {}
    decRef(): void {}
    override refCount(): number {
      return 1;
    }
    override numDataIds(): number {
      return 0;
    }
    override memory(): { unreliable: boolean } {
      return { unreliable: true };
    }
    override floatPrecision(): 32 {
      return 32;
    }
    override epsilon(): number {
      return 1e-7;
    }
    override dispose(): void {}
    override timerAvailable(): boolean {
      return false;
    }
    override readSync = read;
    override read = read;
  }
  const made = new GraphBackend() as unknown as tfCore.KernelBackend;
  tf.registerBackend(TRACE_BACKEND, () => made, 0);
  for (const kernel of graphKernels(TRACE_BACKEND)) tf.registerKernel(kernel);
  return made;
}

/** Opens a trace, runs `body` in it and closes it, also after an error. Traces do not nest. */
export function trace<T>(products: EnginePrecision, ownProducts: boolean, body: (tracer: Tracer) => T): T {
  if (traceAtWork() !== null) throw new WeirError("WEIR_E_STATE", "a trace was opened inside another");
  const tracer = new Tracer(products, ownProducts, backendOf());
  setOpenTrace(tracer);
  setRecorder(tracer);
  // Everything up to its first await runs at once, and a backend that is ready needs no await.
  void tf.setBackend(TRACE_BACKEND);
  try {
    return body(tracer);
  } finally {
    void tf.setBackend(backendName);
    setRecorder(null);
    setOpenTrace(null);
  }
}
