/** Owns the check of what advantage actors give: one finite number, or finite numbers per token, for each member. */
import type { AdvantageActor } from "../contracts/advantage.js";
import { callPart, faced, isFiniteNumber, type PartLabel, partError, shown } from "./part-errors.js";

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

export function checkedAdvantage(actor: AdvantageActor, label: PartLabel): AdvantageActor {
  return faced(actor, {
    handle(input) {
      const given = callPart(label, "handle()", CONTRACT, () => actor.handle(input));
      const wrong = fault(given, input.lengths);
      if (wrong !== null) throw partError(label, `${wrong} (rewards ${shown(input.rewards)})`, CONTRACT);
      return given;
    },
  });
}
