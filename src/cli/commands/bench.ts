/** `weir bench`: measures weir on this machine, alone and against peers. */
import type { Command } from "commander";
import { benchEngine, type EngineBenchOptions } from "../bench/engine.js";
import { benchEngines, type EnginesOptions } from "../bench/engines.js";
import { benchGrpo, type GrpoOptions } from "../bench/grpo.js";
import { benchGuardCost, type GuardCostOptions } from "../bench/guard/cost.js";
import { FAULTS } from "../bench/guard/faults.js";
import { benchGuard, type GuardBenchOptions } from "../bench/guard/guard.js";
import { benchLength, type LengthOptions } from "../bench/length.js";
import { addEngineOptions, addOutputOptions, type OutputChoice } from "../bench/options.js";
import { showResult } from "../bench/output.js";
import { benchOverlap, type OverlapOptions } from "../bench/overlap.js";
import { benchPipeline, type PipelineBenchOptions } from "../bench/pipeline.js";
import { benchSample, type SampleOptions } from "../bench/sample.js";
import { benchSoak, type SoakOptions } from "../bench/soak.js";
import { benchStep, type StepOptions } from "../bench/step.js";
import { registerPeers, registerReport } from "./bench-peers.js";

const MICRO_BATCH_TOKENS = "16384";

/** A measuring form: engine options, a model folder, output options. */
function measuring(bench: Command, name: string, description: string): Command {
  const command = bench.command(name).description(description);
  return addOutputOptions(addEngineOptions(command));
}

function withModel(command: Command): Command {
  return command.option("--model <dir>", "Hugging Face folder (default: random weights, 20.8 M, Qwen2-shaped)");
}

export function register(program: Command): void {
  const bench = program
    .command("bench")
    .description(
      "measure speed and memory: engine, SFT step, sampling, RL step, lengths, many steps, pipeline, guard, pairings of engines, against peers",
    );

  withModel(measuring(bench, "engine", "matrix products, start time, compile time and graphs of one step"))
    .option("--batch <rows>", "rows of the step", "8")
    .option("--length <tokens>", "tokens of a row", "256")
    .action(async (options: EngineBenchOptions & OutputChoice) => showResult(await benchEngine(options), options));

  withModel(measuring(bench, "step", "supervised optimiser steps: tokens/s and share of the matrix peak"))
    .option("--batch <rows>", "rows of a step", "8")
    .option("--length <tokens>", "input tokens of a row, each with a target", "256")
    .option("--steps <n>", "measured steps", "12")
    .option("--warmup <n>", "steps before them, not counted", "3")
    .option("--micro-batch-tokens <n>", "padded tokens of one micro-batch", MICRO_BATCH_TOKENS)
    .action(async (options: StepOptions & OutputChoice) => showResult(await benchStep(options), options));

  withModel(measuring(bench, "sample", "sampling: new tokens/s"))
    .option("--rows <n>", "sequences of a call, in groups", "32")
    .option("--group <n>", "sequences per prompt", "8")
    .option("--prompt <tokens>", "tokens of a prompt", "256")
    .option("--completion <tokens>", "new tokens of a sequence", "64")
    .option("--steps <n>", "measured calls", "3")
    .option("--warmup <n>", "calls before them, not counted", "1")
    .action(async (options: SampleOptions & OutputChoice) => showResult(await benchSample(options), options));

  withModel(measuring(bench, "grpo", "whole RL steps: sample, reward, train"))
    .option("--prompt <tokens>", "tokens of a prompt", "1024")
    .option("--completion <tokens>", "new tokens of a sequence", "64")
    .option("--group <n>", "sequences per prompt", "8")
    .option("--prompts <n>", "prompts of a step", "4")
    .option("--steps <n>", "measured steps", "3")
    .option("--warmup <n>", "steps before them, not counted", "1")
    .option("--micro-batch-tokens <n>", "padded tokens of one micro-batch", MICRO_BATCH_TOKENS)
    .action(async (options: GrpoOptions & OutputChoice) => showResult(await benchGrpo(options), options));

  withModel(measuring(bench, "length", "one optimiser step per doubling of the prompt: time and memory"))
    .option("--from <tokens>", "first prompt length", "2048")
    .option("--to <tokens>", "last prompt length", "32768")
    .option("--group <n>", "completions of the prompt", "4")
    .option("--completion <tokens>", "tokens of a completion", "64")
    .option("--micro-batch-tokens <n>", "padded tokens of one micro-batch (default: the prompt and its group)")
    .action(async (options: LengthOptions & OutputChoice) => {
      const { result, exitCode } = await benchLength(options);
      await showResult(result, options);
      process.exitCode = exitCode;
    });

  measuring(bench, "soak", "many RL steps of a small model: does memory grow")
    .option("--steps <n>", "steps", "1000")
    .action(async (options: SoakOptions & OutputChoice) => showResult(await benchSoak(options), options));

  const overlap = bench
    .command("overlap")
    .description("RL steps/s with sampler and trainer in two processes: one after the other, and at once");
  addOutputOptions(overlap)
    .option("--pairs <n>", "runs of each kind, which alternate", "5")
    .option("--steps <n>", "measured steps of a run", "20")
    .option("--warmup <n>", "steps before them, not counted", "5")
    .option("--lag <n>", "make one run of this async.maxLag instead")
    .option("--threads <n>", "with --lag: threads of each of the two processes", "1")
    .action(async (options: OverlapOptions & OutputChoice) => showResult(await benchOverlap(options), options));
  addOutputOptions(
    bench.command("pipeline").description("the pipeline over parts that cost nothing: samples/s, and does memory grow"),
  )
    .option("--samples <n>", "samples to train on", "1000000")
    .option("--prompts <n>", "groups of a step", "32")
    .option("--group <n>", "samples of a group", "8")
    .option("--tokens <n>", "tokens of a sample", "1")
    .option("--lag <n>", "largest lag (async.maxLag); 0 is synchronous", "0")
    .action(async (options: PipelineBenchOptions & OutputChoice) => showResult(await benchPipeline(options), options));

  addOutputOptions(
    bench
      .command("engines")
      .description("a few RL steps of each configuration: tokens/s, hand-over of weights, mismatch, time of a step")
      .argument("<config...>", "YAML or JSON files of options, one for each pairing of sampler and trainer"),
  )
    .option("--steps <n>", "measured steps of each", "5")
    .option("--warmup <n>", "steps before them, not counted", "2")
    .option(
      "--set <path=value>",
      "override an option in all of them (repeatable)",
      (value: string, all: string[]) => [...all, value],
      [],
    )
    .action(async (files: string[], options: EnginesOptions & OutputChoice) =>
      showResult(await benchEngines(files, options), options),
    );

  registerGuard(bench);
  registerPeers(bench);
  registerReport(bench);
}

function registerGuard(bench: Command): void {
  const guard = bench
    .command("guard")
    .description("faults in small runs: does the guard find them, how soon, and what is the training worth in the end");
  addOutputOptions(guard)
    .option("--guard <name>", "the guard part (guard.actor)", "standard")
    .option("--fault <name>", "only this fault (repeatable)", (value: string, all: string[]) => [...all, value], [])
    .option("--injections <n>", "injections of each fault under the guard", "10")
    .option("--seeds <n>", "seeds of data and warm-up; with each, runs are followed to their end", "3")
    .option("--steps <n>", "RL steps of a run that is followed to its end", "45")
    .option(
      "--quick",
      "one injection of each fault with one seed, and no runs without the guard; some minutes on two cores",
    )
    .addHelpText("after", `\nFaults:\n${FAULTS.map(({ name, about }) => `  ${name.padEnd(17)}${about}`).join("\n")}`)
    .action(async (options: GuardBenchOptions & OutputChoice) => showResult(await benchGuard(options), options));
  const cost = bench
    .command("guard-cost")
    .description("what the guard adds to an RL step: runs with and without it, which alternate step by step");
  addOutputOptions(cost)
    .option(
      "--model <dir>",
      "Hugging Face folder with the demo's vocabulary (default: random weights, 17 M, Qwen2-shaped)",
    )
    .option("--pairs <n>", "largest number of pairs", "20")
    .option("--steps <n>", "steps of each arm in a pair", "5")
    .option("--warmup <n>", "steps before them, not counted", "3")
    .option("--width <percent>", "stop earlier where every interval reaches this far above and below its mean", "2")
    .action(async (options: GuardCostOptions & OutputChoice) => showResult(await benchGuardCost(options), options));
}
