/** `weir eval compare`: two evaluations, question by question. */
import { compareEvaluations } from "../../actors/evaluation/compare.js";
import { readEvaluation, type StoredEvaluation } from "../../actors/evaluation/evaluation-folder.js";
import type { Json } from "../../contracts/task.js";
import { canonicalJson } from "../../data/canonical.js";
import { WeirError } from "../../errors.js";
import { type ExitCode, note, print, printJson } from "../output.js";
import { comparisonTable } from "./tables.js";

/** Of the bootstrap and of random signs: the same two folders give the same numbers. */
const SEED = 1;
/** What is meant to differ, and what the comparison does not depend on. */
const FREE = new Set(["policy", "seed", "version"]);

/** Errors: WEIR_E_FILE_MISSING, WEIR_E_DATA; WEIR_E_USAGE where they have no benchmark in common. */
export async function compareCommand(a: string, b: string, { json }: { readonly json?: boolean }): Promise<ExitCode> {
  const [first, second] = [await readEvaluation(a), await readEvaluation(b)];
  const comparisons = compareEvaluations(first.responses, second.responses, SEED);
  if (Object.keys(comparisons).length === 0)
    throw new WeirError(
      "WEIR_E_USAGE",
      `${a} and ${b} have no benchmark in common; compare evaluations of the same ones`,
      { a, b },
    );
  const differences = settingsThatDiffer(first, second);
  for (const name of differences)
    note(`${name} differs: ${shortly(first.settings[name])} in A, ${shortly(second.settings[name])} in B`);
  for (const [name, found] of Object.entries(comparisons)) {
    if (found === null) note(`${name}: no question has a score in both`);
    else if (found.unpaired > 0) note(`${name}: ${found.unpaired} questions have a score in one only and are left out`);
    if ((found?.askedOtherwise ?? 0) > 0)
      note(`${name}: ${found?.askedOtherwise} questions were not asked in the same words`);
  }
  if (json) printJson({ a, b, settingsThatDiffer: differences, benchmarks: comparisons });
  else print(comparisonTable(comparisons));
  return 0;
}

function settingsThatDiffer(a: StoredEvaluation, b: StoredEvaluation): string[] {
  const names = [...new Set([...Object.keys(a.settings), ...Object.keys(b.settings)])].filter(
    (name) => !FREE.has(name),
  );
  const text = (value: Json | undefined) => canonicalJson(value ?? null);
  return names.filter((name) => text(a.settings[name]) !== text(b.settings[name]));
}

const shortly = (value: Json | undefined) => canonicalJson(value ?? null).slice(0, 120);
