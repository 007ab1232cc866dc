import { WeirError } from "../../errors.js";
import type { Row } from "../exact.js";
import * as all from "./all.js";
import type { TaskFormat } from "./format.js";

export type { TaskFormat, UnnamedTask } from "./format.js";

/** Every format by name. */
const FORMATS: ReadonlyMap<string, TaskFormat> = new Map(Object.entries(all));
const IN_ORDER = [...FORMATS.values()].sort((a, b) => a.rank - b.rank);

/** What `data.format` may be: `auto` looks at the columns; `jsonl` is any text file of verl rows or weir tasks. */
export const FORMAT_CHOICES: readonly string[] = [
  "auto",
  "jsonl",
  ...[...FORMATS.keys()].filter((name) => name !== "task"),
];

/** Columns of all formats, for messages. */
export const KNOWN_COLUMNS = IN_ORDER.map(({ columns }) => columns).join(", ");

/** The format of a file by its first row; null where none of those that `wanted` permits fits. Errors: as `assertFormat`. */
export function formatFor(first: Row, wanted: string): TaskFormat | null {
  assertFormat(wanted);
  const named = FORMATS.get(wanted);
  if (named !== undefined) return named;
  const permitted = wanted === "jsonl" ? [FORMATS.get("task"), FORMATS.get("verl")] : IN_ORDER;
  const found = IN_ORDER.find((format) => format.fits(first));
  return found !== undefined && permitted.includes(found) ? found : null;
}

/** Errors: WEIR_E_CONFIG for a name that is no format. */
export function assertFormat(name: string): void {
  if (FORMAT_CHOICES.includes(name)) return;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `option "data.format": expected one of ${FORMAT_CHOICES.join(", ")}, got ${JSON.stringify(name)}`,
    { path: "data.format", value: name },
  );
}
