/**
 * Loads a numerics backend in a process of its own and says what it can do, as one JSON line on stdout.
 * Usage: node probe.mjs tensorflow ENGINE_FOLDER [--measure] [--gemm MxKxN] [--kernels FILE] [--functions FILE [--xla]]
 *        node probe.mjs wasm|cpu [--measure] [--gemm MxKxN]
 * Set-up runs it before an engine is put in place; `weir doctor` runs it with --measure, `weir bench` with --gemm (the
 * speed of products of one shape, over more repeats), set-up with --kernels or --functions before weir's kernels or its functions
 * addon are put in place. A crash of native code ends this process only.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import util from "node:util";
import { locateFunctions } from "./functions-key.mjs";
import { locateKernels } from "./kernel-key.mjs";
import { PACKAGE_PATH } from "./paths.mjs";
import { doublingGraph, writeXlaProbe } from "./xla-probe.mjs";

/** Edge of the square product that is timed: large enough for peak speed, small enough for a second. */
const GEMM_EDGE = { tensorflow: 1024, wasm: 512, cpu: 192 };
const REPEATS = 7;
/** A peak is the median of at least this much time: shorter spells are at the mercy of a shared machine. */
const PEAK_SECONDS = 1.5;

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Runs a probe; what it throws becomes the reason why the ability is missing. */
function attempt(probe) {
  try {
    return { ok: true, ...probe() };
  } catch (error) {
    return { ok: false, reason: error instanceof Error ? error.message.split("\n")[0] : String(error) };
  }
}

/** GFLOP/s of products m×k by k×n: median over repeats, which take at least `minimum` seconds, after one warm-up. */
function measure([m, k, n], minimum, multiply) {
  multiply();
  const seconds = [];
  let total = 0;
  while (seconds.length < REPEATS || total < minimum) {
    const started = performance.now();
    multiply();
    const took = (performance.now() - started) / 1000;
    seconds.push(took);
    total += took;
  }
  return Number(((2 * m * k * n) / median(seconds) / 1e9).toFixed(1));
}

/** `2048x1024x4096` after --gemm as [m, k, n]; null where it was not asked for. */
function askedShape(args) {
  const at = args.indexOf("--gemm");
  if (at < 0) return null;
  const shape = String(args[at + 1])
    .split("x")
    .map(Number);
  if (shape.length !== 3 || !shape.every((size) => Number.isInteger(size) && size > 0))
    throw new Error(`--gemm: expected MxKxN, got ${args[at + 1]}`);
  return shape;
}

const cube = (edge) => [edge, edge, edge];

/** Loads the functions addon from `file`, or from where set-up puts it; to be called before TensorFlow's binding is loaded. */
function loadFunctions(directory, file) {
  const { path, reason } = file === null ? locateFunctions(directory) : { path: file, reason: "" };
  if (path === null) throw new Error(reason);
  const module = { exports: {} };
  process.dlopen(module, path, constants.dlopen.RTLD_LAZY | constants.dlopen.RTLD_GLOBAL);
  return { addon: module.exports };
}

/** Runs a graph as an operation; `xla`: compiled by XLA. */
function probeFunctions({ ok, reason, addon }, binding, { upload, release }, xla) {
  if (!ok) throw new Error(reason);
  addon.addFunction("weir_probe", doublingGraph(), ["x"], ["y"], xla);
  const x = upload([3], Float32Array.of(1, -2, 3));
  const [y] = binding.executeOp("weir_probe", [], [x], 1);
  const values = [...binding.tensorDataSync(y.id)];
  release(x, y.id);
  addon.removeFunction("weir_probe");
  if (values.join() !== "2,-4,6") throw new Error(`x + x of 1,-2,3 came back as ${values.join()}`);
  return {};
}

function loadTensorflow(directory) {
  // tfjs-node 4.22 uses two helpers that Node 23 dropped.
  util.isNullOrUndefined ??= (value) => value === null || value === undefined;
  util.isArray ??= Array.isArray;
  process.env.TF_CPP_MIN_LOG_LEVEL ??= "2";
  process.env.TF_FORCE_GPU_ALLOW_GROWTH ??= "true";
  // As in an engine: one GPU, and float32 products that are float32.
  process.env.CUDA_VISIBLE_DEVICES ??= "0";
  process.env.NVIDIA_TF32_OVERRIDE ??= "0";
  const cudaCompiler = join(directory, PACKAGE_PATH, "deps", "nvidia", "cuda_nvcc");
  if (existsSync(cudaCompiler)) process.env.XLA_FLAGS ??= `--xla_gpu_cuda_data_dir=${cudaCompiler}`;
  const require = createRequire(join(directory, "package.json"));
  return require(join(directory, PACKAGE_PATH));
}

/** TensorFlow's own number for bfloat16; the binding exports no name for it. */
const BFLOAT16 = 14;

/** The few operations that the probes need, on tensor ids of the binding. */
function rawOperations(binding) {
  const typed = (name, value) => ({ name, type: binding.TF_ATTR_TYPE, value });
  const flag = (name) => ({ name, type: binding.TF_ATTR_BOOL, value: false });
  const run = (name, attributes, inputs) => binding.executeOp(name, attributes, inputs, 1)[0].id;
  return {
    typed,
    cast: (id, from, to) => run("Cast", [typed("SrcT", from), typed("DstT", to)], [id]),
    product: (a, b, type) => run("MatMul", [typed("T", type), flag("transpose_a"), flag("transpose_b")], [a, b]),
    upload: (shape, values) => binding.createTensor(shape, binding.TF_FLOAT, values),
    /** One element of a matrix, at `begin`. */
    corner: (id, type, begin, size) =>
      run("Slice", [typed("T", type), typed("Index", binding.TF_INT32)], [id, begin, size]),
    release: (...ids) => {
      for (const id of ids) binding.deleteTensor(id);
    },
  };
}

function probeBfloat16(binding, { cast, product, upload, release }) {
  const a = upload([1, 2], Float32Array.of(1.5, 2));
  const b = upload([2, 1], Float32Array.of(4, 0.25));
  const [a16, b16] = [cast(a, binding.TF_FLOAT, BFLOAT16), cast(b, binding.TF_FLOAT, BFLOAT16)];
  const c16 = product(a16, b16, BFLOAT16);
  const c = cast(c16, BFLOAT16, binding.TF_FLOAT);
  const value = binding.tensorDataSync(c)[0];
  release(a, b, a16, b16, c16, c);
  if (value !== 6.5) throw new Error(`1.5·4 + 2·0.25 should be 6.5, bf16 says ${value}`);
  return {};
}

/** Loads weir's kernels from `file`, or from where set-up puts them, and runs one. */
function probeKernels(binding, { typed, upload, release }, directory, file) {
  const { path, reason } = file === null ? locateKernels(directory) : { path: file, reason: "" };
  if (path === null) throw new Error(reason);
  createRequire(path)(path);
  const [x, w] = [upload([1, 2], Float32Array.of(3, 4)), upload([2], Float32Array.of(1, 2))];
  const attributes = [typed("T", binding.TF_FLOAT), { name: "epsilon", type: binding.TF_ATTR_FLOAT, value: 0 }];
  const [n, r] = binding.executeOp("WeirRmsNorm", attributes, [x, w], 2);
  const values = [...binding.tensorDataSync(n.id)].map((value) => value.toFixed(4));
  release(x, w, n.id, r.id);
  if (values.join() !== "0.8485,2.2627") throw new Error(`the norm of 3,4 by 1,2 came back as ${values.join()}`);
  return {};
}

const noise = (length) => Float32Array.from({ length }, (_, index) => ((index * 7919) % 1000) / 1000 - 0.5);

/** GFLOP/s of products m×k by k×n in float32, and in bfloat16 where that works. */
function productSpeeds(binding, operations, shape, minimum, withBfloat16) {
  const { cast, product, upload, corner, release } = operations;
  const gpu = binding.isUsingGpuDevice();
  const [m, k, n] = shape;
  const a = upload([m, k], noise(m * k));
  const b = upload([k, n], noise(k * n));
  // Products are asynchronous on a GPU: reading one number of the last says that it has finished.
  const begin = binding.createTensor([2], binding.TF_INT32, Int32Array.of(0, 0));
  const size = binding.createTensor([2], binding.TF_INT32, Int32Array.of(1, 1));
  const finish = (id, type) => {
    if (gpu) {
      const one = corner(id, type, begin, size);
      const wide = cast(one, type, binding.TF_FLOAT);
      binding.tensorDataSync(wide);
      release(one, wide);
    }
    release(id);
  };
  const speed = (left, right, type) => measure(shape, minimum, () => finish(product(left, right, type), type));
  const found = { f32: speed(a, b, binding.TF_FLOAT) };
  if (withBfloat16) {
    const [a16, b16] = [cast(a, binding.TF_FLOAT, BFLOAT16), cast(b, binding.TF_FLOAT, BFLOAT16)];
    found.bf16 = speed(a16, b16, BFLOAT16);
    release(a16, b16);
  }
  release(a, b, begin, size);
  return found;
}

function probeTensorflow(directory, measured, peakShape, files) {
  const started = performance.now();
  const functions = attempt(() => loadFunctions(directory, files.functions));
  const tf = loadTensorflow(directory);
  const binding = tf.backend().binding;
  const loadSeconds = (performance.now() - started) / 1000;
  const matmul = () => tf.tidy(() => tf.matMul([[1, 2]], [[3], [4]]).dataSync()[0]);
  if (matmul() !== 11) throw new Error(`1·3 + 2·4 should be 11, the backend says ${matmul()}`);
  const operations = rawOperations(binding);
  const bf16 = attempt(() => probeBfloat16(binding, operations));
  const result = {
    backend: "tensorflow",
    version: binding.TF_Version,
    tfjs: tf.version["tfjs-core"],
    gpu: binding.isUsingGpuDevice(),
    bf16,
    kernels: attempt(() => probeKernels(binding, operations, directory, files.kernels)),
    functions: attempt(() => probeFunctions(functions, binding, operations, files.xla)),
    loadSeconds,
  };
  const speeds = (shape, minimum) => productSpeeds(binding, operations, shape, minimum, bf16.ok);
  if (peakShape !== null) result.peak = { shape: peakShape, ...speeds(peakShape, PEAK_SECONDS) };
  if (!measured) return result;
  const edge = GEMM_EDGE.tensorflow;
  return { ...result, gemm: { edge, ...speeds(cube(edge), 0) }, xla: attempt(() => probeXla(binding)) };
}

/** A one-function SavedModel that must be compiled by XLA: it fails to run where XLA is not linked in. */
function probeXla(binding) {
  const directory = mkdtempSync(join(tmpdir(), "weir-xla-"));
  try {
    writeXlaProbe(directory);
    const model = binding.loadSavedModel(directory, "serve");
    const input = binding.createTensor([3], binding.TF_FLOAT, Float32Array.of(1, -2, 3));
    const [output] = binding.runSavedModel(model, [input], "x:0", "y:0");
    const values = [...binding.tensorDataSync(output.id)];
    binding.deleteTensor(input);
    binding.deleteTensor(output.id);
    binding.deleteSavedModel(model);
    if (values.join() !== "2,-4,6") throw new Error(`x + x of 1,-2,3 came back as ${values.join()}`);
    return {};
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function probePortable(name, measured, peakShape) {
  const started = performance.now();
  const tf = await import("@tensorflow/tfjs-core");
  if (name === "wasm") await import("@tensorflow/tfjs-backend-wasm");
  else await import("@tensorflow/tfjs-backend-cpu");
  if (!(await tf.setBackend(name))) throw new Error(`tfjs could not start the ${name} backend`);
  await tf.ready();
  const value = tf.matMul(tf.tensor2d([[1, 2]]), tf.tensor2d([[3], [4]])).dataSync()[0];
  if (value !== 11) throw new Error(`1·3 + 2·4 should be 11, the backend says ${value}`);
  const result = {
    backend: name,
    version: tf.version_core,
    tfjs: tf.version_core,
    loadSeconds: (performance.now() - started) / 1000,
  };
  const speed = (shape, minimum) => {
    const [m, k, n] = shape;
    const a = tf.fill([m, k], 0.5);
    const b = tf.fill([k, n], 0.25);
    const found = measure(shape, minimum, () => tf.tidy(() => void tf.matMul(a, b).dataSync()));
    tf.dispose([a, b]);
    return found;
  };
  if (peakShape !== null) result.peak = { shape: peakShape, f32: speed(peakShape, PEAK_SECONDS) };
  if (!measured) return result;
  const edge = GEMM_EDGE[name];
  return { ...result, gemm: { edge, f32: speed(cube(edge), 0) } };
}

const [backend, ...rest] = process.argv.slice(2);
const measured = rest.includes("--measure");
try {
  const peakShape = askedShape(rest);
  const fileAfter = (flag) => (rest.includes(flag) ? rest[rest.indexOf(flag) + 1] : null);
  const files = { kernels: fileAfter("--kernels"), functions: fileAfter("--functions"), xla: rest.includes("--xla") };
  const result =
    backend === "tensorflow"
      ? probeTensorflow(rest[0], measured, peakShape, files)
      : await probePortable(backend, measured, peakShape);
  process.stdout.write(`${JSON.stringify({ ok: true, node: process.version, ...result })}\n`);
} catch (error) {
  process.stdout.write(
    `${JSON.stringify({ ok: false, node: process.version, reason: String(error?.message ?? error).split("\n")[0] })}\n`,
  );
  process.exitCode = 1;
}
