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
    | { readonly type: "skipBatch" }
    /** The phase ends after the RL step at hand. */
    | { readonly type: "skipPhase" }
    /** The run goes back to the newest snapshot of RL step `to` or before; null: to the one before the last step. */
    | { readonly type: "rollback"; readonly to: number | null }
    /** Another part; its registered name, or null for a part by value, which a resumed run cannot bring back. */
    | { readonly type: "replace"; readonly kind: string; readonly name: string | null };
  readonly by: Initiator;
  readonly reason: string | null;
  /** Pieces of work that had been done: preflight, warm-up steps, RL steps and evaluations. */
  readonly at: number;
  /** Rollbacks of the run before it: the same place comes again after each. */
  readonly rollbacks: number;
}
