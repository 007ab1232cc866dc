/**
 * Measures weir on a GPU within some minutes: is the GPU used, do the stored models and steps hold, how fast is a training step
 * and a GRPO step. A GPU machine may have no network, so everything comes from one folder, which another machine prepares.
 *
 *   node scripts/gpu-check.mjs --prepare FOLDER      on a Linux machine with network, npm, pip and g++; no GPU needed
 *   FOLDER/node FOLDER/weir/scripts/gpu-check.mjs FOLDER [--out FILE] [--minutes 8]      on the GPU machine
 *   FOLDER/node FOLDER/weir/scripts/gpu-check.mjs FOLDER --rehearse      where it was prepared: the same, small, on the processor
 *
 * The folder (6 GB: TensorFlow and CUDA's libraries) has Node, weir with its packages and tests, and the native engine. The GPU
 * machine needs the same processor architecture, a glibc that is not older, and NVIDIA's driver for CUDA 12; docs/gpu.md says more.
 * The last line is `ok` or what is wrong; FILE (gpu-check.json) has every number. Exit codes: 0 all held, 1 something did not,
 * 2 wrong usage, 3 TensorFlow sees no GPU.
 */
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ensureBuild } from "../setup/dist.mjs";
import { ensureFunctions, tryXla } from "../setup/functions.mjs";
import { locateFunctions } from "../setup/functions-key.mjs";
import { ensureNative } from "../setup/install.mjs";
import { findEngines } from "../setup/paths.mjs";
import { answers, run } from "../setup/run.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** What of a clone the check needs. */
const COPIED = [
  "package.json",
  "tsconfig.json",
  "vitest.config.ts",
  "assets",
  "dist",
  "monitor",
  "native",
  "node_modules",
  "scripts",
  "setup",
  "src",
  "tests",
];
const say = (line) => process.stdout.write(`${line}\n`);

/** Sizes of the measurements; those of a rehearsal only show that everything is there. */
const SIZES = {
  check: { batch: "8", length: "256", steps: "12", warmup: "3", prompt: "1024", completion: "64", group: "8" },
  rehearsal: { batch: "1", length: "32", steps: "1", warmup: "1", prompt: "32", completion: "16", group: "2" },
};

async function prepare(folder) {
  mkdirSync(folder, { recursive: true });
  const env = { ...process.env, WEIR_CACHE: folder };
  await ensureBuild({ root, say });
  const engine = await ensureNative({ variant: "gpu", elsewhere: true, env, say });
  if (engine.directory === null) throw new Error(engine.reason);
  const functions = await ensureFunctions({ directory: engine.directory, env, say });
  if (functions.status === "unavailable") throw new Error(functions.reason);
  say("copying Node and weir");
  copyFileSync(process.execPath, join(folder, "node"));
  const target = join(folder, "weir");
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target);
  for (const name of COPIED) {
    if (existsSync(join(root, name)))
      cpSync(join(root, name), join(target, name), { recursive: true, verbatimSymlinks: true });
  }
  say(`${engine.reason}`);
  say(`ready: rehearse it, copy ${folder} to the GPU machine, run its node on its weir/scripts/gpu-check.mjs`);
}

/** What the driver says of the first GPU, or null. */
function describeGpu() {
  return (
    answers("nvidia-smi", ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"])?.split("\n")[0] ??
    null
  );
}

/** The last JSON line of a program's output. */
function lastJson(stdout) {
  const line = stdout
    .trim()
    .split("\n")
    .findLast((text) => text.startsWith("{"));
  if (line === undefined) throw new Error("it printed no result");
  return JSON.parse(line);
}

/** Runs Node on `args` until `limitMs`; throws what it said last where it fails. */
async function node(args, env, limitMs) {
  const result = await run(process.execPath, args, { cwd: root, env, timeoutMs: limitMs, group: true });
  if (result.code === 0) return result.stdout;
  const said = result.output.trim().split("\n").slice(-5).join(" | ");
  throw new Error(
    result.code === 137 ? `it took longer than ${Math.round(limitMs / 1000)} s` : `exit code ${result.code}: ${said}`,
  );
}

/** Speed of products, and what the engine can do. */
async function probe({ engine, env }, limitMs) {
  const args = [join(root, "setup", "probe.mjs"), "tensorflow", engine, "--measure"];
  const found = lastJson(await node(args, env, limitMs));
  if (!found.functions.ok) throw new Error(`functions addon: ${found.functions.reason}`);
  return found;
}

async function xla({ engine, env }) {
  const fault = await tryXla({ directory: engine, env });
  return { works: fault === null, reason: fault };
}

/** The stored models and optimiser steps, compiled and eager; without XLA, which would compile each of many shapes. */
async function parity({ env, rehearse }, limitMs) {
  const folder = mkdtempSync(join(tmpdir(), "weir-gpu-check-"));
  const report = join(folder, "report.json");
  const files = rehearse
    ? ["tests/parity/native.test.ts"]
    : ["tests/parity/compiled.test.ts", "tests/parity/native.test.ts"];
  const args = ["run", ...files, "--no-file-parallelism", "--reporter=json", `--outputFile=${report}`];
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  try {
    // A failed test is read from the report.
    const ended = await node([vitest, ...args], { ...env, WEIR_XLA: "off" }, limitMs).catch((error) => error);
    if (!existsSync(report)) throw ended;
    const { numPassedTests: passed, numFailedTests: failed, testResults } = JSON.parse(readFileSync(report, "utf8"));
    const names = testResults.flatMap(({ assertionResults }) =>
      assertionResults.filter(({ status }) => status === "failed").map(({ fullName }) => fullName),
    );
    if (failed > 0) throw new Error(`${failed} of ${passed + failed} tests failed: ${names.slice(0, 5).join("; ")}`);
    return { passed, failed };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** A form of `weir bench`. */
function bench(form, options, more = {}) {
  return async ({ env }, limitMs) => {
    const main = join(root, "dist", "src", "cli", "main.js");
    const flags = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
    return lastJson(await node([main, "bench", form, "--json", ...flags], { ...env, ...more }, limitMs));
  };
}

/** In order of their worth: what comes when the time is over is not run. Limits in seconds, of the slowest that is still an answer. */
function stepsOf(size) {
  const { batch, length, steps, warmup, prompt, completion, group } = size;
  const shape = { batch, length };
  const step = { ...shape, steps, warmup };
  const grpo = { prompt, completion, group, steps: "2", warmup: "1" };
  return [
    { name: "products and abilities", limitS: 60, work: probe },
    { name: "XLA in a process of its own", limitS: 60, work: xla },
    { name: "start and compiling, bf16", limitS: 120, work: bench("engine", { ...shape, dtype: "bf16" }) },
    { name: "parity with the stored models", limitS: 150, work: parity },
    { name: "training step, bf16", limitS: 90, work: bench("step", { ...step, dtype: "bf16" }) },
    { name: "GRPO step, bf16", limitS: 120, work: bench("grpo", { ...grpo, dtype: "bf16" }) },
    {
      name: "training step, bf16, without XLA",
      limitS: 60,
      work: bench("step", { ...step, dtype: "bf16" }, { WEIR_XLA: "off" }),
    },
    { name: "training step, f32", limitS: 90, work: bench("step", { ...step, dtype: "f32" }) },
    { name: "training step, eager", limitS: 60, work: bench("step", { ...step, dtype: "f32", executor: "eager" }) },
    {
      name: "GRPO step, bf16, without XLA",
      limitS: 90,
      work: bench("grpo", { ...grpo, dtype: "bf16" }, { WEIR_XLA: "off" }),
    },
  ];
}

/** One step of the check, which never throws. */
async function measured({ name, limitS, work }, context) {
  const left = context.deadline - performance.now();
  if (left < 5_000) return { name, status: "not run", seconds: 0, reason: "the time was over" };
  const started = performance.now();
  const took = () => Number(((performance.now() - started) / 1000).toFixed(1));
  try {
    const result = await work(context, Math.min(left, limitS * 1000));
    return { name, status: "ok", seconds: took(), result };
  } catch (error) {
    return { name, status: "failed", seconds: took(), reason: String(error.message).slice(0, 1000) };
  }
}

/** A step's line for people. */
function lineOf({ name, status, seconds, reason, result }) {
  const numbers = Object.entries(result ?? {}).filter(([, value]) => typeof value !== "object");
  const text = reason ?? numbers.map(([key, value]) => `${key} ${value}`).join(", ");
  return `${status.padEnd(7)} ${seconds.toFixed(1).padStart(6)} s  ${name}: ${text}`;
}

async function check(folder, { out, minutes, rehearse }) {
  const env = { ...process.env, WEIR_CACHE: folder, TF_CPP_MIN_LOG_LEVEL: process.env.TF_CPP_MIN_LOG_LEVEL ?? "2" };
  const [found] = findEngines({ env });
  if (found === undefined)
    throw new Error(`${folder} holds no native engine for this machine; prepare it with --prepare`);
  const { path, reason } = locateFunctions(found.directory, env);
  if (path === null) throw new Error(reason);
  const gpu = describeGpu();
  say(
    `GPU: ${gpu ?? "no driver answers"}; Node ${process.version}; libtensorflow ${found.manifest.tensorflow} (${found.manifest.variant})`,
  );
  const context = { engine: found.directory, env, rehearse, deadline: performance.now() + minutes * 60_000 };
  const steps = [];
  for (const step of stepsOf(rehearse ? SIZES.rehearsal : SIZES.check)) {
    const done = await measured(step, context);
    steps.push(done);
    say(lineOf(done));
    if (done.result?.gpu === false && !rehearse) break;
  }
  const seen = steps[0]?.result?.gpu === true;
  writeFileSync(out, `${JSON.stringify({ gpu, node: process.version, rehearse, steps }, null, 2)}\n`);
  const wrong = steps.filter(({ status }) => status === "failed").map(({ name }) => name);
  if (!seen && !rehearse) {
    say(
      "TensorFlow sees no GPU: the driver is missing or too old, or CUDA's libraries do not load (TF_CPP_MIN_LOG_LEVEL=0 shows why)",
    );
    return 3;
  }
  say(wrong.length === 0 ? "ok" : `not ok: ${wrong.join(", ")}`);
  return wrong.length === 0 ? 0 : 1;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    prepare: { type: "string" },
    out: { type: "string", default: "gpu-check.json" },
    minutes: { type: "string", default: "8" },
    rehearse: { type: "boolean", default: false },
  },
});
const minutes = Number(values.minutes);
try {
  if (values.prepare !== undefined) await prepare(resolve(values.prepare));
  else if (positionals.length === 1 && minutes > 0) {
    process.exitCode = await check(resolve(positionals[0]), { ...values, minutes, out: resolve(values.out) });
  } else {
    say("usage: gpu-check.mjs --prepare FOLDER | gpu-check.mjs FOLDER [--out FILE] [--minutes N] [--rehearse]");
    process.exitCode = 2;
  }
} catch (error) {
  say(`gpu-check: ${error.message}`);
  process.exitCode = 1;
}
