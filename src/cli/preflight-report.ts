import type { FactData } from "../contracts/fact.js";
import { formatTable } from "./output.js";

/** What preflight found, as a person reads it: the trial batch in numbers, then each finding with its remedy. */
export function preflightReport(found: FactData["preflight.finished"]): string {
  const counts = (of: Readonly<Record<string, number>>) =>
    Object.entries(of)
      .map(([name, count]) => `${name}: ${count}`)
      .join(", ") || "none";
  const percent = (value: number) => `${Math.round(100 * value)} %`;
  const rows = [
    ["trial responses", String(found.rollouts)],
    ["outcomes", counts(found.outcomes)],
    ["rewards", counts(found.rewardHistogram)],
    ["groups of equal rewards", percent(found.zeroVarianceShare)],
    ["cut at the length limit", percent(found.truncatedShare)],
    ["tasks per phase", found.tasksPerPhase.join(", ")],
    ["tasks never issued", percent(found.neverIssuedShare)],
    ["memory", found.memory],
  ] as const;
  const findings = found.findings.map(({ cause, refuses, what, remedy }) =>
    [`${refuses ? "refused" : "warning"} (${cause}): ${what}`, `  remedy: ${remedy}`].join("\n"),
  );
  const end = findings.length === 0 ? "nothing to change was found" : findings.join("\n");
  return `${formatTable(["preflight", "found"], rows)}\n\n${end}`;
}

/** True where a run would be refused, unless run.preflight is `warn`. */
export function refuses({ findings }: Pick<FactData["preflight.finished"], "findings">): boolean {
  return findings.some((finding) => finding.refuses);
}
