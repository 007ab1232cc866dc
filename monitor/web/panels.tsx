import type { Alert } from "../../src/contracts/alert.js";
import { alertNumbers } from "./alert-numbers.js";
import { formatClock, formatNumber, formatPercent } from "./format.js";
import { type Store, useTopics } from "./store.js";
import type { ViewState } from "./view.js";

interface Counted {
  readonly n: number;
  readonly correct: number;
  readonly unscored?: number | undefined;
}

const scoredOf = ({ n, unscored = 0 }: Counted) => n - unscored;

/** "3 of 8 scored, 2 unscored" */
function scoredText(result: Counted): string {
  const { correct, unscored = 0 } = result;
  return `${correct} of ${scoredOf(result)}${unscored > 0 ? ` scored, ${unscored} unscored` : ""}`;
}

/** The small panels next to the charts: held-out results, alerts, log. */

export function HeldOut({ store }: { readonly store: Store }) {
  useTopics(store, "run");
  const evaluations = store.run?.evaluations ?? [];
  if (evaluations.length === 0) return null;
  const buckets = [...new Set(evaluations.flatMap((evaluation) => Object.keys(evaluation.buckets)))];
  return (
    <section class="card panel" aria-label="Held-out accuracy">
      <header>
        <h3>Held-out accuracy</h3>
        <span class="unit">by length bucket</span>
      </header>
      <div class="scroll-x">
        <table class="heldout">
          <thead>
            <tr>
              <th scope="col">stage</th>
              {buckets.map((bucket) => (
                <th key={bucket} scope="col">
                  {bucket}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {evaluations.slice(-8).map((evaluation) => (
              <tr key={evaluation.stage}>
                <th scope="row">{evaluation.stage.replaceAll("_", " ")}</th>
                {buckets.map((bucket) => {
                  const result = evaluation.buckets[bucket];
                  return (
                    <td key={bucket} title={result ? scoredText(result) : ""}>
                      {result && scoredOf(result) > 0 ? formatPercent(result.correct / scoredOf(result)) : "–"}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}

/** Steps shown on either side of a selected alert. */
const ALERT_WINDOW = 12;

export function Alerts({ store, view }: { readonly store: Store; readonly view: ViewState }) {
  useTopics(store, "alerts");
  const alerts = store.alerts.toReversed().slice(0, 100);
  const look = (alert: Alert) => view.set({ x: "step", range: [alert.step - ALERT_WINDOW, alert.step + ALERT_WINDOW] });
  return (
    <section class="card panel alarm" aria-label="Alerts">
      <header>
        <h3>Alerts</h3>
        <span class="unit">{store.alerts.length === 0 ? "" : store.alerts.length}</span>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <ul class="alerts" aria-live="polite" aria-relevant="additions" tabIndex={0} aria-label="Alerts, newest first">
        {alerts.length === 0 ? <li class="nothing">no alerts</li> : null}
        {alerts.map((alert) => (
          <li key={alert.id} class={alert.level}>
            <button type="button" class="plain" title="Show the steps around it" onClick={() => look(alert)}>
              <b>{alert.rule.replaceAll("_", " ")}</b> <span class="muted">step {alert.step}</span>
              <AlertNumbers alert={alert} />
              <span class="text">{alert.text}</span>
            </button>
            <span class="culprits">
              {alert.culprits.slice(0, 3).map((culprit) => (
                <button
                  key={culprit.rolloutId}
                  type="button"
                  class="link"
                  title={`contribution ${formatNumber(culprit.contribution)} at token ${culprit.tokenIndex}`}
                  onClick={() => view.set({ trace: culprit.rolloutId, traceStep: alert.step })}
                >
                  {culprit.rolloutId}
                </button>
              ))}
            </span>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Value and limit, each with its unit: a rule on z-scores has its limit in z. */
function AlertNumbers({ alert }: { readonly alert: Alert }) {
  // An alert of an early build may name none.
  if ((alert.metric as string) === "") return null;
  const { value, limit } = alertNumbers(alert);
  return (
    <span class="numbers">
      <span class="muted">{alert.metric}</span> {value}
      {limit === "" ? null : <span class="muted"> · {limit}</span>}
    </span>
  );
}

export function Log({ store }: { readonly store: Store }) {
  useTopics(store, "logs");
  const lines = store.logs.slice(-80).toReversed();
  if (lines.length === 0) return null;
  return (
    <section class="card panel" aria-label="Log">
      <header>
        <h3>Log</h3>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <ol class="log" tabIndex={0} aria-label="Log, newest first">
        {lines.map((line, i) => (
          <li key={`${line.time}-${lines.length - i}`} class={line.level}>
            <time>{formatClock(line.time)}</time> {line.text}
          </li>
        ))}
      </ol>
    </section>
  );
}
