/** Owns the check of what advantage actors give: one finite number, or finite numbers per token, for each member. */
import type { AdvantageActor, AdvantagePart, BatchAdvantageActor } from "../../contracts/advantage.js";
import { awaitPart, callPart, faced, isFiniteNumber, type PartLabel, partError, shown } from "./part-errors.js";

const CONTRACT =
  "handle({ rewards, lengths }) returns, at once, an array with one entry per member: a finite number, or an array of as many finite numbers as the member has tokens";

/** What is wrong with the advantages given for members of these lengths, or null. */
function fault(given: unknown, lengths: readonly number[]): string | null {
  if (!Array.isArray(given)) return `gave ${shown(given)} as advantages`;
  if (given.length !== lengths.length) return `gave ${given.length} entries for ${lengths.length} members`;
  for (const [g, entry] of given.entries()) {
    if (Array.isArray(entry)) {
      if (entry.length !== lengths[g]) return `gave ${entry.length} values for member ${g} of ${lengths[g]} tokens`;
      const at = entry.findIndex((value) => !isFiniteNumber(value));
      if (at >= 0) return `gave ${shown(entry[at])} for token ${at} of member ${g}`;
    } else if (!isFiniteNumber(entry)) return `gave ${shown(entry)} for member ${g}`;
  }
  return null;
}

const BATCH_CONTRACT =
  "handle(groups, { signal }) returns, at once or by a promise, an array with one entry per group, each as handle() of version 1 gives it";

export function checkedAdvantage(actor: AdvantagePart, label: PartLabel): AdvantagePart {
  return actor.specificationVersion === 1 ? checkedOfGroup(actor, label) : checkedOfBatch(actor, label);
}

function checkedOfGroup(actor: AdvantageActor, label: PartLabel): AdvantageActor {
  return faced(actor, {
    handle(input) {
      const given = callPart(label, "handle()", CONTRACT, () => actor.handle(input));
      const wrong = fault(given, input.lengths);
      if (wrong !== null) throw partError(label, `${wrong} (rewards ${shown(input.rewards)})`, CONTRACT);
      return given;
    },
  });
}

function checkedOfBatch(actor: BatchAdvantageActor, label: PartLabel): BatchAdvantageActor {
  return faced(actor, {
    async handle(groups, options) {
      const call = () => actor.handle(groups, options);
      const given = await awaitPart(label, "handle()", BATCH_CONTRACT, call, options.signal);
      if (!Array.isArray(given) || given.length !== groups.length)
        throw partError(label, `gave ${shown(given)} for ${groups.length} groups`, BATCH_CONTRACT);
      for (const [p, { members, taskId }] of groups.entries()) {
        const lengths = members.map(({ tokenIds }) => tokenIds.length);
        const wrong = fault(given[p], lengths);
        if (wrong !== null) throw partError(label, `${wrong} of group ${p}, task ${shown(taskId)}`, BATCH_CONTRACT);
      }
      return given;
    },
  });
}
