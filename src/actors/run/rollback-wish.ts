import type { Initiator } from "../../contracts/knob.js";
import { judgedOf } from "../guard/guard.js";

/** Who wants a run back at a snapshot, and how far. */
export interface RollbackWish {
  /** Last RL step that is to stay; null leaves as much as possible: all but the last step for a person, all for the guard. */
  readonly to: number | null;
  readonly by: Initiator;
  readonly reason: string;
  /** The guard's WEIR_E_ROLLBACK; null where a person asks. */
  readonly error: unknown;
  /** It is an order of the run folder, done again by a run that was restored. */
  readonly recorded?: boolean;
}

/** The wish that an error of the guard stands for. */
export function wishOf(error: unknown): RollbackWish {
  const verdict = judgedOf(error).at(-1)?.verdict;
  const reason = verdict?.reason ?? (error instanceof Error ? error.message : String(error));
  const to = verdict?.action === "rollback" ? (verdict.lastGoodStep ?? null) : null;
  return { to, by: { kind: "guard", name: verdict?.rule ?? "" }, reason, error };
}
