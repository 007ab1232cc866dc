import { WeirError } from "../errors.js";
import { LedgerBook } from "../store/ledger-book.js";
import { isSimulated, SIMULATED_ERROR } from "./faults.js";
import type { GroundTruth } from "./ground-truth.js";
import type { Life } from "./life.js";
import type { MemoryDisk } from "./memory-store.js";

/** What has to hold at the end of each life and of a whole run; the rest is checked by the parts as they are called. */

/** Errors that a run may end with for no fault of the control plane. */
const EXPECTED: ReadonlySet<string> = new Set([
  "WEIR_E_NOTHING_TRAINED",
  "WEIR_E_DYNAMIC_SAMPLING_EXHAUSTED",
  "WEIR_E_GUARD",
  // Preflight refuses where the rewards of a whole trial batch fail, or are all equal.
  "WEIR_E_PREFLIGHT",
  "WEIR_E_REWARD",
  "WEIR_E_JUDGE",
]);

/** Deadlines that passed, and samplers that failed too often. */
const LOSSES: ReadonlySet<string> = new Set(["WEIR_E_ENGINE_TIMEOUT", "WEIR_E_SAMPLERS_LOST"]);

/** Virtual ms after its end within which nothing of a run may be left. */
export const AFTERMATH_MS = 1_000;

/** A life has ended by itself: as completed, stopped or failed. */
export function checkLife(life: Life, truth: GroundTruth, disk: MemoryDisk, faulty: boolean): void {
  const { ended } = life;
  if (ended === null) return;
  if (ended.status === "failed") checkError(ended.error, truth, faulty);
  const open = disk.book.open();
  if (open.length > 0)
    truth.broken(
      "I2",
      `${open.length} rollouts have no end in the ledger of a run that is ${ended.status}: ${open.slice(0, 3).join(", ")}`,
    );
  for (const { name, bound, highWater } of life.context.gauges.read())
    if (highWater > bound) truth.broken("I4", `queue ${name} held ${highWater}, its bound is ${bound}`);
  if (ended.status === "completed" && truth.applied === 0)
    truth.broken("I14", "the run is completed and not one update was applied");
}

/** A moment after the end of a life. */
export function checkAftermath(life: Life, truth: GroundTruth): void {
  const { calls, options } = life;
  if (calls.open.length > 0) truth.broken("I5", `after the end of the run these calls go on: ${calls.open.join(", ")}`);
  if (options.time.pending > 0) truth.broken("I5", `${options.time.pending} timers are set after the end of the run`);
  for (const { name, depth, waitingProducers } of life.context.gauges.read())
    if (depth + waitingProducers > 0 && life.ended?.status === "completed")
      truth.broken(
        "I4",
        `queue ${name} holds ${depth} items after the end of the run, ${waitingProducers} producers wait`,
      );
}

/** The run is over: its ledger, read again from the start, and its hangs. */
export function checkRun(truth: GroundTruth, disk: MemoryDisk, completed: boolean): void {
  const book = new LedgerBook();
  try {
    for (const entry of disk.entries) book.apply(entry);
  } catch (error) {
    truth.broken("I2", String((error as Error).message));
  }
  if (completed) checkWeights(truth, disk, book);
  checkSeeds(truth, disk);
  checkVersions(truth, disk);
}

/** The final weights come from the updates on exactly those rollouts that the ledger calls trained, rollbacks and kills included. */
function checkWeights(truth: GroundTruth, disk: MemoryDisk, book: LedgerBook): void {
  const learned = new Set(truth.weights?.trained);
  const told = new Set(disk.entries.map(({ rolloutId }) => rolloutId).filter((id) => book.stateOf(id) === "trained"));
  const untold = [...learned].filter((id) => !told.has(id));
  const missing = [...told].filter((id) => !learned.has(id));
  if (untold.length > 0)
    truth.broken(
      "I2",
      `the weights come from ${untold.length} rollouts that the ledger does not call trained: ${untold[0]}, ${book.stateOf(untold[0] as string)}`,
    );
  if (missing.length > 0)
    truth.broken(
      "I2",
      `the ledger calls ${missing.length} rollouts trained that the weights do not come from: ${missing[0]}`,
    );
}

/** A group that is drawn again, for whatever reason, is drawn as another attempt: no two rollouts of the ledger have one key. */
function checkSeeds(truth: GroundTruth, disk: MemoryDisk): void {
  const drawn = new Map<number, string>();
  // An id may stand for another rollout than before its lines were cut off; one that was scored since is known.
  for (const { rolloutId } of disk.entries.filter(({ state }) => state === "scored")) {
    const seed = truth.seedOf(rolloutId);
    if (seed === null) continue;
    const other = drawn.get(seed);
    if (other !== undefined) truth.broken("I12", `rollouts ${other} and ${rolloutId} were drawn with one key`);
    drawn.set(seed, rolloutId);
  }
}

/** A version number stands for one publication, and numbers grow, also over rollbacks. */
function checkVersions(truth: GroundTruth, disk: MemoryDisk): void {
  let last = { policyVersion: 0, sha256: "" };
  for (const fact of disk.journal) {
    if (fact.type !== "step.committed") continue;
    const { policyVersion, sha256 } = fact.data;
    const used = policyVersion === last.policyVersion && last.sha256 !== "" && sha256 !== last.sha256;
    if (policyVersion < last.policyVersion || used)
      truth.broken(
        "I9",
        `step ${fact.step} has version ${policyVersion} (${sha256}) after ${last.policyVersion} (${last.sha256})`,
      );
    last = { policyVersion, sha256 };
  }
}

/** An error that ended a life must follow from a fault, or say that the run has nothing to learn from. */
export function checkError(error: unknown, truth: GroundTruth, faulty: boolean): void {
  const text = error instanceof Error ? error.message : String(error);
  const code = WeirError.isInstance(error) ? error.code : null;
  if (code === "WEIR_E_LEDGER") truth.broken("I2", text);
  else if (code === "WEIR_E_POLICY_VERSION") truth.broken("I13", text);
  else if (code !== null && EXPECTED.has(code)) return;
  else if (!faulty || !isExplained(error)) truth.broken("error", text);
}

/** A fault explains its own error, and the deadline of a call that hung. */
function isExplained(error: unknown): boolean {
  if (isSimulated(error) || (error instanceof Error && error.message.includes(SIMULATED_ERROR))) return true;
  if (!WeirError.isInstance(error)) return false;
  return LOSSES.has(error.code) || (error.code === "WEIR_E_PART" && error.message.includes("did not answer"));
}
