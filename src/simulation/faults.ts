import type { Draws } from "./latency.js";

/** What can happen at an await of a scripted part besides its answer, and how likely it is. */

export const FAULTS = ["crash", "reject", "hang", "slow"] as const;
export type Fault = (typeof FAULTS)[number];

/** How much longer a slow call takes. */
export const SLOWNESS = 10;

/** Begins what scripted parts say when they throw, also where somebody else quotes them. */
export const SIMULATED_ERROR = "simulated error";

/** An error of a scripted part; carries no code, like most errors of other people's code. */
export class SimulatedFault extends Error {
  override readonly name = "SimulatedFault";
}

/** True where an error is a simulated one, or was caused by one. */
export function isSimulated(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) if (at instanceof SimulatedFault) return true;
  return false;
}

/** Draws the fault of each await: with probability p one of the four, each as likely as the others. */
export class FaultPlan {
  constructor(
    private readonly draws: Draws,
    private readonly probability: number,
  ) {}

  at(call: string): Fault | null {
    if (this.probability === 0) return null;
    const value = this.draws.next(`fault/${call}`);
    if (value >= this.probability) return null;
    return FAULTS[Math.floor((value / this.probability) * FAULTS.length)] ?? null;
  }
}
