import type { Command } from "commander";
import { type ExitCode, printJson } from "../output.js";
import { checkSequences, readSequences, withEngine } from "../with-engine.js";

/** `weir logprobs`: log-probs and entropies of given token sequences; n tokens give n − 1 numbers each. */

export interface LogprobsCommandOptions {
  readonly model: string;
  readonly in: string;
  readonly backend?: string;
  readonly rotaryDtype?: string;
}

export async function logprobsCommand(options: LogprobsCommandOptions): Promise<ExitCode> {
  const sequences = await readSequences(options.in);
  const scored = await withEngine(
    options.model,
    options.backend,
    (engine, signal) => {
      checkSequences(sequences, engine);
      return engine.scoreSequences(sequences, { signal });
    },
    options.rotaryDtype,
  );
  printJson(scored);
  return 0;
}

export function register(program: Command): void {
  program
    .command("logprobs")
    .description("log-probs and entropies of token sequences under a model")
    .requiredOption("--model <dir>", "Hugging Face folder")
    .requiredOption("--in <file>", 'JSON file: {"sequences": [[id, …], …]}')
    .option("--backend <name>", "auto, tensorflow, wasm or cpu", "auto")
    .option("--rotary-dtype <type>", "float32, or bfloat16 for models that were cast as a whole, buffers included")
    .option("--json", "print JSON (the only form there is)")
    .addHelpText(
      "after",
      '\nPrints {"logprobs": [[…]], "entropy": [[…]]} in nats: entry i is that of token i + 1 given the tokens before it.',
    )
    .action(async (options: LogprobsCommandOptions) => {
      process.exitCode = await logprobsCommand(options);
    });
}
