/** How the forms of `weir bench` show a result: a table for people, or one JSON object as the last line of stdout. */
import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { print, table } from "../output.js";
import type { OutputChoice } from "./options.js";

type Scalar = string | number | boolean | null;

const isScalar = (value: unknown): value is Scalar => typeof value !== "object" || value === null;
const cell = (value: unknown) => (value === null || value === undefined ? "–" : String(value));

/** Prints scalars of a result as rows, and lists of records as tables of their own. */
function printTables(result: object): void {
  const entries = Object.entries(result);
  table(
    ["figure", "value"],
    entries.filter(([, value]) => isScalar(value)).map(([name, value]) => [name, cell(value)]),
  );
  for (const [, value] of entries) {
    if (!Array.isArray(value) || value.length === 0 || isScalar(value[0])) continue;
    const columns = Object.keys(value[0] as object);
    print();
    table(
      columns,
      value.map((row: Readonly<Record<string, unknown>>) => columns.map((column) => cell(row[column]))),
    );
  }
}

export async function showResult(result: object, choice: OutputChoice): Promise<void> {
  const line = JSON.stringify(result);
  if (choice.out !== undefined) {
    await mkdir(dirname(choice.out), { recursive: true });
    await writeFile(choice.out, `${line}\n`);
  }
  if (choice.json) print(line);
  else printTables(result);
}
