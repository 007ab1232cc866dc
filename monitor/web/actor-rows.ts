import { type ActorState, type ActorStatus, isRolledBack, type LagStatus } from "../../src/contracts/actor-status.js";
import type { ActorChange } from "../client/index.js";

/** The supervision tree as rows of a table, and the lags of a batch as rows of a histogram. Pure. */

/** States in words. */
export const STATE_TEXT: Readonly<Record<ActorState, string>> = {
  starting: "starting",
  running: "running",
  waitingForInput: "waiting for input",
  waitingForRoom: "waiting for room",
  draining: "draining",
  restarting: "restarting",
  stopped: "stopped",
  failed: "failed",
};

/** Colour of a state; the words say the same. */
export type Tone = "good" | "calm" | "warn" | "bad";
export const STATE_TONE: Readonly<Record<ActorState, Tone>> = {
  starting: "calm",
  running: "good",
  waitingForInput: "calm",
  waitingForRoom: "warn",
  draining: "warn",
  restarting: "warn",
  stopped: "calm",
  failed: "bad",
};

export interface ChangeRow {
  readonly change: ActorChange;
  /** Null where nothing is known of the actor before. */
  readonly from: string | null;
  readonly to: string;
  readonly tone: Tone;
  readonly reason: string | null;
}

/** Changes in words, newest first. A stage that ended because the run goes back to a snapshot has not failed. */
export function changeRows(changes: readonly ActorChange[]): readonly ChangeRow[] {
  const before = new Map<string, string>();
  const rows = changes.map((change): ChangeRow => {
    const { actor, from, state, reason } = change;
    const back = isRolledBack(change);
    const to = back ? "rolled back" : STATE_TEXT[state];
    const known = from === null ? null : (before.get(actor) ?? STATE_TEXT[from]);
    if (back) before.set(actor, to);
    else before.delete(actor);
    const why = back ? (reason?.replace(/^\w+: /, "") ?? null) : reason;
    return { change, from: known, to, tone: back ? "warn" : STATE_TONE[state], reason: why };
  });
  return rows.toReversed();
}

/** States that a closed branch must not hide. */
const TROUBLED: readonly ActorState[] = ["failed", "restarting"];
/** A branch with more children than this is closed until it is opened: a page of samplers would bury the stages. */
const OPEN_CHILDREN = 8;

export interface ActorRow {
  readonly actor: ActorStatus;
  /** 0 for the root. */
  readonly depth: number;
  /** Actors directly under it. */
  readonly children: number;
  readonly open: boolean;
  /** What a closed branch hides, such as "64 actors, 1 restarting"; empty where nothing is hidden. */
  readonly hidden: string;
}

/**
 * The actors depth first, children in the order given. `chosen` holds branches that the reader has opened or closed.
 * An actor whose supervisor is not among them is a root; none is left out, whatever the parents say.
 */
export function actorRows(actors: readonly ActorStatus[], chosen: ReadonlyMap<string, boolean>): readonly ActorRow[] {
  const known = new Set(actors.map((actor) => actor.name));
  const childrenOf = new Map<string | null, ActorStatus[]>();
  for (const actor of actors) {
    const parent = actor.parent !== null && known.has(actor.parent) ? actor.parent : null;
    childrenOf.set(parent, [...(childrenOf.get(parent) ?? []), actor]);
  }
  const rows: ActorRow[] = [];
  const seen = new Set<string>();
  const visit = (actor: ActorStatus, depth: number, shown: boolean): readonly ActorStatus[] => {
    if (seen.has(actor.name)) return [];
    seen.add(actor.name);
    const children = childrenOf.get(actor.name) ?? [];
    const closable = depth > 0 && children.length > 0;
    const open = !closable || (chosen.get(actor.name) ?? children.length <= OPEN_CHILDREN);
    const at = rows.length;
    const below = children.flatMap((child) => visit(child, depth + 1, shown && open));
    const row = { actor, depth, children: closable ? children.length : 0, open, hidden: open ? "" : summary(below) };
    if (shown) rows.splice(at, 0, row);
    return [actor, ...below];
  };
  for (const root of childrenOf.get(null) ?? []) visit(root, 0, true);
  // Actors that name one another as supervisors hang from no root.
  for (const actor of actors) visit(actor, 0, true);
  return rows;
}

function summary(actors: readonly ActorStatus[]): string {
  const troubles = TROUBLED.flatMap((state) => {
    const count = actors.filter((actor) => actor.state === state).length;
    return count === 0 ? [] : [`${count} ${state}`];
  });
  return [`${actors.length} ${actors.length === 1 ? "actor" : "actors"}`, ...troubles].join(", ");
}

export interface LagRow {
  readonly lag: number;
  readonly tokens: number;
  /** Part of the batch's tokens, in [0, 1]; 0 for an empty batch. */
  readonly share: number;
  readonly beyond: boolean;
}

/** A row for each lag up to the bound, and for those beyond it that hold tokens. */
export function lagRows({ bound, tokens }: LagStatus): readonly LagRow[] {
  const total = tokens.reduce((sum, count) => sum + count, 0);
  const last = Math.max(
    bound,
    tokens.findLastIndex((count) => count > 0),
  );
  return Array.from({ length: last + 1 }, (_, lag) => {
    const count = tokens[lag] ?? 0;
    return { lag, tokens: count, share: total === 0 ? 0 : count / total, beyond: lag > bound };
  });
}
