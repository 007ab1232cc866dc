import type { IssuedTask } from "./rollout-stages.js";
import { groupIdOf } from "./rollout-stages.js";

/** Where an issued group is: on its way to the filter, waiting for an update, or in one. */
export type GroupPlace = "inFlight" | "ready" | "training";

/**
 * The groups that were issued and have not ended. Admission counts them; a group that is not taken out when it ends would hold its
 * place in line for ever.
 */
export class GroupBook {
  private readonly open = new Map<string, { readonly issued: IssuedTask; place: GroupPlace }>();
  private readonly counts: Record<GroupPlace, number> = { inFlight: 0, ready: 0, training: 0 };

  issue(issued: IssuedTask): void {
    this.open.set(groupIdOf(issued), { issued, place: "inFlight" });
    this.counts.inFlight++;
  }

  move(groupId: string, place: GroupPlace): void {
    const entry = this.open.get(groupId);
    if (!entry) return;
    this.counts[entry.place]--;
    this.counts[place]++;
    entry.place = place;
  }

  /** What was issued as this group; null where it has ended before. */
  end(groupId: string): IssuedTask | null {
    const entry = this.open.get(groupId);
    if (!entry) return null;
    this.open.delete(groupId);
    this.counts[entry.place]--;
    return entry.issued;
  }

  count(place: GroupPlace): number {
    return this.counts[place];
  }

  /** Every open group, in the order of issue. */
  all(): readonly IssuedTask[] {
    return inOrder([...this.open.values()]);
  }

  /** Those at one place, in the order of issue. */
  at(place: GroupPlace): readonly IssuedTask[] {
    return inOrder([...this.open.values()].filter((entry) => entry.place === place));
  }
}

const inOrder = (entries: readonly { readonly issued: IssuedTask }[]): readonly IssuedTask[] =>
  entries.map(({ issued }) => issued).sort((a, b) => a.sequence - b.sequence);
