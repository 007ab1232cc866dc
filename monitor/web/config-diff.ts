import type { Json } from "../../src/contracts/task.js";
import type { RunConfig } from "../client/index.js";

/** Options of one or several runs as rows of a table. Pure. */

export interface OptionRow {
  readonly path: string;
  /** One per run, as JSON; null where the run has no such option. */
  readonly values: readonly (string | null)[];
  /** Steps at which the first run changed it. */
  readonly changedAt: readonly number[];
  readonly differs: boolean;
}

/** A row per option that any run has, by path. */
export function optionRows(configs: readonly RunConfig[]): readonly OptionRow[] {
  const flat = configs.map(({ resolved, changes }) => {
    const values = flatten(resolved);
    for (const change of changes) values.set(change.path, JSON.stringify(change.new));
    return values;
  });
  const paths = [...new Set(flat.flatMap((values) => [...values.keys()]))].sort();
  return paths.map((path) => {
    const values = flat.map((one) => one.get(path) ?? null);
    const changedAt = (configs[0]?.changes ?? []).filter((change) => change.path === path).map(({ step }) => step);
    return { path, values, changedAt, differs: new Set(values).size > 1 };
  });
}

/** Leaves by dotted path; a list of plain values is one leaf. */
function flatten(value: Json, path = "", into = new Map<string, string>()): Map<string, string> {
  const nested = typeof value === "object" && value !== null;
  const plainList = Array.isArray(value) && value.every((one) => typeof one !== "object" || one === null);
  if (!nested || plainList || Object.keys(value).length === 0) {
    if (path !== "") into.set(path, JSON.stringify(value));
    return into;
  }
  for (const [key, one] of Object.entries(value as Readonly<Record<string, Json>>))
    flatten(one, path === "" ? key : `${path}.${key}`, into);
  return into;
}
