import { useEffect, useState } from "preact/hooks";
import type { ConnectionState, RunInfo } from "../client/index.js";
import type { Commands } from "./commands.js";
import { Controls } from "./controls.js";
import { remainingMs, roughDuration } from "./eta.js";
import { formatDuration } from "./format.js";
import { type Store, useTopics } from "./store.js";
import type { ViewState } from "./view.js";

/** The top bar: run, state, progress, connection; and the buttons. */

interface Props {
  readonly store: Store;
  readonly view: ViewState;
  readonly commands: Commands;
  readonly onHelp: () => void;
}

export function Header({ store, commands, view, onHelp }: Props) {
  useTopics(store, "run", "connection", "metrics", "view");
  const { run } = store;
  const heard = isHeard(store.connection);
  const now = useNow(run?.live === true && run.endedAt === null && heard);
  const elapsed = run ? (run.endedAt ?? (run.live ? now : run.startedAt)) - run.startedAt : 0;
  const left = run && heard ? remainingMs(run, store.training.steps, store.training.times) : null;
  return (
    <header class="top">
      <span class="brand" aria-hidden="true">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M4 11c4-4 8 4 12 0s8 4 12 0" />
          <path class="posts" d="M9 16v9M16 16v9M23 16v9" />
        </svg>
        weir
      </span>
      <div class="identity">
        <h1>{run?.id ?? "no run yet"}</h1>
        <p title={run?.model ?? ""}>
          {[run?.model?.split("/").at(-1), run?.engine, run?.seed == null ? null : `seed ${run.seed}`]
            .filter(Boolean)
            .join(" · ")}
        </p>
      </div>
      {run ? <Status run={run} heard={heard} /> : null}
      <Steps store={store} />
      {run && elapsed > 0 ? <span class="elapsed">{formatDuration(elapsed)}</span> : null}
      {left === null ? null : (
        <span class="elapsed" data-testid="eta" title="For the steps that are planned, at the pace of the last ones">
          about {roughDuration(left)} left
        </span>
      )}
      <span class="spacer" />
      <Connection state={store.connection} over={run?.live === true && isOver(run)} />
      <Controls store={store} commands={commands} />
      <button
        type="button"
        class="icon"
        title={view.dark ? "Light colours" : "Dark colours"}
        onClick={() => view.set({ theme: view.dark ? "light" : "dark" })}
      >
        <svg viewBox="0 0 16 16" aria-hidden="true">
          {view.dark ? (
            <path d="M8 4.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7M8 .8v1.7M8 13.5v1.7M.8 8h1.7M13.5 8h1.7M2.9 2.9l1.2 1.2M11.9 11.9l1.2 1.2M2.9 13.1l1.2-1.2M11.9 4.1l1.2-1.2" />
          ) : (
            <path d="M13.5 9.8A6 6 0 0 1 6.2 2.5a6 6 0 1 0 7.3 7.3z" />
          )}
        </svg>
        <span class="hidden">{view.dark ? "Light colours" : "Dark colours"}</span>
      </button>
      <button type="button" class="icon" title="Keys and symbols (?)" onClick={onHelp}>
        <span aria-hidden="true">?</span>
        <span class="hidden">Help</span>
      </button>
    </header>
  );
}

/** Whether the page shows the current state. */
const isHeard = ({ kind }: ConnectionState): boolean => kind === "live" || kind === "catching-up";

const isOver = (run: RunInfo): boolean => ENDED.includes(run.status);
const ENDED: readonly RunInfo["status"][] = ["completed", "stopped", "failed"];

/** The run's state; a running one without connection may have changed since, and is shown as last seen. */
function Status({ run, heard }: { readonly run: RunInfo; readonly heard: boolean }) {
  const unknown = run.live && !heard && !isOver(run);
  const text = unknown ? `unknown · last seen ${run.status}` : run.live ? run.status : `${run.status} · past run`;
  return (
    <span class={`pill status-${unknown ? "unknown" : run.status}`} data-testid="status">
      {text}
    </span>
  );
}

function Steps({ store }: { readonly store: Store }) {
  const { run } = store;
  if (!run) return null;
  const phase = run.phases.find((band) => band.toStep === null) ?? run.phases.at(-1);
  const of = run.plannedSteps ? ` / ${run.plannedSteps}` : "";
  return (
    <div class="steps">
      <span>
        step <b>{run.step}</b>
        {of}
        {phase ? (
          <>
            {" "}
            · phase <b>{phase.k}</b> <span class="muted">≤ {phase.maxTokens} tokens</span>
          </>
        ) : null}
      </span>
      {run.plannedSteps ? (
        <progress value={Math.min(run.step, run.plannedSteps)} max={run.plannedSteps} aria-label="steps done" />
      ) : null}
    </div>
  );
}

function Connection({ state, over }: { readonly state: ConnectionState; readonly over: boolean }) {
  // The monitor ends with its run: that is not a fault.
  const text = over && state.kind === "lost" ? "monitor closed with the run" : describe(state);
  return (
    <span class={`connection ${state.kind}`} role="status" data-testid="connection">
      <i aria-hidden="true" />
      {text}
    </span>
  );
}

function describe(state: ConnectionState): string {
  switch (state.kind) {
    case "connecting":
      return "connecting";
    case "catching-up":
      return "catching up";
    case "live":
      return "live";
    case "stale":
      return `stale for ${Math.round(state.sinceMs / 1000)} s`;
    case "lost":
      return `lost, next try in ${Math.max(1, Math.round(state.retryInMs / 1000))} s`;
    case "unauthorised":
      return state.reason;
    case "closed":
      return "closed";
  }
}

/** The time, once a second while it is wanted. */
function useNow(wanted: boolean): number {
  const [now, setNow] = useState(Date.now());
  useEffect(() => {
    if (!wanted) return;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [wanted]);
  return now;
}
