import type { RefusedBatch } from "../update/update.js";
import type { RunContext } from "./run-context.js";
import { keepsStates, stateBytes } from "./snapshots.js";

const BYTES_PER_GIB = 1024 ** 3;

/**
 * Saves a mini-batch that changed no weight, with the trainer's weights and moments while there is room for them
 * (`guard.replayGiB`): they are those that its gradient was taken at. Errors: WEIR_E_DISK; those of the trainer.
 */
export async function saveBatch(
  context: RunContext,
  { step, phase, policyVersion }: { readonly step: number; readonly phase: number; readonly policyVersion: number },
  { groups, cause, miniBatch, reason, batch, optimiser, loss, gradNorm }: RefusedBatch,
  signal: AbortSignal,
): Promise<void> {
  const { store, parts, config, taps, log } = context;
  const { trainer } = parts;
  const { path, withState } = await store.saveBatch(
    {
      ...{ step, phase, policyVersion, miniBatch, cause, reason, loss, gradNorm, optimiser, batch },
      groups: groups.map(({ group, samples }) => ({
        groupId: group.id,
        taskId: group.task.id,
        rollouts: samples.map(({ rollout, reward }) => ({ id: rollout.id, text: rollout.text, reward })),
      })),
    },
    // `weir replay` computes with the embedded engine, which an address is of no use to.
    keepsStates(trainer)
      ? null
      : {
          writeInto: (folder) => trainer.saveState(folder, { signal }),
          bytes: stateBytes(trainer),
          budgetBytes: config.guard.replayGiB * BYTES_PER_GIB,
        },
  );
  // A loss of the user's own is not part of what is saved.
  const replayable = withState && batch.loss.name !== null;
  taps.fact("batch.saved", step, { path, miniBatch, reason, replayable });
  const why = cause === "guard" ? "the guard refused an update" : "a loss or gradient was not finite";
  log.error({ actor: "update", step, path }, `${why}: the mini-batch changed nothing and was saved`);
}
