/** Checks what a work queue of the user's own answers; results themselves are checked where they are taken. */
import type { WorkQueue } from "../../contracts/work-queue.js";
import { faced, type PartLabel, partError, shown } from "./part-errors.js";

const OFFERED = 'offer(task, { id }) resolves to "accepted", "duplicate" or "full"';

export function checkedWorkQueue<Task, Result>(
  queue: WorkQueue<Task, Result>,
  label: PartLabel,
): WorkQueue<Task, Result> {
  return faced(queue, {
    async offer(task, options) {
      const given: unknown = await queue.offer(task, options);
      if (given === "accepted" || given === "duplicate" || given === "full") return given;
      throw partError(label, `gave ${shown(given)} from offer()`, OFFERED);
    },
  });
}
