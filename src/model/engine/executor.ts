/**
 * The choice between running operations one by one (eager) and running compiled graphs, and the model runner that
 * goes with it. An executor asked for by name is used or is an error; `auto` says why it chose.
 */
import type { EngineOptions, EnginePrecision, ExecutorName, LoraOptions } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import { freeGpuBytes } from "../../system/gpu-memory.js";
import { usableMemory } from "../../system/memory.js";
import { CompiledDecoder } from "../decode/compiled-decoder.js";
import type { ModelConfig } from "../io/config.js";
import { expectedTensors } from "../io/tensor-names.js";
import { type CompileCosts, Compiler } from "../tensor/graph/compile.js";
import { type GraphLoader, SESSIONS } from "../tensor/graph/session.js";
import { functionsState, loadKernels, weirCommand } from "../tensor/native/index.js";
import { native } from "../tensor/tf.js";
import { FusedStep } from "../train/fused-step.js";
import { CompiledRunner, layerParts } from "../transformer/compiled-runner.js";
import { COMPOSED, FUSED } from "../transformer/layer-forms.js";
import { memoryBudget } from "../transformer/memory-plan.js";
import { Transformer } from "../transformer/model.js";
import { NarrowWeights } from "../transformer/narrow-weights.js";
import type { ParameterStore } from "../transformer/parameters.js";
import type { RopeTables } from "../transformer/rope.js";
import { EAGER } from "../transformer/runner.js";
import type { OpenedBackend } from "./backend.js";
import { probeGraphs } from "./graph-probe.js";

/** The options that the engine's core reads; those left out take their defaults. */
export type CoreOptions = Pick<EngineOptions, "backend" | "threads"> &
  Partial<Pick<EngineOptions, "executor" | "precision" | "memoryGiB" | "lora">>;

export interface ChosenExecutor {
  readonly name: ExecutorName;
  readonly reason: string;
  readonly precision: EnginePrecision;
  readonly costs: Readonly<CompileCosts>;
  /** Runs compiled functions; null where there are none. */
  readonly compiler: Compiler | null;
  transformer(parameters: ParameterStore, tables: RopeTables): Transformer;
  /** Decoding in graphs; null where sampling runs operation by operation. */
  readonly decoder: CompiledDecoder | null;
  /** The optimiser's arithmetic in weir's own operations; null where they are not loaded. */
  readonly fusedStep: FusedStep | null;
  dispose(): void;
}

/** What both executors need to know of the model. */
interface Wanted {
  readonly config: ModelConfig;
  readonly budget: number;
  readonly lora: LoraOptions | null;
}

function eager({ config, budget, lora }: Wanted, reason: string): ChosenExecutor {
  const runner = { ...EAGER, form: { ...EAGER.form, lora } };
  return {
    name: "eager",
    reason,
    precision: "float32",
    costs: { graphs: 0, seconds: 0 },
    compiler: null,
    transformer: (parameters, tables) => new Transformer(config, parameters, tables, runner, budget),
    decoder: null,
    fusedStep: null,
    dispose: () => undefined,
  };
}

function compiled(
  { config, budget, lora }: Wanted,
  precision: EnginePrecision,
  reason: string,
  loader: GraphLoader = SESSIONS,
): ChosenExecutor {
  const kernels = loadKernels();
  const fused = kernels.loaded;
  const compiler = new Compiler(precision, kernels.products.includes(precision), loader);
  const narrowed: NarrowWeights[] = [];
  const parts = layerParts([...expectedTensors(config).keys()]);
  const decoder = new CompiledDecoder(compiler, parts, fused);
  const unfused = fused && config.activation !== "silu" ? `; ${config.activation} in TensorFlow's own operations` : "";
  return {
    name: "compiled",
    reason: `${reason}; fused kernels: ${kernels.reason}${unfused}`,
    precision,
    costs: compiler.costs,
    compiler,
    transformer: (parameters, tables) => {
      const narrow = new NarrowWeights(compiler, precision === "bfloat16");
      narrowed.push(narrow);
      return new Transformer(
        config,
        parameters,
        tables,
        new CompiledRunner(compiler, config, narrow, fused ? FUSED : COMPOSED, parts, lora),
        budget,
      );
    },
    decoder,
    fusedStep: fused ? new FusedStep(compiler) : null,
    dispose: () => {
      decoder.dispose();
      for (const narrow of narrowed) narrow.dispose();
      compiler.dispose();
    },
  };
}

const onGpu = (opened: OpenedBackend) => opened.backend === "tensorflow" && native().binding.isUsingGpuDevice();

/** Free memory of the device that computes. */
function freeBytes(opened: OpenedBackend): number {
  const onDevice = onGpu(opened) ? freeGpuBytes() : null;
  return onDevice ?? usableMemory().freeBytes;
}

/** The compiled executor, or why the opened backend has none. */
async function compiledOr(
  opened: OpenedBackend,
  wanted: Wanted,
  precision: EnginePrecision,
  asked: string,
): Promise<ChosenExecutor | string> {
  if (opened.backend !== "tensorflow") return `the ${opened.backend} backend runs no graphs`;
  if (!onGpu(opened)) return compiled(wanted, precision, asked);
  const { graphs, reason } = await probeGraphs(wanted.config, precision, functionsState());
  if (graphs === null) return `no graphs on the GPU: ${reason}`;
  return compiled(wanted, graphs.precision, `${asked}; on the GPU in ${reason}`, graphs.loader);
}

/** Throws WEIR_E_NATIVE_ENGINE where `compiled` was asked for by name and is not available. */
export async function chooseExecutor(
  opened: OpenedBackend,
  config: ModelConfig,
  options: CoreOptions,
): Promise<ChosenExecutor> {
  const { executor = "auto", precision = "float32", memoryGiB = null, lora = null } = options;
  const wanted = { config, budget: memoryBudget(memoryGiB, () => freeBytes(opened)), lora };
  if (executor === "eager") return eager(wanted, "asked for by name");
  const asked = executor === "auto" ? "the backend runs graphs" : "asked for by name";
  const found = await compiledOr(opened, wanted, precision, asked);
  if (typeof found !== "string") return found;
  if (executor === "compiled") {
    throw new WeirError(
      "WEIR_E_NATIVE_ENGINE",
      `engine.executor = compiled cannot be had: ${found}; set it to auto or eager, or run \`${weirCommand("setup")}\``,
    );
  }
  return eager(wanted, found);
}
