/** `weir doctor`: capabilities of this machine, what weir uses, and why; with `--engine` those of a server. */
import type { Command } from "commander";
import { WeirError } from "../../errors.js";
import { type DoctorReport, runDoctor } from "../doctor.js";
import { type ExitCode, note, print, printJson, table } from "../output.js";
import { type EngineDoctorOptions, engineDoctorCommand } from "./doctor-engine.js";

/** 0 healthy, 1 usable with a problem to look at, 4 no backend computes or the native engine that is set up fails. */
export function doctorExitCode(report: DoctorReport): ExitCode {
  if (report.backend === null) return 4;
  if (report.tensorflow.path !== null && report.backend !== "tensorflow") return 4;
  return report.problems.length > 0 ? 1 : 0;
}

/** Rows of the report. */
export function doctorRows(report: DoctorReport): (readonly [string, string])[] {
  const ability = (probe: { readonly ok: boolean; readonly reason?: string }) =>
    probe.ok ? "yes" : `no: ${probe.reason ?? "unknown"}`;
  const { gemm } = report;
  const speed = (value: number | null | undefined) => (typeof value === "number" ? `${value} GFLOP/s` : "not measured");
  return [
    ["weir", report.weir],
    ["Node", `${report.node.version} (${report.node.required} expected)`],
    ["machine", `${report.machine.platform}, ${report.machine.cores} cores, ${gib(report.machine.memoryBytes)} GiB`],
    [
      "memory limit",
      report.machine.memoryLimit === null
        ? "none"
        : `${gib(report.machine.memoryLimit.bytes)} GiB (${report.machine.memoryLimit.file})`,
    ],
    ["memory free", `${gib(report.machine.freeBytes)} GiB`],
    ["CPU", report.machine.cpu],
    ["backend", report.backend ?? "none"],
    ["libtensorflow", report.tensorflow.version ?? "none"],
    ["bf16", ability(report.bf16)],
    ["XLA", ability(report.xla)],
    ["kernels", ability(report.kernels)],
    ["GPU", report.gpu.ok ? (report.gpu.device ?? "yes") : ability(report.gpu)],
    ["threads", `${report.threads.count} (${report.threads.source})`],
    [`GEMM f32${gemm ? ` ${gemm.edge}³` : ""}`, speed(gemm?.f32)],
    [`GEMM bf16${gemm ? ` ${gemm.edge}³` : ""}`, speed(gemm?.bf16)],
  ];
}

const gib = (bytes: number) => (bytes / 2 ** 30).toFixed(1);

/** Runs the doctor and prints its report; resolves to the exit code. */
export async function doctorCommand(options: { readonly json?: boolean }): Promise<ExitCode> {
  const report = await runDoctor();
  if (options.json) {
    printJson(report);
  } else {
    table(["what", "found"], doctorRows(report));
    print();
    for (const choice of report.choices) print(`${choice.what}: ${choice.chosen} — ${choice.why}`);
    for (const problem of report.problems) note(`look at: ${problem}`);
  }
  return doctorExitCode(report);
}

export function register(program: Command): void {
  program
    .command("doctor")
    .description("report Node, backend, libtensorflow, bf16/XLA/GPU probes, threads and measured speed, with reasons")
    .option("--json", "print the report as JSON")
    .option(
      "--engine <url>",
      "say what the server at this address can do instead (vLLM, SGLang, Tinker-compatible, NATS)",
    )
    .option("--config <file>", "with --engine: say whether this configuration can work with its servers")
    .option("--key-env <name>", "with --engine: environment variable that holds the server's key")
    .addHelpText(
      "after",
      "\nExit codes: 0 healthy, 1 usable with a problem to look at, 4 no backend computes or the native engine fails.\nWith --engine: 0 weir and the configuration can work with it, 1 they cannot, 4 it cannot be reached or refuses.",
    )
    .action(async ({ engine, ...options }: Partial<EngineDoctorOptions>) => {
      if (engine === undefined && (options.config ?? options.keyEnv) !== undefined)
        throw new WeirError("WEIR_E_USAGE", "--config and --key-env go with --engine; give the server's address", {});
      process.exitCode = await (engine === undefined
        ? doctorCommand(options)
        : engineDoctorCommand({ ...options, engine }));
    });
}
