/** `weir eval --bench`: asks a policy the questions of benchmarks, scores it, and leaves a folder with every response. */

import { basename, resolve } from "node:path";
import { assertJudge, evaluateBenchmark } from "../../actors/evaluation/evaluate-benchmark.js";
import { EvaluationFolder, type EvaluationSettings, inOrder } from "../../actors/evaluation/evaluation-folder.js";
import { bucketLabels, DEFAULT_BUCKETS, lengthBucket } from "../../actors/evaluation/length-buckets.js";
import { type EvaluationReport, evaluationReport } from "../../actors/evaluation/report.js";
import { configuredPromptVersion } from "../../actors/judge/configured-judge.js";
import type { PartRegistry } from "../../actors/parts/registry.js";
import { loadConfig, parseConfig } from "../../config/load.js";
import type { Config } from "../../config/schema.js";
import { applySettings } from "../../config/settings.js";
import type { Benchmark } from "../../contracts/benchmark.js";
import type { Judge } from "../../contracts/judge.js";
import type { RewardMode } from "../../contracts/reward.js";
import type { Json } from "../../contracts/task.js";
import { streamRecords } from "../../data/records.js";
import { WeirError } from "../../errors.js";
import { sha256File } from "../../store/durable.js";
import { growingNumbers, numberAtLeast, wholeNumber } from "../arguments.js";
import { type ExitCode, note, print, printJson, progress } from "../output.js";
import { backendNamed } from "../with-engine.js";
import { enginesWithoutTrainer, registryWithoutTrainer } from "../without-trainer.js";
import { type BenchFile, benchFiles } from "./bench-files.js";
import type { EvalCommandOptions } from "./options.js";
import { type EvalSampling, modelOfRun, needsTrainer, type OpenPolicy, openEndpoint, openSampler } from "./policies.js";
import { reportTables } from "./tables.js";

type Options = EvalCommandOptions & {
  readonly bench: readonly string[];
  readonly mode: RewardMode;
  readonly maxTokens: string;
  readonly temperature: string;
  readonly topP: string;
};

/** A sampler call of an evaluation has no deadline of its own but that of a process that hangs: long prompts take long on a CPU. */
const CALL_TIMEOUT_MS = 6 * 3_600_000;

/** What is evaluated, by what, with what. */
interface Setup {
  readonly config: Config;
  readonly registry: PartRegistry;
  readonly benches: readonly (BenchFile & { readonly benchmark: Benchmark; readonly sha256: string })[];
  readonly judge: Judge | null;
  readonly policy: OpenPolicy;
  readonly sampling: EvalSampling;
  readonly seed: number;
  readonly requireThink: boolean;
  readonly bounds: readonly number[];
  /** Questions of each benchmark at most, and of each of its length buckets; null takes all. */
  readonly limit: number | null;
  readonly perBucket: number | null;
}

export async function benchmarkCommand(options: Options): Promise<ExitCode> {
  const controller = new AbortController();
  const onSignal = () => controller.abort(new WeirError("WEIR_E_ENGINE_ABORTED", "interrupted"));
  process.once("SIGINT", onSignal).once("SIGTERM", onSignal);
  const closers: (() => Promise<unknown> | unknown)[] = [];
  try {
    const setup = await setUp(options, closers, controller.signal);
    const out = options.out ?? defaultFolder(options);
    const folder = await EvaluationFolder.open(out, settingsOf(setup), note);
    closers.push(() => folder.close());
    await evaluateAll(setup, folder, options, controller.signal).catch((error: unknown) => {
      note(`what is there is in ${out}; the same command with --out ${out} goes on with it`);
      throw error;
    });
    const report = await finish(setup, folder);
    if (options.json) printJson(report);
    else for (const table of reportTables(report)) print(`${table}\n`);
    return conclude(report, out);
  } finally {
    process.off("SIGINT", onSignal).off("SIGTERM", onSignal);
    for (const close of closers.reverse()) await close();
  }
}

async function setUp(
  options: Options,
  closers: (() => Promise<unknown> | unknown)[],
  signal: AbortSignal,
): Promise<Setup> {
  const sampling: EvalSampling = {
    temperature: numberAtLeast("temperature", options.temperature, 0),
    topP: numberAtLeast("top-p", options.topP, 0),
    maxTokens: wholeNumber("max-tokens", options.maxTokens, 1),
    maxInput: wholeNumber("max-input", options.maxInput, 1),
    rows: wholeNumber("rows", options.rows, 1),
    samples: wholeNumber("samples", options.samples ?? "1", 1),
  };
  // Before a model is loaded.
  const asked = {
    seed: wholeNumber("seed", options.seed),
    bounds: options.buckets === undefined ? DEFAULT_BUCKETS : growingNumbers("buckets", options.buckets),
    limit: options.limit === undefined ? null : wholeNumber("limit", options.limit, 1),
    perBucket: options.perBucket === undefined ? null : wholeNumber("per-bucket", options.perBucket, 1),
  };
  const config = await configOf(options);
  const weights = { sha256: "" };
  const pool = options.endpoint === undefined ? enginesWithoutTrainer(config, weights) : null;
  const registry = await registryWithoutTrainer(config, pool, options.parts, needsTrainer);
  const files = await benchFiles(options.bench, registry.names("benchmark"), options.benchData ?? null);
  const benches: Setup["benches"] = await Promise.all(
    files.map(async ({ name, file }) => ({
      ...{ name, file, sha256: await sha256File(file) },
      benchmark: registry.build("benchmark", { benchmark: name }),
    })),
  );
  const judge = judgeOf(options, config, registry);
  for (const { name, benchmark } of benches) assertJudge(name, benchmark, judge);
  closers.push(
    ...benches.map(
      ({ benchmark }) =>
        () =>
          benchmark.dispose?.(),
    ),
    () => judge?.dispose?.(),
  );
  const policy =
    options.endpoint === undefined
      ? await openSampler(config, registry, pool, weights, sampling)
      : await openEndpoint(
          {
            url: options.endpoint,
            model: options.model as string,
            apiKeyEnv: options.apiKeyEnv ?? null,
            tokenizer: options.tokenizer ?? null,
            concurrency: wholeNumber("concurrency", options.concurrency, 1),
            timeoutMs: 1_000 * numberAtLeast("timeout-s", options.timeoutS, 0.001),
          },
          sampling,
        );
  closers.push(() => policy.close());
  await judge?.connect?.({ signal });
  return {
    ...{ config, registry, benches, judge, policy, sampling, requireThink: config.reward.requireThink },
    ...asked,
  };
}

/** The configuration of rewards, judge and sampler. Errors: WEIR_E_USAGE where not exactly one policy is named. */
async function configOf(options: Options): Promise<Config> {
  const { model, run, step, endpoint, config: file, set } = options;
  const named = [endpoint ?? model, run, file].filter((one) => one !== undefined);
  if (named.length !== 1)
    throw new WeirError(
      "WEIR_E_USAGE",
      "weir eval --bench needs one policy: --model DIR, --run RUN, --config FILE, or --endpoint URL with --model NAME",
    );
  if (endpoint !== undefined && model === undefined)
    throw new WeirError("WEIR_E_USAGE", "--endpoint needs --model with the name of the model there");
  if (step !== undefined && run === undefined) throw new WeirError("WEIR_E_USAGE", "--step goes with --run");
  const folder =
    run === undefined ? (model ?? "") : await modelOfRun(run, step === undefined ? null : wholeNumber("step", step));
  const processes = wholeNumber("processes", options.processes ?? "1", 1);
  if (endpoint !== undefined && processes > 1)
    throw new WeirError(
      "WEIR_E_USAGE",
      "--processes are engines of weir; requests to a server at the same time are --concurrency",
    );
  const { mode, think } = options;
  const plain = {
    model: { path: folder === "" ? "." : folder },
    data: { train: options.bench.map((spec) => spec.slice(spec.indexOf("=") + 1)) },
    engine: { backend: backendNamed(options.backend), requestTimeoutMs: CALL_TIMEOUT_MS },
    rollout: { engines: processes },
    // As in QwenLong-L1's evaluation, unlike its training.
    reward: { mode, requireThink: think ?? false },
  };
  if (file === undefined) return parseConfig(applySettings(plain, set));
  const given = [
    ...(options.processes === undefined ? [] : [`rollout.engines=${processes}`]),
    ...(think === undefined ? [] : [`reward.requireThink=${think}`]),
  ];
  return loadConfig(file, [...given, ...set]);
}

/** The judge that is asked: one that is named, or that the configuration has an address of. */
function judgeOf({ judge }: Options, { reward }: Config, registry: PartRegistry): Judge | null {
  if (judge === undefined && reward.judge.url === null && reward.judge.actor === "openai") return null;
  return registry.build("judge", { judge: judge ?? reward.judge.actor });
}

/** What makes two evaluations the same; where they differ, their responses do not go together. */
function settingsOf({ benches, policy, sampling, seed, requireThink, judge, config }: Setup): EvaluationSettings {
  const { temperature, topP, maxTokens, maxInput, samples } = sampling;
  const { url, model, path } = config.reward.judge;
  const prompt = judge === null ? null : configuredPromptVersion(config.reward);
  return {
    version: 1,
    policy: policy.identity,
    benchmarks: benches.map(({ name, file, sha256 }) => ({ name, file: basename(file), sha256 })),
    ...{ samples, seed, temperature, topP, maxTokens, maxInput },
    ...{ mode: config.reward.mode, requireThink },
    judge: judge === null ? null : { kind: judge.kind, url, model, path, prompt },
  };
}

async function evaluateAll(
  setup: Setup,
  folder: EvaluationFolder,
  options: Options,
  signal: AbortSignal,
): Promise<void> {
  const { benches, policy, judge, requireThink, sampling, seed, config, bounds, limit, perBucket } = setup;
  const line = progress();
  const bucketOf = (tokens: number | null) => lengthBucket(tokens, bounds);
  try {
    for (const { name, file, benchmark } of benches) {
      let done = 0;
      let without = 0;
      await evaluateBenchmark(
        {
          ...{ name, file, benchmark, judge, requireThink, seed, bucketOf },
          rows: streamRecords(file),
          responder: policy.responder,
          samples: sampling.samples,
          ...{ limit, perBucket },
          known: (item, sample) => folder.outcomeOf(name, item, sample),
          stored: (item, sample) => folder.find(name, item, sample),
          retryFailed: options.retryFailed ?? false,
          record: (response) => {
            folder.record(response);
            done++;
            if (response.outcome.kind !== "scored") without++;
            line.update(`${name}: ${done} responses${without > 0 ? `, ${without} of them without a score` : ""}`);
          },
          scoreTimeoutMs: config.reward.timeoutMs,
          scoreConcurrency: config.reward.concurrency,
          onWait: (reason) => {
            if (reason !== null) line.update(`${name}: waiting for the judge: ${reason}`);
          },
        },
        signal,
      );
    }
  } finally {
    line.done();
  }
}

async function finish(
  { benches, sampling, bounds, seed, policy }: Setup,
  folder: EvaluationFolder,
): Promise<EvaluationReport> {
  const names = benches.map(({ name }) => name);
  const bucketOf = (tokens: number | null) => lengthBucket(tokens, bounds);
  const report = evaluationReport(
    benches.map(({ name, benchmark }) => ({ name, correctAt: benchmark.correctAt ?? 1 })),
    inOrder(folder.responses, names),
    { samples: sampling.samples, bucketOf, bucketLabels: bucketLabels(bounds), seed },
    policy.identity,
  );
  await folder.finish(report as unknown as Json, { benchmarks: names, bucketOf });
  return report;
}

function conclude({ benchmarks }: EvaluationReport, out: string): ExitCode {
  const all = Object.values(benchmarks).map((one) => one.all);
  const without = all.reduce((sum, { unscored, unanswered }) => sum + unscored + unanswered, 0);
  if (without > 0) note(`${without} responses have no score; the same command with --retry-failed tries them again`);
  note(`every response is in ${out}`);
  return all.some(({ scored }) => scored > 0) ? 0 : 1;
}

/** A folder of its own for each evaluation that is not named. */
function defaultFolder({ model, run, config }: Options): string {
  const name = basename(resolve(model ?? run ?? config ?? "policy")).replace(/[^\w.-]+/g, "_");
  return `evaluations/${name}-${new Date().toISOString().replace(/[:.]/g, "-")}`;
}
