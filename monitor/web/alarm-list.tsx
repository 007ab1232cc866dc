import { useEffect, useRef } from "preact/hooks";
import { type Alarm, alarmSpan, alarmsOf, contributionShares } from "./alarms.js";
import { alertNumbers } from "./alert-numbers.js";
import { formatNumber, formatUnit } from "./format.js";
import { measureForMetric } from "./heat.js";
import { unitOf } from "./metric-search.js";
import { type Store, useTopics } from "./store.js";
import type { ViewState } from "./view.js";

/** The alarms, newest first; the selected one with all its culprits. A click on a culprit opens its rollout at the token. */

interface Props {
  readonly store: Store;
  readonly view: ViewState;
}

/** Steps shown on either side of a selected alert. */
const ALERT_WINDOW = 12;
/** Alarms listed. */
const LISTED = 100;
/** Culprits of an alarm that is not selected. */
const CULPRITS = 3;

export function Alerts({ store, view }: Props) {
  useTopics(store, "alerts", "guard", "view");
  const all = alarmsOf(store.alerts, store.guard);
  const chosen = view.current.alarm;
  const newest = all.toReversed().slice(0, LISTED);
  const old = all.find(({ alert }) => alert.id === chosen && newest.every((one) => one.alert.id !== chosen));
  const active = all.filter(({ state }) => state === "active").length;
  return (
    <section class="card panel alarm" aria-label="Alerts">
      <header>
        <h3>Alerts</h3>
        <span class="unit">
          {all.length === 0 ? "" : all.length}
          {active > 0 ? ` · ${active} active` : ""}
        </span>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <ul class="alerts" aria-live="polite" aria-relevant="additions" tabIndex={0} aria-label="Alerts, newest first">
        {all.length === 0 ? <li class="nothing">no alerts</li> : null}
        {(old ? [old, ...newest] : newest).map((alarm) => (
          <Item key={alarm.alert.id} alarm={alarm} selected={alarm.alert.id === chosen} view={view} />
        ))}
      </ul>
    </section>
  );
}

function Item(props: { readonly alarm: Alarm; readonly selected: boolean; readonly view: ViewState }) {
  const { alarm, selected, view } = props;
  const { alert } = alarm;
  const place = useRef<HTMLLIElement>(null);
  useEffect(() => {
    // Only the list moves: on a wide page it stands next to the curves, and the page must not jump.
    if (selected) reveal(place.current);
  }, [selected]);
  const look = () =>
    view.set({ alarm: alert.id, x: "step", range: [alarm.fromStep - ALERT_WINDOW, alarm.toStep + ALERT_WINDOW] });
  return (
    <li ref={place} class={selected ? `${alert.level} selected` : alert.level} data-alarm={alert.id}>
      <button type="button" class="plain" title="Show the steps around it" aria-pressed={selected} onClick={look}>
        <b>{alert.rule.replaceAll("_", " ")}</b> <span class="muted">{alarmSpan(alarm)}</span>
        <Numbers alarm={alarm} />
        <span class="text">{alert.text}</span>
      </button>
      <Culprits alarm={alarm} all={selected} view={view} />
    </li>
  );
}

/** Scrolls the list to an item; a list that is itself off the screen comes to it. */
function reveal(item: HTMLElement | null): void {
  const list = item?.parentElement;
  if (!item || !list) return;
  list.scrollTop = item.offsetTop - list.offsetTop;
  const { top, bottom } = list.getBoundingClientRect();
  if (bottom < 0 || top > innerHeight) item.scrollIntoView({ block: "center" });
}

/** Each with its part of the largest contribution, where there is one. */
function Culprits(props: { readonly alarm: Alarm; readonly all: boolean; readonly view: ViewState }) {
  const { alarm, all, view } = props;
  const { alert } = alarm;
  const unit = unitOf(alert.metric);
  const shares = contributionShares(alert.culprits);
  const open = (rolloutId: string, token: number) =>
    view.set({
      alarm: alert.id,
      trace: rolloutId,
      traceStep: alert.step,
      token,
      shade: measureForMetric(alert.metric),
    });
  return (
    <ol class="culprits">
      {alert.culprits.slice(0, all ? undefined : CULPRITS).map((culprit, i) => (
        <li key={culprit.rolloutId}>
          <button
            type="button"
            class="link"
            title={`contribution ${formatUnit(culprit.contribution, unit)}${unit ? ` ${unit}` : ""}, most at token ${culprit.tokenIndex}: open it there`}
            onClick={() => open(culprit.rolloutId, culprit.tokenIndex)}
          >
            {culprit.rolloutId}
          </button>
          <span class="muted">token {culprit.tokenIndex}</span>
          <span class="bar" aria-hidden="true">
            <i class="level" style={{ width: `${Math.round(100 * (shares[i] ?? 0))}%` }} />
          </span>
          <span class="muted">{formatNumber(culprit.contribution)}</span>
        </li>
      ))}
    </ol>
  );
}

/** Value and limit, each with its unit: a rule on z-scores has its limit in z. */
function Numbers({ alarm }: { readonly alarm: Alarm }) {
  const { alert, worst } = alarm;
  // An alert of an early build may name none.
  if ((alert.metric as string) === "") return null;
  const { value, limit } = alertNumbers(alert);
  const unit = unitOf(alert.metric);
  return (
    <span class="numbers">
      <span class="muted">{alert.metric}</span> {value}
      {limit === "" ? null : <span class="muted"> · {limit}</span>}
      {worst === null || worst === alert.value ? null : (
        <span class="muted">
          {" "}
          · worst {formatUnit(worst, unit)}
          {unit === "" || unit === "bytes" ? "" : ` ${unit}`}
        </span>
      )}
    </span>
  );
}
