/**
 * Runs a benchmark's process to its end and takes the JSON objects among the lines of its stdout; other lines are
 * output of libraries. Errors: WEIR_E_BENCHMARK where it cannot be started, fails, or prints no result.
 */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { WeirError } from "../../errors.js";

export type JsonObject = Readonly<Record<string, unknown>>;

export interface ChildCommand {
  readonly file: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly onLine?: (line: string) => void;
}

/** Last characters of stderr that an error quotes. */
const STDERR_TAIL = 1500;

/** The command that runs `weir` as this process was run: plain JavaScript from dist, through tsx from source. */
export function weirCommand(args: readonly string[]): ChildCommand {
  const compiled = fileURLToPath(new URL("../main.js", import.meta.url));
  if (existsSync(compiled)) return { file: process.execPath, args: [compiled, ...args] };
  const loader = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const source = fileURLToPath(new URL("../main.ts", import.meta.url));
  return { file: process.execPath, args: ["--import", loader, source, ...args] };
}

/** The line as a JSON object, or null. */
export function jsonObject(line: string): JsonObject | null {
  if (!line.startsWith("{")) return null;
  try {
    return JSON.parse(line) as JsonObject;
  } catch {
    return null;
  }
}

/** Stdout of a process that succeeds. */
export function runProcess({ file, args, env, onLine }: ChildCommand): Promise<string> {
  const fault = (how: string, said: string) => {
    const tail = said.trim().slice(-STDERR_TAIL);
    const shown = [file, ...args].join(" ");
    return new WeirError("WEIR_E_BENCHMARK", `\`${shown}\` ${how}${tail === "" ? "" : `; it said: ${tail}`}`, { how });
  };
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
    let out = "";
    let said = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      out += chunk;
      for (const line of chunk.split("\n")) if (line.trim() !== "") onLine?.(line.trim());
    });
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      said = (said + chunk).slice(-4 * STDERR_TAIL);
    });
    child.on("error", (error) => reject(fault(`could not be started: ${error.message}`, "")));
    child.on("close", (code, signal) => {
      if (code === 0) resolve(out);
      else reject(fault(signal === null ? `ended with exit code ${code}` : `was ended by ${signal}`, said));
    });
  });
}

/** The JSON objects that a process wrote, at least one. */
export async function runForJson(command: ChildCommand): Promise<readonly [JsonObject, ...JsonObject[]]> {
  const lines = (await runProcess(command)).split("\n").map((line) => line.trim());
  const [first, ...others] = lines.map(jsonObject).filter((object) => object !== null);
  if (first !== undefined) return [first, ...others];
  throw new WeirError("WEIR_E_BENCHMARK", `\`${[command.file, ...command.args].join(" ")}\` wrote no JSON line`, {});
}
