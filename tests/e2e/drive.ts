import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const DRIVER = fileURLToPath(new URL("./driver.ts", import.meta.url));

/** Starts the driver (`driver.ts`); `onLine` sees what it tells and may kill it. Resolves to the lines once it is gone. */
export function drive(
  args: readonly string[],
  onLine: (line: string, child: ChildProcess) => void = () => undefined,
): Promise<string[]> {
  const child = spawn(process.execPath, ["--import", "tsx", DRIVER, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    onLine(line, child);
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", () => resolve(lines));
  });
}
