/**
 * Whether compiled graphs work on a device that is not the processor, and how: functions of the eager context, with XLA or
 * without. Tried on the spot on a small model of the same kind: log-probs and gradients of a group, and sampled tokens, must be
 * those of the eager executor. Where both pass, XLA is taken unless it is much slower, so that small differences of the clock do not
 * change which arithmetic a resumed run gets. What fails says why.
 */
import { below, normal } from "../../algorithms/random.js";
import { median } from "../../algorithms/statistics.js";
import type { EnginePrecision } from "../../contracts/engine.js";
import { BatchPrefixes } from "../activations/prefix-cache.js";
import { CompiledDecoder } from "../decode/compiled-decoder.js";
import { sampleSequences } from "../decode/sampler.js";
import type { ModelConfig } from "../io/config.js";
import { expectedTensors } from "../io/tensor-names.js";
import { elementCount, tensorsInMemory } from "../io/tensor-source.js";
import { Compiler } from "../tensor/graph/compile.js";
import { deviceFunctions } from "../tensor/graph/functions.js";
import type { GraphLoader } from "../tensor/graph/session.js";
import type { FunctionsState } from "../tensor/native/index.js";
import { scoreGroups } from "../train/learner.js";
import { runGroups } from "../train/micro-batch.js";
import { supervisedTokenLoss } from "../train/policy-gradient.js";
import { CompiledRunner, layerParts } from "../transformer/compiled-runner.js";
import { GradientStore } from "../transformer/gradients.js";
import { COMPOSED } from "../transformer/layer-forms.js";
import { Transformer } from "../transformer/model.js";
import { NarrowWeights } from "../transformer/narrow-weights.js";
import { planGroups } from "../transformer/packing.js";
import { ParameterStore } from "../transformer/parameters.js";
import { RopeTables } from "../transformer/rope.js";

/**
 * Largest error that counts as rounding. `logprob` is absolute, in nats; `gradient` is |Δ|/|eager| of each tensor. Float32 is
 * strict enough to tell TensorFloat-32, whose products have 10 bits; bfloat16 ones have 7, which leaves about 1 %.
 */
const TOLERANCE: Readonly<Record<EnginePrecision, { readonly logprob: number; readonly gradient: number }>> = {
  float32: { logprob: 1e-4, gradient: 1e-4 },
  bfloat16: { logprob: 0.05, gradient: 0.05 },
};

/** Sizes of the model at most: large enough for every operation to be that of a real one, small enough for a second. */
const LARGEST = { layers: 2, hiddenSize: 256, intermediateSize: 512, vocabSize: 512, kvHeads: 2 };
/** Standard deviation of its weights; activations then neither vanish nor explode. */
const SCALE = 0.06;
const PROMPT = 40;
const COMPLETIONS = [12, 7];
/** Two calls of the decoding loop. */
const DRAWN = 20;
const POSITIONS = 256;
/** Runs that are timed, after the one that compiles. */
const TIMED = 3;

/** XLA is left out where a trial step takes this many times as long with it. */
const XLA_SLOWDOWN = 2;
/** Characters of what TensorFlow says of a failure. */
const LONGEST_FAULT = 300;

/** How graphs run on the device. */
export interface DeviceGraphs {
  readonly loader: GraphLoader;
  readonly precision: EnginePrecision;
}

export interface ProbeAnswer {
  /** Null where nothing agrees with eager. */
  readonly graphs: DeviceGraphs | null;
  /** One sentence: what was found, with numbers. */
  readonly reason: string;
}

/** One way that was tried. */
interface Trial extends DeviceGraphs {
  readonly xla: boolean;
  /** Largest errors; see TOLERANCE. */
  readonly logprob: number;
  readonly gradient: number;
  /** Forward and backward of the group, milliseconds, median. */
  readonly ms: number;
}

/** What is compared. */
interface Measured {
  readonly logprobs: Float32Array;
  readonly gradients: ReadonlyMap<string, Float32Array>;
}

/** A small model of the kind that `config` describes. */
function probeConfig(config: ModelConfig): ModelConfig {
  const kvHeads = Math.min(config.kvHeads, LARGEST.kvHeads);
  return {
    ...config,
    layers: Math.min(config.layers, LARGEST.layers),
    hiddenSize: Math.min(config.hiddenSize, LARGEST.hiddenSize),
    intermediateSize: Math.min(config.intermediateSize, LARGEST.intermediateSize),
    vocabSize: Math.min(config.vocabSize, LARGEST.vocabSize),
    heads: kvHeads * (config.heads / config.kvHeads),
    kvHeads,
    maxPositions: POSITIONS,
    eosIds: [],
  };
}

function randomWeights(config: ModelConfig): ParameterStore {
  const tensors: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
  let key = 0;
  for (const [name, shape] of expectedTensors(config)) {
    key += 1;
    const center = name.includes("norm") ? 1 - config.normOffset : 0;
    const data = Float32Array.from({ length: elementCount(shape) }, (_, i) => center + SCALE * normal(key, i));
    tensors[name] = { shape, data };
  }
  return ParameterStore.load(config, tensorsInMemory(tensors));
}

const randomIds = (config: ModelConfig, key: number, length: number): number[] =>
  Array.from({ length }, (_, i) => below(config.vocabSize, key, i));

/** Forward and backward of one group, as training runs it. */
async function measured(model: Transformer): Promise<Measured> {
  const items = [
    {
      promptIds: randomIds(model.config, 101, PROMPT),
      completions: COMPLETIONS.map((length, index) => randomIds(model.config, 102 + index, length)),
    },
  ];
  const gradients = new GradientStore();
  const microBatches = planGroups(items, POSITIONS * COMPLETIONS.length, model.runner.rounding);
  const prefixes = new BatchPrefixes(model, microBatches, null, gradients);
  const logprobs: number[] = [];
  try {
    for (const microBatch of microBatches) {
      const weights = new Float32Array(microBatch.targets.length).fill(1 / PROMPT);
      const learning = { gradients, loss: supervisedTokenLoss(weights) };
      const scores = await runGroups(model, microBatch, prefixes, { temperature: 1, entropies: true }, learning);
      logprobs.push(...scores.logprobs);
    }
    const read = gradients.names().map((name): [string, Float32Array] => {
      const values = gradients.get(name)?.dataSync<"float32">() ?? new Float32Array();
      return [name, values.slice()];
    });
    return { logprobs: Float32Array.from(logprobs), gradients: new Map(read) };
  } finally {
    prefixes.dispose();
    gradients.clear();
  }
}

/** |a − b|/|b|; infinite where a is not finite. */
function relativeError(a: Float32Array, b: Float32Array): number {
  let difference = 0;
  let size = 0;
  for (let i = 0; i < b.length; i += 1) {
    difference += (a[i]! - b[i]!) ** 2;
    size += b[i]! ** 2;
  }
  const error = Math.sqrt(difference / Math.max(size, Number.MIN_VALUE));
  return Number.isFinite(error) ? error : Number.POSITIVE_INFINITY;
}

function largestError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let most = a.length === b.length ? 0 : Number.POSITIVE_INFINITY;
  for (let i = 0; i < b.length; i += 1) {
    const error = Math.abs(a[i]! - b[i]!);
    most = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(most, error);
  }
  return most;
}

/** Largest error of sampled tokens' log-probs against those that the eager model gives the same tokens. */
async function samplingError(model: Transformer, decoder: CompiledDecoder, eager: Transformer): Promise<number> {
  const { signal } = new AbortController();
  const prompts = [PROMPT, 3].map((length, index) => ({
    promptIds: randomIds(model.config, 111 + index, length),
    seeds: [2 * index, 2 * index + 1],
  }));
  const params = { temperature: 1, topP: 1, topK: 0, maxTokens: DRAWN, stopIds: [] };
  const drawn = await sampleSequences(model, { prompts, params }, signal, decoder, null);
  const items = prompts.map(({ promptIds }, index) => ({
    promptIds,
    completions: (drawn[index] ?? []).map(({ tokenIds }) => tokenIds),
  }));
  const { logprobs } = await scoreGroups(eager, items, {
    temperature: 1,
    microBatchTokens: POSITIONS * prompts.length,
    activationCache: null,
    signal,
  });
  return largestError(
    drawn.flat().flatMap((one) => one.logprobs),
    logprobs.flat(2),
  );
}

/** One way against eager. Throws what TensorFlow says where it does not run. */
async function tryGraphs(
  loader: GraphLoader,
  xla: boolean,
  precision: EnginePrecision,
  eager: Transformer,
  expected: Measured,
): Promise<Trial> {
  const { config, parameters, tables } = eager;
  const compiler = new Compiler(precision, false, loader);
  const narrow = new NarrowWeights(compiler, precision === "bfloat16");
  const parts = layerParts([...expectedTensors(config).keys()]);
  const decoder = new CompiledDecoder(compiler, parts, false);
  try {
    const runner = new CompiledRunner(compiler, config, narrow, COMPOSED, parts, null);
    const model = new Transformer(config, parameters, tables, runner);
    const found = await measured(model);
    const gradient = Math.max(
      ...[...expected.gradients].map(([name, values]) =>
        relativeError(found.gradients.get(name) ?? new Float32Array(), values),
      ),
    );
    const logprob = Math.max(
      largestError(found.logprobs, expected.logprobs),
      await samplingError(model, decoder, eager),
    );
    const times: number[] = [];
    while (times.length < TIMED) {
      const started = performance.now();
      await measured(model);
      times.push(performance.now() - started);
    }
    return { loader, precision, xla, logprob, gradient, ms: median(times) };
  } finally {
    decoder.dispose();
    narrow.dispose();
    compiler.dispose();
  }
}

/** The beginning of what TensorFlow said, which can be as long as a graph. */
function faultOf(error: Error): string {
  const { message } = error.cause instanceof Error ? error.cause : error;
  return message.replaceAll(/\s+/g, " ").slice(0, LONGEST_FAULT);
}

const wayOf = (precision: EnginePrecision, xla: boolean) => `${precision} ${xla ? "with" : "without"} XLA`;

const errorsOf = ({ logprob, gradient }: Trial) =>
  `${logprob.toExponential(1)} nats, gradients ${(100 * gradient).toPrecision(2)} %`;

function agrees({ precision, logprob, gradient }: Trial): boolean {
  const limit = TOLERANCE[precision];
  return logprob <= limit.logprob && gradient <= limit.gradient;
}

/** Every way in one precision, XLA first; those that agree, and why the others do not. */
async function trials(
  eager: Transformer,
  expected: Measured,
  precision: EnginePrecision,
  { addon, xla: xlaFault }: FunctionsState,
): Promise<{ readonly passed: Trial[]; readonly faults: string[] }> {
  const passed: Trial[] = [];
  const faults: string[] = [];
  if (addon === null) return { passed, faults };
  for (const xla of [true, false]) {
    const way = wayOf(precision, xla);
    try {
      if (xla && xlaFault !== null) throw new Error(xlaFault);
      const trial = await tryGraphs(deviceFunctions(addon, xla), xla, precision, eager, expected);
      if (agrees(trial)) passed.push(trial);
      else faults.push(`${way}: differs from eager by ${errorsOf(trial)}`);
    } catch (error) {
      faults.push(`${way}: ${faultOf(error as Error)}`);
    }
  }
  return { passed, faults };
}

/** Never throws for what the device cannot do. `precision` is what is wanted; float32 is tried where bfloat16 does not work. */
export async function probeGraphs(
  config: ModelConfig,
  precision: EnginePrecision,
  functions: FunctionsState,
): Promise<ProbeAnswer> {
  if (functions.addon === null) return { graphs: null, reason: functions.reason };
  const small = probeConfig(config);
  const parameters = randomWeights(small);
  const tables = new RopeTables(small.rope, small.headDim);
  try {
    const eager = new Transformer(small, parameters, tables);
    const expected = await measured(eager);
    const faults: string[] = [];
    for (const wanted of new Set<EnginePrecision>([precision, "float32"])) {
      const tried = await trials(eager, expected, wanted, functions);
      faults.push(...tried.faults);
      const [first, second] = tried.passed;
      if (first === undefined) continue;
      const swap = second !== undefined && first.ms > XLA_SLOWDOWN * second.ms;
      const [best, other] = swap ? [second, first] : [first, second];
      const against = other === undefined ? "" : ` against ${other.ms.toFixed(1)} ms ${wayOf(wanted, other.xla)}`;
      const left = faults.length === 0 ? "" : `; ${faults.join("; ")}`;
      const reason = `${wayOf(wanted, best.xla)}, within ${errorsOf(best)} of eager, ${best.ms.toFixed(1)} ms a trial step${against}${left}`;
      return { graphs: best, reason };
    }
    return { graphs: null, reason: faults.join("; ") };
  } finally {
    parameters.dispose();
    tables.dispose();
  }
}
