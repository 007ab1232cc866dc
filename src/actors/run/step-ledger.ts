import type { Group, SampleGroup, ScoredRollout } from "../../contracts/group.js";
import type { Rollout } from "../../contracts/rollout.js";
import type { DropReason } from "../../streams/collector.js";
import { groupIdOf, type IssuedTask, type PipelineListener, rolloutIdOf } from "../../streams/pipeline.js";
import type { UpdateResult } from "../update/update.js";
import type { RunStore } from "./run-store.js";

/** The ledger of one RL step. Invariant: every rollout that was issued ends once, as trained or dropped with a reason (I2). */
export class StepLedger implements PipelineListener {
  private readonly open = new Map<string, IssuedTask>();

  constructor(
    private readonly store: Pick<RunStore, "ledger">,
    private readonly step: number,
    private readonly policyVersion: number,
  ) {}

  issue(issued: IssuedTask, groupSize: number): void {
    for (let g = 0; g < groupSize; g++) {
      const id = rolloutIdOf(issued, g);
      this.open.set(id, issued);
      this.store.ledger({ ...this.entry(id, issued), state: "issued" });
    }
  }

  generated(rollout: Rollout, issued: IssuedTask): void {
    this.store.ledger({ ...this.entry(rollout.id, issued), state: "generated" });
  }

  scored(member: ScoredRollout, issued: IssuedTask): void {
    if (member.outcome.kind === "scored")
      this.store.ledger({ ...this.entry(member.rollout.id, issued), state: "scored" });
  }

  /** Writes the end state of every rollout of the step's groups. */
  settle(
    kept: readonly SampleGroup[],
    dropped: readonly { readonly group: Group; readonly reason: DropReason }[],
    { refused, moved, rejected }: Pick<UpdateResult, "refused" | "moved" | "rejected">,
  ): void {
    const causes = new Map(
      refused.flatMap(({ groups, cause }) => groups.map(({ group }) => [group.id, cause] as const)),
    );
    for (const { group, reason } of dropped) {
      for (const { rollout, outcome } of group.members)
        this.end(rollout.id, "dropped", outcome.kind === "scored" ? reason : `reward_${outcome.kind}`);
    }
    for (const { group } of kept) {
      for (const { rollout, outcome } of group.members) {
        const cause = causes.get(group.id);
        if (outcome.kind !== "scored") this.end(rollout.id, "dropped", `reward_${outcome.kind}`);
        else if (rejected.has(rollout.id)) this.end(rollout.id, "dropped", "rejected");
        else if (cause !== undefined && !moved.has(group.id)) this.end(rollout.id, "dropped", cause);
        else this.end(rollout.id, "trained");
      }
    }
  }

  /** Drops what is still open: the step failed. */
  abort(): void {
    for (const rolloutId of [...this.open.keys()]) this.end(rolloutId, "dropped", "aborted");
  }

  private end(rolloutId: string, state: "trained" | "dropped", reason?: string): void {
    const issued = this.open.get(rolloutId);
    if (!issued) return;
    this.open.delete(rolloutId);
    this.store.ledger({ ...this.entry(rolloutId, issued), state, ...(reason === undefined ? {} : { reason }) });
  }

  private entry(rolloutId: string, issued: IssuedTask) {
    return {
      rolloutId,
      groupId: groupIdOf(issued),
      taskId: issued.task.id,
      phase: issued.phase,
      step: this.step,
      policyVersion: this.policyVersion,
    };
  }
}
