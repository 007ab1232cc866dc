import { useMemo } from "preact/hooks";
import type { MetricName } from "../../src/contracts/metrics.js";
import { Swatch } from "./chart-card.js";
import { metricsCsv } from "./csv.js";
import { download, fileName } from "./download.js";
import { type Store, useTopics } from "./store.js";
import { DARK, DASHES, LIGHT } from "./theme.js";
import { tracksOf } from "./tracks.js";
import type { ViewState } from "./view.js";

/** How the charts are drawn, which of them, and of which runs. */

interface Props {
  readonly store: Store;
  readonly view: ViewState;
  /** Names of all metrics that any run has. */
  readonly names: readonly MetricName[];
  /** What a search has found, such as "12 charts"; empty without one. */
  readonly found: string;
}

export function Toolbar({ store, view, names, found }: Props) {
  useTopics(store, "view", "compare", "run");
  const { smoothing, x, logY, robust, range } = view.current;
  return (
    <div class="toolbar" role="toolbar" aria-label="Charts">
      <Search view={view} names={names} found={found} />
      <label>
        Smoothing
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={smoothing}
          onInput={(event) => view.set({ smoothing: Number(event.currentTarget.value) })}
        />
        <output>{smoothing.toFixed(2)}</output>
      </label>
      <fieldset class="choice">
        <legend class="hidden">x axis</legend>
        {(["step", "minutes"] as const).map((choice) => (
          <label key={choice}>
            <input type="radio" name="x" checked={x === choice} onChange={() => view.set({ x: choice, range: null })} />
            <span>{choice}</span>
          </label>
        ))}
      </fieldset>
      <label class="check">
        <input type="checkbox" checked={logY} onChange={() => view.set({ logY: !logY })} /> log y
      </label>
      <label class="check">
        <input type="checkbox" checked={robust} onChange={() => view.set({ robust: !robust })} /> ignore outliers
      </label>
      <span class="hint">{range ? "" : "drag to zoom · double-click to reset"}</span>
      {range ? (
        <button type="button" class="ghost" onClick={() => view.set({ range: null })}>
          Reset zoom
        </button>
      ) : null}
      <span class="spacer" />
      <button
        type="button"
        class="ghost"
        title="All metrics of the runs and steps that are shown"
        onClick={() => saveAll(store, view, names)}
      >
        Save CSV
      </button>
      <span class="legend">
        <svg viewBox="0 0 10 10" class="mark alert" aria-hidden="true">
          <path d="M1 1h8L5 8z" />
        </svg>
        alert
        <svg viewBox="0 0 10 10" class="mark checkpoint" aria-hidden="true">
          <path d="M5 2l4 7H1z" />
        </svg>
        checkpoint
        <svg viewBox="0 0 10 10" class="mark rollback" aria-hidden="true">
          <path d="M5 0v10" />
        </svg>
        rollback
      </span>
      <Runs store={store} view={view} />
    </div>
  );
}

function Search({ view, names, found }: Pick<Props, "view" | "names" | "found">) {
  const listed = useMemo(() => [...names].sort(), [names]);
  return (
    <label class="find">
      <span class="hidden">Search metrics</span>
      <input
        type="search"
        list="metric-names"
        placeholder="Search metrics (regex)  m"
        data-testid="metric-search"
        value={view.current.find}
        onInput={(event) => view.set({ find: event.currentTarget.value })}
        onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
      />
      <datalist id="metric-names">
        {listed.map((name) => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <output>{found}</output>
    </label>
  );
}

function saveAll(store: Store, view: ViewState, names: readonly MetricName[]): void {
  const range = view.current.x === "step" ? view.current.range : null;
  const runs = tracksOf(store, view, "training").filter(({ undone }) => !undone);
  const content = metricsCsv(runs, [...names].sort(), range);
  download(`${fileName(store.run?.id ?? "run", "metrics")}.csv`, new Blob([content], { type: "text/csv" }));
}

/** The compared runs with their lines; each can be hidden. */
function Runs({ store, view }: Pick<Props, "store" | "view">) {
  const { views } = store.compared;
  if (views.length === 0) return null;
  const palette = view.dark ? DARK : LIGHT;
  const ids = [store.run?.id ?? "run", ...views.map(({ run }) => run.id)];
  const { hidden } = view.current;
  const toggle = (id: string) =>
    view.set({ hidden: hidden.includes(id) ? hidden.filter((one) => one !== id) : [...hidden, id] });
  return (
    <fieldset class="runs">
      <legend class="hidden">Runs</legend>
      {ids.map((id, i) => (
        <label key={id} class="check">
          <input type="checkbox" checked={!hidden.includes(id)} onChange={() => toggle(id)} />
          <Swatch
            colour={palette.series[i % palette.series.length] ?? "#888888"}
            dash={DASHES[i % DASHES.length]?.join(" ") || "none"}
          />
          {id}
        </label>
      ))}
    </fieldset>
  );
}
