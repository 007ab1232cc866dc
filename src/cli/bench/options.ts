/** Options that all measuring forms of `weir bench` share, and the engine options that follow from them. */
import { type Command, Option } from "commander";
import { BACKEND_CHOICES, type EngineOptions, EXECUTOR_CHOICES, LORA_TARGETS } from "../../contracts/engine.js";
import { numberAtLeast, wholeNumber } from "../arguments.js";
import { backendNamed, defaultEngineOptions } from "../with-engine.js";

/** Element type of the large matrix products. */
export const DTYPES = ["f32", "bf16"] as const;
export type Dtype = (typeof DTYPES)[number];

export interface EngineChoice {
  readonly dtype: Dtype;
  readonly executor: EngineOptions["executor"];
  readonly backend: string;
  /** GiB as text. */
  readonly memoryGib?: string;
  /** Rank as text. */
  readonly lora?: string;
}

export interface OutputChoice {
  readonly json?: boolean;
  readonly out?: string;
}

/** A micro-batch of tens of thousands of tokens on few cores takes long; one request may take an hour. */
const REQUEST_TIMEOUT_MS = 3_600_000;
/** Less than the native engine takes by itself. */
const MINIMUM_MEMORY_GIB = 0.25;

/** Errors: WEIR_E_USAGE. */
export function engineOptions(choice: EngineChoice): EngineOptions {
  return {
    ...defaultEngineOptions(),
    backend: backendNamed(choice.backend),
    executor: choice.executor,
    precision: choice.dtype === "bf16" ? "bfloat16" : "float32",
    requestTimeoutMs: REQUEST_TIMEOUT_MS,
    ...(choice.memoryGib === undefined
      ? {}
      : { memoryGiB: numberAtLeast("memory-gib", choice.memoryGib, MINIMUM_MEMORY_GIB) }),
    ...(choice.lora === undefined ? {} : { lora: adapters(wholeNumber("lora", choice.lora, 1)) }),
  };
}

/** Adapters of a rank on every matrix of the layers. */
function adapters(rank: number): EngineOptions["lora"] {
  return { rank, alpha: 2 * rank, targets: LORA_TARGETS, seed: 0 };
}

export function addEngineOptions(command: Command): Command {
  return command
    .addOption(new Option("--dtype <type>", "element type of the matrix products").choices(DTYPES).default("bf16"))
    .addOption(
      new Option("--executor <name>", "how the engine runs the model").choices(EXECUTOR_CHOICES).default("auto"),
    )
    .option("--backend <name>", BACKEND_CHOICES.join(", "), "auto")
    .option("--memory-gib <gib>", "memory that the engine plans for (default: 80 % of what is free)")
    .option("--lora <rank>", "train adapters of this rank instead of all weights");
}

export function addOutputOptions(command: Command): Command {
  return command
    .option("--json", "print the result as one JSON object, the last line of stdout")
    .option("--out <file>", "also write the JSON object to a file");
}
