import { formatPercent } from "./format.js";
import { type Store, useTopics } from "./store.js";

/** What a trial batch showed before training: open where there is something to change, folded where there is not. */
export function Preflight({ store }: { readonly store: Store }) {
  useTopics(store, "run");
  const found = store.run?.preflight;
  if (!found) return null;
  const { findings, rollouts, outcomes, rewardHistogram, truncatedShare, zeroVarianceShare, tasksPerPhase } = found;
  const count = findings.length;
  const summary = count === 0 ? "nothing to change" : `${count} ${count === 1 ? "finding" : "findings"}`;
  return (
    <section class="card panel" aria-label="Preflight" data-testid="preflight">
      <details open={count > 0}>
        <summary>
          Preflight <span class="unit">{summary}</span>
        </summary>
        <ul>
          {findings.map(({ cause, refuses, what, remedy }) => (
            <li key={cause} class="finding">
              <strong>{refuses ? "Refused: " : "Warning: "}</strong>
              {what}
              <br />
              <em>Remedy:</em> {remedy}
            </li>
          ))}
        </ul>
        <dl>
          <dt>Trial responses</dt>
          <dd>
            {rollouts} ({counts(outcomes)})
          </dd>
          <dt>Rewards</dt>
          <dd>{counts(rewardHistogram)}</dd>
          <dt>Groups of equal rewards</dt>
          <dd>{formatPercent(zeroVarianceShare)}</dd>
          <dt>Cut at the length limit</dt>
          <dd>{formatPercent(truncatedShare)}</dd>
          <dt>Tasks per phase</dt>
          <dd>{tasksPerPhase.join(", ")}</dd>
          <dt>Memory</dt>
          <dd>{found.memory}</dd>
        </dl>
      </details>
    </section>
  );
}

function counts(of: Readonly<Record<string, number>>): string {
  return (
    Object.entries(of)
      .map(([name, count]) => `${name}: ${count}`)
      .join(", ") || "none"
  );
}
