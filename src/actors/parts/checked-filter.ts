/** Checks what filters give: a word or null for each group. */
import type { GroupFilter } from "../../contracts/filter.js";
import { awaitPart, faced, type PartLabel, partError, shown } from "./part-errors.js";

const CONTRACT =
  "filter(groups) returns, at once or by a promise, an array with one entry per group: null, or a reason of [a-z0-9_], up to 40 characters";
const REASON = /^[a-z0-9_]{1,40}$/;

export function checkedFilter(filter: GroupFilter, label: PartLabel): GroupFilter {
  return faced(filter, {
    async filter(groups, options) {
      const call = () => filter.filter(groups, options);
      const given: unknown = await awaitPart(label, "filter()", CONTRACT, call, options.signal);
      if (!Array.isArray(given) || given.length !== groups.length)
        throw partError(label, `gave ${shown(given)} for ${groups.length} groups`, CONTRACT);
      const wrong = given.find((one) => one !== null && !(typeof one === "string" && REASON.test(one)));
      if (wrong !== undefined) throw partError(label, `gave the reason ${shown(wrong)}`, CONTRACT);
      return given as (string | null)[];
    },
  });
}
