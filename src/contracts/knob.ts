import type { Json } from "./task.js";

/** Who turned a knob, or gave a command. */
export interface Initiator {
  readonly kind: "program" | "operator" | "guard" | "rollback";
  /** Role and address of an operator, the guard's rule; empty for a program. */
  readonly name: string;
}

/** An option that can be changed while the run goes on. */
export interface KnobState {
  /** Path of the option, such as `optimiser.learningRate`. */
  readonly path: string;
  readonly value: number | null;
  /** What the configuration says. */
  readonly configured: number | null;
  readonly min: number;
  readonly max: number;
  /** Whole numbers only. */
  readonly integer: boolean;
  readonly unit: string;
  readonly meaning: string;
}

/** One turn of a knob. */
export interface KnobTurn {
  readonly path: string;
  readonly old: Json;
  readonly new: Json;
  readonly by: Initiator;
  readonly reason: string | null;
}
