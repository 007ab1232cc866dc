import { accumulationExit, exhaustedError } from "../algorithms/dynamic-sampling.js";
import type { Group, ShortStepRule } from "../contracts/group.js";
import { largestLag } from "./lag.js";

/**
 * Makes the batches of RL steps from groups that passed the filter. A batch is made only when a step asks for it, so that the lag of its
 * rollouts is known exactly when it is trained. Holds no clock and does no work of its own.
 */

/** `group_too_small`, `surplus`, `stale`, `phase_ended`, or what the filter said, such as `zero_variance`. */
export type DropReason = string;

/** Reason of a group with too few scored members: it is not viable. */
export const TOO_SMALL: DropReason = "group_too_small";

/** Codes of failures that another response to the same task would meet again. */
const LASTING: ReadonlySet<string> = new Set(["WEIR_E_REWARD_SOURCE", "WEIR_E_DATA"]);

/** True where a group lacks scores for a reason that may be over: its reward timed out, or failed by no fault of the task. */
export function mayScoreNextTime({ members }: Pick<Group, "members">): boolean {
  return members.some(
    ({ outcome }) => outcome.kind === "timedOut" || (outcome.kind === "failed" && !LASTING.has(outcome.code)),
  );
}

export interface DroppedGroup {
  readonly group: Group;
  readonly reason: DropReason;
}

/** Groups that the filter has judged together. */
export interface JudgedRound {
  readonly kept: readonly Group[];
  readonly dropped: readonly DroppedGroup[];
}

export interface FormerOptions {
  /** Groups that a step trains on. */
  readonly wanted: number;
  /** Read anew for each batch. */
  readonly maxLag: number;
  /** Groups drawn for each one that is missing. */
  readonly oversample: number;
  readonly maxRounds: number;
  readonly onExhausted: ShortStepRule;
}

export interface FormedBatch {
  /** In the order in which they passed; at most as many as wanted. */
  readonly kept: readonly Group[];
  readonly dropped: readonly DroppedGroup[];
  /** Kept and dropped groups in the order of issue; groups that wait for a later batch belong to that one. */
  readonly ended: readonly Group[];
  readonly rounds: number;
  /** The bound of rounds was met with fewer groups than wanted. */
  readonly exhausted: boolean;
}

export class BatchFormer {
  private ready: Group[] = [];
  private dropped: DroppedGroup[] = [];
  private rounds = 0;
  /** Groups of the present phase that finished since the batch before. */
  private judged = 0;

  constructor(private readonly options: FormerOptions) {}

  /** `phase`: the present one. Groups of another say nothing of how hard it is to find enough. */
  take(round: JudgedRound, phase: number): void {
    const groups = [...round.kept, ...round.dropped.map(({ group }) => group)];
    this.judged += groups.filter((group) => group.phase === phase).length;
    this.dropped.push(...round.dropped);
    this.ready.push(...round.kept);
    this.rounds++;
  }

  /** A phase begins: groups of another one that wait are dropped; returns them. */
  enterPhase(phase: number): readonly DroppedGroup[] {
    this.judged = 0;
    return this.drop((group) => group.phase !== phase, "phase_ended");
  }

  /** Drops those of the groups that wait for which `test` is true; returns them. */
  private drop(test: (group: Group) => boolean, reason: DropReason): readonly DroppedGroup[] {
    const gone = this.ready.filter(test).map((group) => ({ group, reason }));
    this.ready = this.ready.filter((group) => !test(group));
    this.dropped.push(...gone);
    return gone;
  }

  /** Drops what would be trained at a lag above the bound with weights of this version; returns it. Without lag there is none. */
  dropStale(version: number): readonly DroppedGroup[] {
    const { maxLag } = this.options;
    const stale = ({ members }: Group) => members.some(({ rollout }) => largestLag(rollout, { n: version }) > maxLag);
    return maxLag === 0 ? [] : this.drop(stale, "stale");
  }

  /**
   * The batch of the step that asks, null where more groups have to come first. With `maxLag` 0 what is left over is dropped as
   * `surplus`: it would be stale in the next step.
   * Errors: WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED at the bound of rounds when `onExhausted` is `fail`.
   */
  form(): FormedBatch | null {
    const { wanted, maxLag, maxRounds, onExhausted } = this.options;
    const rounds = this.roundsSoFar();
    const bounds = { groupsPerStep: wanted, maxRounds };
    const zeroVariance = this.dropped.filter(({ reason }) => reason !== TOO_SMALL).length;
    const exit = accumulationExit({ kept: this.ready, rounds, zeroVariance }, bounds);
    if (exit.kind === "incomplete") return null;
    if (exit.kind === "exhausted" && onExhausted === "fail") throw exhaustedError(exit, bounds);
    const kept = exit.kind === "complete" ? exit.trained : exit.state.kept;
    this.ready = exit.kind === "complete" ? [...exit.surplus] : [];
    if (maxLag === 0) this.drop(() => true, "surplus");
    const { dropped } = this;
    this.dropped = [];
    this.rounds = 0;
    this.judged = 0;
    const ended = [...kept, ...dropped.map(({ group }) => group)].sort((a, b) => a.sequence - b.sequence);
    return { kept, dropped, ended, rounds, exhausted: exit.kind === "exhausted" };
  }

  /** Generation rounds since the batch before; without barriers between rounds, as many as the phase's groups that finished would have made. */
  private roundsSoFar(): number {
    const { wanted, maxLag, oversample } = this.options;
    return maxLag === 0 ? this.rounds : Math.floor(this.judged / Math.ceil(wanted * oversample));
  }
}
