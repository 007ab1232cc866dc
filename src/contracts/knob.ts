import type { Json } from "./task.js";

/** Who turned a knob, or gave a command. */
export interface Initiator {
  readonly kind: "program" | "operator" | "guard" | "rollback";
  /** Client and address of an operator, the guard's rule; empty for a program. */
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

/** What is asked of a run from outside, and on whose behalf. */
export type OrderWish = Pick<RunOrder, "order" | "by" | "reason">;

/** What was asked of a run from outside, as its folder keeps it: a run that is restored does it again. */
export interface RunOrder {
  readonly order:
    | { readonly type: "set"; readonly path: string; readonly value: number | null }
    /** The batch of the next RL step changes no weight. */
    | { readonly type: "skipBatch" };
  readonly by: Initiator;
  readonly reason: string | null;
  /** Pieces of work that had been done: preflight, warm-up steps, RL steps and evaluations. */
  readonly at: number;
}
