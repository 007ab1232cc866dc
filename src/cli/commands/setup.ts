/** `weir setup`: puts the native engine into the per-user cache. In a clone `npm run setup` also installs and builds. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { type Command, Option } from "commander";
import { packageRoot } from "../../model/tensor/native/index.js";
import { type ExitCode, note, print, printJson, progress } from "../output.js";

export interface SetupOptions {
  /** False with `--no-native`. */
  readonly native?: boolean;
  readonly cpu?: boolean;
  readonly gpu?: boolean;
  readonly force?: boolean;
  readonly json?: boolean;
}

interface PartResult {
  readonly status: "ready" | "reused" | "unavailable" | "skipped";
  readonly reason: string;
}

interface SetupResult {
  readonly native: PartResult;
  /** For the CPU. */
  readonly kernels: PartResult;
  /** For a GPU. */
  readonly functions: PartResult;
  readonly seconds: number;
}

interface SetupModule {
  runSetup(options: {
    readonly native: boolean;
    readonly variant: "auto" | "cpu" | "gpu";
    readonly force: boolean;
    readonly packages: boolean;
    readonly say: (line: string) => void;
  }): Promise<SetupResult>;
}

/** Runs the set-up with progress; 0 also where the native engine could not be set up, since weir then runs on wasm. */
export async function setupCommand(options: SetupOptions): Promise<ExitCode> {
  const script = pathToFileURL(join(packageRoot(), "setup", "setup.mjs")).href;
  const { runSetup } = (await import(script)) as SetupModule;
  const line = progress();
  const result = await runSetup({
    native: options.native ?? true,
    variant: options.cpu ? "cpu" : options.gpu ? "gpu" : "auto",
    force: options.force ?? false,
    // The running program is part of the installed packages, so they are not replaced.
    packages: false,
    say: (text) => line.update(text),
  });
  line.done();
  if (options.json) printJson(result);
  else if (result.native.status === "unavailable") note(result.native.reason);
  else print(`${result.native.reason} (${result.seconds.toFixed(1)} s)`);
  if (options.json) return 0;
  for (const { status, reason } of [result.kernels, result.functions]) {
    if (status === "unavailable") note(reason);
    if (status === "ready") print(reason);
  }
  return 0;
}

export function register(program: Command): void {
  program
    .command("setup")
    .description("set up the native engine (libtensorflow through pip, addon compiled here) in the per-user cache")
    .option("--no-native", "leave the native engine out")
    .addOption(new Option("--cpu", "use the CPU build even where an NVIDIA driver is found").conflicts("gpu"))
    .addOption(new Option("--gpu", "use the GPU build").conflicts("cpu"))
    .option("--force", "set up again even where a working engine is found")
    .option("--json", "print the result as JSON")
    .addHelpText(
      "after",
      "\nExit codes: 0 set up, or running on wasm with the reason in one line, 1 failed, 2 wrong usage.",
    )
    .action(async (options: SetupOptions) => {
      process.exitCode = await setupCommand(options);
    });
}
