/** The parts that the embedded engine and the run folder give. */
import type { PolicyStore } from "../../../contracts/policy-store.js";
import type { Sampler } from "../../../contracts/sampler.js";
import type { Trainer } from "../../../contracts/trainer.js";
import { WeirError } from "../../../errors.js";
import { createFolderPolicyStore } from "../../../store/policy-folder.js";
import { openPolicyPlace } from "../../../store/policy-place.js";
import { createMemoryWorkQueue } from "../../../streams/work-queue.js";
import { createHandleStore } from "../../../system/handle-store.js";
import type { Parts } from "../part-kinds.js";
import type { BuiltInSource, EmbeddedSource } from "./source.js";

export const engineSampler = (source: BuiltInSource): Sampler => {
  const embedded = needed(source);
  return embedded.samplers ?? embedded.parts().sampler;
};
export const engineTrainer = (source: BuiltInSource): Trainer => needed(source).parts().trainer;
/** That of the engine, or of another server which both trains and samples. */
export const enginePolicyStore = (source: BuiltInSource): PolicyStore =>
  source.config.trainer.actor === "engine" ? needed(source).parts().policyStore : createHandleStore();
export const folderPolicyStore = (source: BuiltInSource): PolicyStore =>
  createFolderPolicyStore(() => openPolicyPlace(needed(source).policyPlace()));
export const memoryWorkQueue = ({ config: { workQueue } }: BuiltInSource): Parts["workQueue"] =>
  createMemoryWorkQueue({
    bound: workQueue.maxTasks,
    resultBound: workQueue.maxTasks,
    leaseMs: workQueue.leaseMs,
    maxAttempts: workQueue.maxAttempts,
  });

export function needed({ embedded }: BuiltInSource): EmbeddedSource {
  if (embedded !== null) return embedded;
  throw new WeirError("WEIR_E_STATE", "a part of the embedded engine needs a run; use createTrainingSystem");
}
