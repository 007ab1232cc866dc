import type { GuardEvent } from "../client/index.js";
import { type Alarm, alarmsOf, alarmText } from "./alarms.js";
import { formatClock, formatNumber } from "./format.js";
import { initiator, shown } from "./knobs.js";
import { type Store, useTopics } from "./store.js";
import type { ViewState } from "./view.js";

/** What happened to the run's updates, over the steps of the charts: alarms from begin to end, verdicts, rollbacks, turned knobs. */

interface Props {
  readonly store: Store;
  readonly view: ViewState;
}

interface Mark {
  readonly key: string;
  readonly from: number;
  readonly to: number;
  readonly tone: string;
  readonly sign: string;
  readonly text: string;
  readonly selected: boolean;
  readonly pick: () => void;
}

interface Lane {
  readonly label: string;
  readonly marks: readonly Mark[];
}

/** Marks of a lane that are drawn, the newest ones: more cannot be told apart. */
const MOST_MARKS = 250;
/** Events in the list. */
const LISTED = 100;
/** Steps shown on either side of a picked event. */
const AROUND = 12;

export function Timeline({ store, view }: Props) {
  useTopics(store, "guard", "alerts", "metrics", "run", "view");
  const { guard } = store;
  const alarms = alarmsOf(store.alerts, guard);
  const [first, last] = domain(store, view);
  const look = (step: number) => view.set({ x: "step", range: [step - AROUND, step + AROUND] });
  const lanes = lanesOf(guard, alarms, view, look);
  const listed = guard
    .filter((event) => event.kind !== "alarm" || event.state !== "updated")
    .slice(-LISTED)
    .reverse();
  const rollbacks = guard.filter((event) => event.kind === "rollback").length;
  return (
    <section class="card timeline" aria-label="Guard">
      <header>
        <h3>Guard</h3>
        <span class="unit">{summary(alarms, guard, rollbacks)}</span>
      </header>
      {guard.length === 0 && alarms.length === 0 ? null : (
        <div class="timeline-body">
          <div class="lanes">
            {lanes.map((lane) => (
              <LaneRow key={lane.label} lane={lane} first={first} last={last} />
            ))}
            <div class="lane axis" aria-hidden="true">
              <span>step</span>
              <div class="track">
                <b>{formatNumber(Math.ceil(first))}</b>
                <b>{formatNumber(Math.floor(last))}</b>
              </div>
            </div>
          </div>
          {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
          <ol class="events" tabIndex={0} aria-label="Events of the guard, newest first">
            {listed.map((event, i) => (
              <li key={`${event.time}-${listed.length - i}`} class={toneOf(event)}>
                <time>{formatClock(event.time)}</time>{" "}
                <button type="button" class="plain" title="Show the steps around it" onClick={() => look(event.step)}>
                  step {event.step} · {eventText(event)}
                </button>
              </li>
            ))}
          </ol>
        </div>
      )}
    </section>
  );
}

function summary(alarms: readonly Alarm[], events: readonly GuardEvent[], rollbacks: number): string {
  const active = alarms.filter(({ state }) => state === "active").length;
  const verdicts = events.filter(({ kind }) => kind === "verdict").length;
  const turns = events.filter(({ kind }) => kind === "knob").length;
  const parts = [
    counted(alarms.length, "alarm") + (active > 0 ? ` (${active} active)` : ""),
    counted(verdicts, "verdict"),
    counted(rollbacks, "rollback"),
    counted(turns, "knob turn"),
  ];
  return alarms.length + verdicts + rollbacks + turns === 0 ? "nothing has happened" : parts.join(" · ");
}

const counted = (count: number, noun: string): string =>
  `${count === 0 ? "no" : count} ${noun}${count === 1 ? "" : "s"}`;

/** First and last step: those that the charts show. */
function domain(store: Store, view: ViewState): readonly [number, number] {
  const { range, x } = view.current;
  if (range && x === "step") return range;
  const { steps } = store.training;
  const told = store.guard.map(({ step }) => step);
  const first = Math.min(steps[0] ?? 0, ...told.slice(0, 1));
  const last = Math.max(steps.at(-1) ?? 1, ...told.slice(-1));
  return [first, Math.max(first + 1, last)];
}

function LaneRow(props: { readonly lane: Lane; readonly first: number; readonly last: number }) {
  const { lane, first, last } = props;
  const place = (step: number) => (100 * (step - first)) / (last - first);
  const inside = lane.marks.filter(({ from, to }) => to >= first && from <= last).slice(-MOST_MARKS);
  return (
    <div class="lane">
      <span>{lane.label}</span>
      <div class="track">
        {inside.map((mark) => {
          const left = Math.max(0, place(mark.from));
          const width = mark.from === mark.to ? {} : { width: `${Math.min(100, place(mark.to)) - left}%` };
          return (
            <button
              key={mark.key}
              type="button"
              class={`mark ${mark.tone}${mark.from === mark.to ? " point" : ""}`}
              style={{ left: `${left}%`, ...width }}
              title={mark.text}
              aria-label={mark.text}
              aria-pressed={mark.selected}
              onClick={mark.pick}
            >
              <i aria-hidden="true">{mark.sign}</i>
            </button>
          );
        })}
      </div>
    </div>
  );
}

function lanesOf(
  events: readonly GuardEvent[],
  alarms: readonly Alarm[],
  view: ViewState,
  look: (step: number) => void,
): readonly Lane[] {
  const mark = (event: GuardEvent, i: number, from = event.step, to = event.step): Mark => ({
    key: `${i}`,
    from,
    to,
    tone: toneOf(event),
    sign: SIGNS[event.kind === "verdict" ? event.verdict : event.kind] ?? "●",
    text: `step ${event.step}: ${eventText(event)}`,
    selected: false,
    pick: () => look(event.step),
  });
  const of = (...kinds: GuardEvent["kind"][]) =>
    events.flatMap((event, i) =>
      !kinds.includes(event.kind)
        ? []
        : [event.kind === "rollback" ? mark(event, i, event.toStep, event.fromStep) : mark(event, i)],
    );
  const raised = alarms.map((alarm): Mark => {
    const { alert } = alarm;
    return {
      key: alert.id,
      from: alarm.fromStep,
      to: alarm.toStep,
      tone: alert.level,
      sign: "▼",
      text: alarmText(alarm),
      selected: view.current.alarm === alert.id,
      pick: () => view.set({ alarm: alert.id }),
    };
  });
  return [
    { label: "alarms", marks: raised },
    { label: "verdicts", marks: of("verdict", "prepared", "batch") },
    { label: "rollbacks", marks: of("rollback") },
    { label: "knobs", marks: of("knob") },
  ];
}

const SIGNS: Readonly<Record<string, string>> = {
  shrink: "◆",
  skip: "✕",
  rollback: "↶",
  prepared: "○",
  batch: "▫",
  knob: "●",
};

function toneOf(event: GuardEvent): string {
  switch (event.kind) {
    case "verdict":
      return event.verdict === "shrink" ? "warn" : "error";
    case "alarm":
      return event.state === "ended" ? "calm" : "warn";
    case "rollback":
      return "error";
    case "batch":
      return "warn";
    default:
      return "info";
  }
}

/** One sentence. */
export function eventText(event: GuardEvent): string {
  switch (event.kind) {
    case "verdict": {
      const scale = event.scale === null ? "" : ` to ${formatNumber(event.scale)} of the step`;
      const kl = event.kl === null ? "" : `, KL of the trial ${formatNumber(event.kl)} nats`;
      const where = event.stage === "warmup" ? "warm-up, " : "";
      return `${where}mini-batch ${event.miniBatch}: ${event.verdict}${scale} (${event.reason}${kl})`;
    }
    case "prepared":
      return `prepared: ${event.reason}`;
    case "alarm": {
      const what = `${event.rule.replaceAll("_", " ")} on ${event.metric}`;
      if (event.state === "raised") return `alarm: ${what}`;
      if (event.state === "updated") return `alarm lasts: ${what}`;
      const steps =
        event.fromStep === event.toStep ? `step ${event.fromStep}` : `steps ${event.fromStep}–${event.toStep}`;
      return `alarm over: ${what} (${steps}, worst ${formatNumber(event.worst)})`;
    }
    case "rollback":
      return `rollback from step ${event.fromStep} to the end of step ${event.toStep}: ${event.reason} (${initiator(event.by)}; ${event.undone} rollouts undone)`;
    case "knob":
      return `${event.path} ${shown(event.old)} → ${shown(event.new)} (${initiator(event.by)})`;
    case "batch":
      return `mini-batch ${event.miniBatch} saved as ${event.path}${event.replayable ? "; weir replay repeats it" : ""}`;
  }
}
