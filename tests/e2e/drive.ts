import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TrainingSystem } from "../../src/actors/run/training-system.js";

/** Variable that holds orders for the driver, as JSON. */
export const ORDERS = "WEIR_TEST_ORDERS";

/** Variable with the steps at which the driver's guard asks for rollbacks, and how often, as JSON (rolling-guard.ts). */
export const ROLLING = "WEIR_TEST_ROLLING";

/** Variable with the kind of the fact at which the driver kills itself as soon as it is in the journal. */
export const KILL_AT = "WEIR_TEST_KILL_AT";

/** A knob to turn once a step has been committed for the first time; null as its path skips the next batch, or carries out a command. */
export interface DriverOrder {
  readonly afterStep: number;
  readonly command?: "skipPhase" | "rollBack";
  readonly path: string | null;
  readonly value: number | null;
}

/** Gives an order; resolves once it has taken effect. */
export async function obeyed(system: TrainingSystem, { path, value, command }: DriverOrder): Promise<void> {
  if (command === "rollBack") await system.rollBack();
  else if (command === "skipPhase") assert(system.skipPhase());
  else if (path === null) await system.skipBatch();
  else await system.setKnob(path, value);
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
