#!/usr/bin/env node
import { Command, CommanderError } from "commander";
import { packageVersion } from "../model/tensor/native/index.js";
import { printable } from "../printable.js";
import { register as registerBench } from "./commands/bench.js";
import { register as registerControl } from "./commands/control.js";
import { register as registerData } from "./commands/data.js";
import { register as registerDemo } from "./commands/demo.js";
import { register as registerDoctor } from "./commands/doctor.js";
import { register as registerEval } from "./commands/eval.js";
import { register as registerExport } from "./commands/export.js";
import { register as registerGenerate } from "./commands/generate.js";
import { register as registerImport } from "./commands/import.js";
import { register as registerInspect } from "./commands/inspect.js";
import { register as registerLogprobs } from "./commands/logprobs.js";
import { register as registerMonitor } from "./commands/monitor.js";
import { register as registerReplay } from "./commands/replay.js";
import { register as registerScore } from "./commands/score.js";
import { register as registerSetup } from "./commands/setup.js";
import { register as registerSimulate } from "./commands/simulate.js";
import { register as registerTokenize } from "./commands/tokenize.js";
import { register as registerTrain } from "./commands/train.js";
import { register as registerWarmstart } from "./commands/warmstart.js";
import { register as registerWorker } from "./commands/worker.js";
import { fail, tolerateClosedPipe } from "./output.js";

/** The `weir` command: wires the commands together and turns errors into exit codes. */

/** The program with all its commands; parsing throws CommanderError instead of ending the process. */
export function createProgram(): Command {
  const program = new Command("weir")
    .description("Train language models to reason over long documents with reinforcement learning.")
    .version(packageVersion())
    .configureOutput({
      writeOut: (text) => process.stdout.write(printable(text)),
      writeErr: (text) => process.stderr.write(printable(text)),
    })
    .showHelpAfterError("(weir COMMAND --help shows the options)");
  const registrations = [
    registerTrain,
    registerSimulate,
    registerWorker,
    registerEval,
    registerGenerate,
    registerLogprobs,
    registerScore,
    registerMonitor,
    registerControl,
    registerInspect,
    registerReplay,
    registerData,
    registerTokenize,
    registerImport,
    registerExport,
    registerDemo,
    registerWarmstart,
    registerBench,
    registerDoctor,
    registerSetup,
  ];
  for (const register of registrations) register(program);
  for (const command of [program, ...program.commands.flatMap((command) => [command, ...command.commands])])
    command.exitOverride();
  return program;
}

async function main(argv: readonly string[]): Promise<void> {
  tolerateClosedPipe();
  try {
    await createProgram().parseAsync([...argv]);
  } catch (error) {
    if (error instanceof CommanderError && error.code === "commander.help") process.exitCode = argv.length > 2 ? 0 : 2;
    else process.exitCode = fail(error);
  }
}

await main(process.argv);
