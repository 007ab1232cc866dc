import type { SampleGroup, ScoredRollout } from "../../contracts/group.js";
import type { LedgerEntry } from "../../contracts/ledger.js";
import type { Rollout } from "../../contracts/rollout.js";
import type { DroppedGroup, FormedBatch } from "../../streams/batch-former.js";
import { groupIdOf, type IssuedTask, type RolloutListener, rolloutIdOf } from "../../streams/rollout-stages.js";
import type { UpdateResult } from "../update/update.js";

export type AppendEntry = (entry: Omit<LedgerEntry, "schema_version">) => void;

interface OpenRollout {
  readonly issued: IssuedTask;
  readonly policyVersion: number;
}

/** Writes the ledger of the pipeline. Invariant: every rollout that was issued ends once, as trained or dropped with a reason (I2). */
export class RunLedger implements RolloutListener {
  private readonly open = new Map<string, OpenRollout>();

  constructor(private readonly append: AppendEntry) {}

  issue(issued: IssuedTask, groupSize: number, policyVersion: number): void {
    for (let g = 0; g < groupSize; g++) {
      const id = rolloutIdOf(issued, g);
      this.open.set(id, { issued, policyVersion });
      this.write(id, { issued, policyVersion }, { state: "issued" });
    }
  }

  generated(rollout: Rollout): void {
    this.pass(rollout.id, "generated");
  }

  scored({ rollout, outcome }: ScoredRollout): void {
    if (outcome.kind === "scored") this.pass(rollout.id, "scored");
  }

  /** Writes the end state of every rollout of a step's groups; `policyVersion` is the one that was trained. */
  settle(
    kept: readonly SampleGroup[],
    { dropped }: Pick<FormedBatch, "dropped">,
    { refused, moved, rejected }: Pick<UpdateResult, "refused" | "moved" | "rejected">,
    trained: { readonly step: number; readonly policyVersion: number },
  ): void {
    const causes = new Map(
      refused.flatMap(({ groups, cause }) => groups.map(({ group }) => [group.id, cause] as const)),
    );
    this.drop(dropped);
    for (const { group } of kept) {
      for (const { rollout, outcome } of group.members) {
        const cause = causes.get(group.id);
        if (outcome.kind !== "scored") this.end(rollout.id, { state: "dropped", reason: `reward_${outcome.kind}` });
        else if (rejected.has(rollout.id)) this.end(rollout.id, { state: "dropped", reason: "rejected" });
        else if (cause !== undefined && !moved.has(group.id)) this.end(rollout.id, { state: "dropped", reason: cause });
        else this.end(rollout.id, { state: "trained", ...trained });
      }
    }
  }

  drop(groups: readonly DroppedGroup[]): void {
    for (const { group, reason } of groups) {
      for (const { rollout, outcome } of group.members)
        this.end(rollout.id, {
          state: "dropped",
          reason: outcome.kind === "scored" ? reason : `reward_${outcome.kind}`,
        });
    }
  }

  /** Ends every rollout of a group that was open when the run was lost. */
  lose(issued: IssuedTask, groupSize: number, policyVersion: number): void {
    for (let g = 0; g < groupSize; g++)
      this.write(rolloutIdOf(issued, g), { issued, policyVersion }, { state: "dropped", reason: "aborted" });
  }

  /** Version that a group was issued at; 0 where it is not open. */
  versionOf(issued: IssuedTask): number {
    return this.open.get(rolloutIdOf(issued, 0))?.policyVersion ?? 0;
  }

  /** Drops what is still open. */
  abort(reason = "aborted"): void {
    for (const id of [...this.open.keys()]) this.end(id, { state: "dropped", reason });
  }

  /** Ends what is still open because the run goes back to a snapshot. */
  undo(): void {
    for (const id of [...this.open.keys()]) this.end(id, { state: "rolledBack" });
  }

  /** Forgets what is open without a word: the ledger has been rolled back. */
  forget(): void {
    this.open.clear();
  }

  private pass(rolloutId: string, state: "generated" | "scored"): void {
    const open = this.open.get(rolloutId);
    if (open) this.write(rolloutId, open, { state });
  }

  private end(rolloutId: string, end: Pick<LedgerEntry, "state"> & Partial<LedgerEntry>): void {
    const open = this.open.get(rolloutId);
    if (!open) return;
    this.open.delete(rolloutId);
    this.write(rolloutId, open, end);
  }

  private write(
    rolloutId: string,
    { issued, policyVersion }: OpenRollout,
    more: Pick<LedgerEntry, "state"> & Partial<LedgerEntry>,
  ): void {
    this.append({
      rolloutId,
      groupId: groupIdOf(issued),
      taskId: issued.task.id,
      phase: issued.phase,
      step: issued.step,
      policyVersion,
      ...more,
    });
  }
}
