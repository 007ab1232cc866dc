import type { Command } from "commander";
import { counterKey } from "../../algorithms/random.js";
import type { Engine } from "../../contracts/engine.js";
import type { ChatMessage } from "../../contracts/task.js";
import { assertInVocabulary } from "../../data/measure.js";
import { WeirError } from "../../errors.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import { loadTokenizer } from "../../model/io/tokenizer.js";
import { numberAtLeast, wholeNumber } from "../arguments.js";
import { type ExitCode, printExact, printJson } from "../output.js";
import { checkSequences, readSequences, withEngine } from "../with-engine.js";

/** `weir generate`: continues token sequences, or answers a chat prompt. */

export interface GenerateCommandOptions {
  readonly model: string;
  readonly in?: string;
  readonly prompt?: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  readonly topK: number;
  readonly seed: number;
  readonly backend?: string;
  readonly rotaryDtype?: string;
  readonly json?: boolean;
}

export async function generateCommand(options: GenerateCommandOptions): Promise<ExitCode> {
  if ((options.in === undefined) === (options.prompt === undefined)) {
    throw new WeirError("WEIR_E_USAGE", "weir generate takes --in FILE or --prompt TEXT, and not both", {});
  }
  const tokenizer = options.prompt === undefined && options.json ? null : await loadTokenizer(options.model);
  const messages: ChatMessage[] = [{ role: "user", content: options.prompt ?? "" }];
  const sequences =
    options.in === undefined
      ? [tokenizer?.applyChatTemplate(messages, { addGenerationPrompt: true }).ids ?? []]
      : await readSequences(options.in);
  const generate = async (engine: Engine, signal: AbortSignal) => {
    if (options.prompt !== undefined && tokenizer)
      for (const ids of sequences) assertInVocabulary(ids, "the prompt", tokenizer, engine.model.vocabSize);
    checkSequences(sequences, engine, options.maxTokens);
    const { temperature, topP, topK, maxTokens } = options;
    const reply = await engine.sampler.sample(
      {
        id: "generate",
        policy: null,
        purpose: "evaluation",
        deadlineMs: Number.POSITIVE_INFINITY,
        prompts: sequences.map((promptIds, index) => ({
          promptIds,
          seeds: [counterKey(options.seed, "generate", index)],
        })),
        params: {
          temperature,
          topP,
          topK,
          maxTokens,
          stopIds: withEndOfTurn(engine.model.stopIds, tokenizer?.endOfTurn ?? null),
        },
      },
      { signal },
    );
    return reply.sequences.map((group) => [...(group[0]?.tokenIds ?? [])]);
  };
  const completions = await withEngine(options.model, options.backend, generate, options.rotaryDtype);
  if (options.json) printJson({ completions });
  else for (const ids of completions) printExact(tokenizer?.decode(ids, { skipSpecialTokens: true }) ?? "");
  return 0;
}

/** A parser for commander. Errors: WEIR_E_USAGE. */
const whole = (option: string, minimum: number) => (text: string) => wholeNumber(option, text, minimum);
const real = (option: string, minimum: number) => (text: string) => numberAtLeast(option, text, minimum);

export function register(program: Command): void {
  program
    .command("generate")
    .description("sample from a model: continue token sequences or answer a prompt through its chat template")
    .requiredOption("--model <dir>", "Hugging Face folder")
    .option("--in <file>", 'JSON file: {"sequences": [[id, …], …]}')
    .option("--prompt <text>", "a user message, put through the chat template")
    .option("--max-tokens <n>", "longest completion", whole("max-tokens", 1), 128)
    .option("--temperature <t>", "0 is greedy", real("temperature", 0), 0)
    .option("--top-p <p>", "nucleus mass; 1 switches it off", real("top-p", 0), 1)
    .option("--top-k <k>", "0 switches it off", whole("top-k", 0), 0)
    .option("--seed <n>", "seed of the sampling", whole("seed", 0), 1)
    .option("--backend <name>", "auto, tensorflow, wasm or cpu", "auto")
    .option("--rotary-dtype <type>", "float32, or bfloat16 for models that were cast as a whole, buffers included")
    .option("--json", 'print {"completions": [[id, …], …]}; a stop id ends a completion and is part of it')
    .addHelpText(
      "after",
      "\nIn a pipe or a file the answer is written as it is; on a terminal its control characters are shown as \\uXXXX.",
    )
    .action(async (options: GenerateCommandOptions) => {
      process.exitCode = await generateCommand(options);
    });
}
