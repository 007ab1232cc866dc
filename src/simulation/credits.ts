import type { RunContext } from "../actors/run/run-context.js";
import type { GroundTruth } from "./ground-truth.js";
import type { MemoryDisk } from "./memory-store.js";

/** Every group that admission counts as in flight has a rollout without an end in the ledger: no place in line is lost (I4). */
export function checkCredits({ pipeline, config }: RunContext, { book }: MemoryDisk, truth: GroundTruth): void {
  const open = Math.ceil(book.open().length / config.rollout.groupSize);
  const { inFlight } = pipeline;
  if (inFlight > open)
    truth.broken("I4", `admission counts ${inFlight} groups in flight, the ledger knows ${open} that are open`);
}
