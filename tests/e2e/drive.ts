import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Variable that holds orders for the driver, as JSON. */
export const ORDERS = "WEIR_TEST_ORDERS";

/** Variable with the steps at which the driver's guard asks for rollbacks, and how often, as JSON (rolling-guard.ts). */
export const ROLLING = "WEIR_TEST_ROLLING";

/** A knob to turn once a step has been committed; null as its path skips the next batch. */
export interface DriverOrder {
  readonly afterStep: number;
  readonly path: string | null;
  readonly value: number | null;
}

const DRIVER = fileURLToPath(new URL("./driver.ts", import.meta.url));

/** Starts the driver (`driver.ts`); `onLine` sees what it tells and may kill it. Resolves to the lines once it is gone. */
export function drive(
  args: readonly string[],
  onLine: (line: string, child: ChildProcess) => void = () => undefined,
  orders: readonly DriverOrder[] = [],
  environment: Readonly<Record<string, string>> = {},
): Promise<string[]> {
  const child = spawn(process.execPath, ["--import", "tsx", DRIVER, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, ...environment, [ORDERS]: JSON.stringify(orders) },
  });
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
