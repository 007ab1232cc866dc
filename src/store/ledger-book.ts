/**
 * The state of each rollout, as a pure index over ledger entries. Invariant I2: each rollout is issued once, passes
 * through issued ▸ generated ▸ scored, and ends in exactly one of trained, dropped and rolledBack; an update that is undone turns
 * trained into rolledBack.
 */
import type { LedgerEntry, LedgerState } from "../contracts/ledger.js";
import { WeirError } from "../errors.js";

const FOLLOWS: Readonly<Record<LedgerState, readonly (LedgerState | null)[]>> = {
  issued: [null],
  generated: ["issued"],
  scored: ["generated"],
  trained: ["scored"],
  dropped: ["issued", "generated", "scored"],
  rolledBack: ["issued", "generated", "scored", "trained"],
};

export const LEDGER_STATES = Object.keys(FOLLOWS) as readonly LedgerState[];

/** True for the states that end a rollout. */
export function isEnd(state: LedgerState): boolean {
  return state === "trained" || state === "dropped" || state === "rolledBack";
}

export class LedgerBook {
  private readonly states = new Map<string, LedgerState>();
  private readonly perState = new Map<LedgerState, number>();
  private readonly perReason = new Map<string, number>();

  /** Adds an entry. Errors: WEIR_E_LEDGER for a state that does not follow, or a drop without reason; nothing changes then. */
  apply(entry: Omit<LedgerEntry, "schema_version">): void {
    const { rolloutId, state, reason } = entry;
    const before = this.states.get(rolloutId) ?? null;
    if (!FOLLOWS[state].includes(before)) {
      throw new WeirError(
        "WEIR_E_LEDGER",
        `rollout "${rolloutId}": ${state} may follow ${FOLLOWS[state].map((name) => name ?? "nothing").join(" or ")}, its state is ${before ?? "none"}`,
        { rolloutId, state, before },
      );
    }
    if (state === "dropped" && (reason === undefined || reason === "")) {
      throw new WeirError("WEIR_E_LEDGER", `rollout "${rolloutId}" was dropped without a reason; give one`, {
        rolloutId,
      });
    }
    this.take(entry);
  }

  /** Takes an entry without checks, for reading a ledger that lacks lines. */
  take({ rolloutId, state, reason }: Omit<LedgerEntry, "schema_version">): void {
    const before = this.states.get(rolloutId) ?? null;
    this.states.set(rolloutId, state);
    if (before !== null) add(this.perState, before, -1);
    add(this.perState, state, 1);
    if (state === "dropped" && reason !== undefined) add(this.perReason, reason, 1);
  }

  stateOf(rolloutId: string): LedgerState | null {
    return this.states.get(rolloutId) ?? null;
  }

  /** Rollouts by present state; each rollout counts once. */
  counts(): Record<LedgerState, number> {
    return Object.fromEntries(LEDGER_STATES.map((state) => [state, this.perState.get(state) ?? 0])) as Record<
      LedgerState,
      number
    >;
  }

  /** Dropped rollouts by reason. */
  reasons(): Record<string, number> {
    return Object.fromEntries([...this.perReason].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** Rollouts that have been issued and have not ended. */
  open(): string[] {
    return [...this.states].filter(([, state]) => !isEnd(state)).map(([id]) => id);
  }
}

function add<K>(counts: Map<K, number>, key: K, by: number): void {
  counts.set(key, (counts.get(key) ?? 0) + by);
}
