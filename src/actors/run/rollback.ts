import { join } from "node:path";
import type { Alert } from "../../contracts/alert.js";
import type { Json } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { judgedOf } from "../guard/guard.js";
import { undoneStepOf } from "../update/update.js";
import { culpritsOf, tellAlarms, tellGuardState, verdictsOf } from "./alarms.js";
import { tellRestored, turnAfterRollback } from "./knobs.js";
import { recordOrder } from "./orders.js";
import { freshProgress, type Progress, type SnapshotMark, stepsDone } from "./progress.js";
import type { RollbackWish } from "./rollback-wish.js";
import { runAlert } from "./run-alert.js";
import type { RunContext } from "./run-context.js";
import { type CheckpointState, restoreCurriculum, tellJudged } from "./run-work.js";
import { MODEL_FOLDER, type SnapshotPlace } from "./snapshots.js";
import { tracesOf, tracesToShow } from "./traces.js";

/**
 * Takes a run back to a snapshot while its journal and ledger go on: weights, moments, curriculum, pool, schedule and knobs are those of
 * the snapshot; the weights are published under a version number that no other has; what is drawn from then on is drawn anew.
 * Invariants: what was undone stays in the journal, its rollouts end as `rolledBack` (I2); all of it follows from the run's own state, so
 * that a run that is killed on the way comes to the same (I3).
 */

/** Errors: WEIR_E_STATE where no snapshot is old enough for what a person wants. */
export function assertReachable(progress: Progress, to: number | null): void {
  if (candidatesFor(progress, to).length > 0) return;
  const known = [...new Set(progress.snapshots.map(({ step }) => step))];
  throw new WeirError(
    "WEIR_E_STATE",
    `there is no snapshot to go back to${to === null ? "" : ` at or before RL step ${to}`}; ${
      known.length === 0
        ? "none has been taken yet"
        : `there are snapshots of the ends of the steps ${known.join(", ")}`
    }; guard.snapshots.keep says how many are kept`,
    { to, known },
  );
}

/** Snapshots that a person may go back to, the newest last. Without a step that is the one before the last step. */
function candidatesFor(progress: Progress, to: number | null): readonly SnapshotMark[] {
  return progress.snapshots.filter((mark) =>
    to === null ? stepsDone(mark) < stepsDone(progress) : mark.step <= to && mark.warmupStep <= progress.warmupStep,
  );
}

interface Target {
  readonly mark: SnapshotMark;
  /** Older ones, and itself. */
  readonly upTo: readonly SnapshotMark[];
  readonly directory: string;
  readonly state: CheckpointState & SnapshotPlace;
}

/**
 * Goes back. Resolves to whether the run has to be paused for a person: the guard asked more often than it may.
 * Errors: WEIR_E_GUARD where no snapshot is left; WEIR_E_POLICY_BUDGET before anything is changed; those of trainer and sampler.
 */
export async function rollBack(context: RunContext, wish: RollbackWish, signal: AbortSignal): Promise<boolean> {
  const { pipeline, policies, parts, store, taps, config, log } = context;
  const { progress: before, config: configBefore } = context;
  const guarded = wish.by.kind === "guard";
  const judged = judgedOf(wish.error).at(-1);
  log.warn({ actor: "guard", step: before.step, reason: wish.reason }, "going back to a snapshot");
  await policies.assertRoom();
  const { to, by, reason } = wish;
  if (!guarded && !wish.recorded) await recordOrder(context, { order: { type: "rollback", to }, by, reason });
  await tellUndone(context, wish);
  const skip = guarded && config.guard.afterRollback.skipBatch ? pipeline.training : [];
  const undoneBefore = store.ledgerCounts().rolledBack ?? 0;
  await pipeline.undo();
  const inARow = guarded ? before.rollbacks.inARow + 1 : before.rollbacks.inARow;
  const target = await targetOf(context, wish, inARow);
  await parts.trainer.loadState(join(target.directory, MODEL_FOLDER), { signal, above: policies.version.n });
  policies.markChanged();
  await policies.current(signal);
  for (const { schema_version: _, ...entry } of store.trainedSince(target.state.ledger))
    store.ledger({ ...entry, state: "rolledBack" });
  await store.undone(target.mark.step);
  restoreState(context, target);
  const exhausted = guarded && inARow > config.guard.maxRollbacks;
  const { count, furthest, turnedDown } = before.rollbacks;
  context.progress = {
    ...context.progress,
    seconds: before.seconds,
    skipBatch: before.skipBatch,
    skipPhase: before.skipPhase,
    sequence: pipeline.sequence,
    snapshots: target.upTo,
    snapshotCount: before.snapshotCount,
    // A person who lets a paused run go on gives the guard its rollbacks back.
    rollbacks: {
      ...{ count: count + 1, inARow: exhausted ? 0 : inARow, turnedDown },
      furthest: Math.max(furthest, stepsDone(before)),
    },
    checkpointDue: true,
  };
  taps.fact("run.rolledBack", target.mark.step, {
    fromStep: judged?.evidence.stage === "rl" ? judged.evidence.step : before.step,
    toStep: target.mark.step,
    reason: wish.reason,
    rule: judged?.verdict.rule ?? null,
    by: wish.by,
    undone: (store.ledgerCounts().rolledBack ?? 0) - undoneBefore,
    count: count + 1,
  });
  tellRestored(context, configBefore, wish.reason);
  if (guarded && target.mark.stage === "rl") turnDown(context, inARow, wish);
  // Stages take options as the knobs are now.
  pipeline.goBack(target.state.pipeline as Json, skip);
  if (exhausted) taps.alert(exhaustedAlert(context, wish));
  taps.changed();
  return exhausted;
}

/** Turns knobs as `guard.afterRollback` says. The run has gone back all the same where one of them cannot be turned. */
function turnDown(context: RunContext, inARow: number, { by, reason }: RollbackWish): void {
  try {
    turnAfterRollback(context, inARow, by, reason);
  } catch (error) {
    context.log.warn({ actor: "knobs", err: error }, "a knob could not be turned after a rollback");
  }
}

/** Journals the verdict and the alarms of the step that the guard has thrown away, and stores its rollouts. */
async function tellUndone(context: RunContext, { error }: RollbackWish): Promise<void> {
  const { store, config, taps, time, detector } = context;
  const judged = judgedOf(error);
  tellJudged(context, judged);
  const undone = undoneStepOf(error);
  tellGuardState(context, undone?.step ?? context.progress.step);
  if (undone === null) return;
  const { step, phase, policyVersion, values, contributions, groups, kept, rollouts } = undone;
  const changes = detector.reject({
    ...{ step, phase, policyVersion, values, contributions, time: time.now() },
    ...verdictsOf(judged),
  });
  tellAlarms(context, changes, step);
  const traces = tracesOf(context, { step, groups, kept, update: { rollouts } });
  await store.rollouts(step, traces);
  for (const trace of tracesToShow(traces, config.monitor.tracesPerStep, culpritsOf(changes))) taps.trace(trace);
}

/** Errors: WEIR_E_GUARD. */
async function targetOf({ store, progress }: RunContext, { to, by }: RollbackWish, inARow: number): Promise<Target> {
  const { snapshots } = progress;
  for (let at = newestWanted(progress, to, by.kind === "guard" ? inARow : null); at >= 0; at--) {
    const mark = snapshots[at];
    const found = mark && (await store.readSnapshot(mark.name));
    if (!mark || !found) continue;
    const { directory, state } = found;
    return { mark, upTo: snapshots.slice(0, at + 1), directory, state: state as unknown as Target["state"] };
  }
  throw new WeirError(
    "WEIR_E_GUARD",
    "the run is to go back, and no snapshot is left to go back to; resume it from its last checkpoint with another guard.snapshots.place",
    {},
  );
}

/**
 * Index of the snapshot to go back to. Each of the guard's rollbacks in a row (null for a person's) goes one further back: what spoils
 * the run may lie before the newest one. None of them goes from RL back into the warm-up.
 */
function newestWanted(progress: Progress, to: number | null, inARow: number | null): number {
  const { snapshots } = progress;
  const last = snapshots.length - 1;
  const wished = snapshots.indexOf(candidatesFor(progress, to).at(-1) as SnapshotMark);
  if (inARow === null) return wished < 0 ? last : wished;
  const first = snapshots.findIndex(({ stage }) => stage === snapshots[last]?.stage);
  const named = to === null ? last : wished;
  return Math.max(first, Math.min(named, last + 1 - inARow));
}

/** Curriculum, its statechart, detector and progress as they were. The guard keeps what it knows: it has to remember this. */
function restoreState(context: RunContext, { state }: Target): void {
  restoreCurriculum(context, state);
  context.detector.rewind(state.detector);
  context.progress = { ...freshProgress, ...state.progress };
}

/** The alert of a run that is paused because its guard asks for more rollbacks than it may. */
function exhaustedAlert(context: RunContext, { reason }: RollbackWish): Alert {
  const { progress, config } = context;
  const { maxRollbacks } = config.guard;
  const { count } = progress.rollbacks;
  return runAlert(context, {
    id: `${progress.step}-rollbacks_exhausted-${count}`,
    level: "error",
    rule: "rollbacks_exhausted",
    metric: "guard/rollbacks",
    value: count,
    threshold: maxRollbacks,
    text: `the run is paused: after ${maxRollbacks} rollbacks without coming further the guard asked again: ${reason}; look at the journal (guard.judged), turn optimiser.learningRate down, then resume`,
  });
}
