import type { GroupResult, GroupTask } from "../contracts/group-work.js";

/** What came of a group that was given to workers. */
export type DrawnGroup =
  | {
      readonly kind: "drawn";
      readonly result: GroupResult;
      /** To be called once the ledger has the group; the queue keeps the result until then. Never rejects. */
      settle(): void;
    }
  /** No worker brought it to an end. */
  | { readonly kind: "lost"; readonly reason: string };

/** Draws and scores groups somewhere else, in place of the run's own sampler and reward. */
export interface GroupWorkers {
  /**
   * Resolves once the group has ended. A call that was aborted may be made again: the group is not drawn twice. Errors: those of the
   * queue; the reason of the signal.
   */
  draw(task: GroupTask, options: { readonly signal: AbortSignal }): Promise<DrawnGroup>;
  /** Gives up every group that is under way; those who wait for one have given it up already. Never rejects. */
  abandon(): Promise<void>;
}
