import { useEffect, useRef, useState } from "preact/hooks";
import { alarmsOf, alarmText } from "./alarms.js";
import { type ChartData, chartData, type DrawnSeries, positions, type Track } from "./chart-data.js";
import type { ChartSpec } from "./charts.js";
import { metricsCsv } from "./csv.js";
import { download, fileName } from "./download.js";
import { formatUnit } from "./format.js";
import { definitionOf } from "./metric-search.js";
import { positionOfStep } from "./metric-table.js";
import { Plot, type PlotInput } from "./plot.js";
import { type Store, useTopics } from "./store.js";
import { DARK, DASHES, LIGHT, type Palette, UNDONE_DASH } from "./theme.js";
import { tracksOf } from "./tracks.js";
import type { ViewState } from "./view.js";

/** A chart with its title, readout (the value under the cursor, else the latest) and, for readers who cannot use a picture, a table. */

interface Props {
  readonly spec: ChartSpec;
  readonly store: Store;
  readonly view: ViewState;
}

/** Rows of the table that replaces a chart. */
const TABLE_ROWS = 40;

export function ChartCard({ spec, store, view }: Props) {
  useTopics(store, "metrics", "run", "alerts", "guard", "compare", "view");
  const host = useRef<HTMLDivElement>(null);
  const buttons = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const [asTable, setAsTable] = useState(false);
  const tracks = tracksOf(store, view, spec.track);
  const data = chartData(spec, tracks, view.current);
  const runs = tracks.filter(({ undone }) => !undone);
  const palette = view.dark ? DARK : LIGHT;
  const empty = data.series.length === 0;

  useEffect(() => {
    if (asTable || empty || !host.current || !buttons.current) return;
    const drawn = new Plot(host.current, buttons.current, {
      syncKey: `weir-${spec.track}`,
      onCursor: setCursor,
      onZoom: (range) => view.set({ range: spec.track === "training" ? range : view.current.range }),
      onAlarm: (alarm) => view.set({ alarm }),
    });
    plot.current = drawn;
    return () => {
      plot.current = null;
      drawn.destroy();
      setCursor(null);
    };
  }, [asTable, empty, spec.track, view]);

  const input = empty ? null : plotInput(spec, data, store, view);
  useEffect(() => {
    if (input) plot.current?.update(input);
  });

  const at = cursor !== null && cursor < data.x.length ? cursor : null;
  const readout = readings(spec, data, runs, at, palette);
  const summary = readout.map((one) => `${one.label} ${one.text}`).join(", ");
  const csv = () => saveCsv({ spec, store, view }, runs);
  const png = () => savePicture({ spec, store, view }, plot.current, readout);
  return (
    <section class="card chart" aria-label={spec.title} data-chart={spec.id}>
      <header>
        <h3 title={meaningOf(spec)}>{spec.title}</h3>
        {spec.unit && spec.unit !== "bytes" ? <span class="unit">{spec.unit}</span> : null}
        <span class="spacer" />
        {at === null ? null : <span class="at">{positionText(data, tracks, at, view)}</span>}
        {spec.single ? <Pin metric={spec.single} view={view} /> : null}
        {empty ? null : <Export csv={csv} png={asTable ? null : png} />}
        <TableToggle asTable={asTable} set={setAsTable} />
      </header>
      <Readout readout={readout} palette={palette} />
      {empty ? (
        <p class="nothing">{store.run?.live === false ? "not recorded" : "no data yet"}</p>
      ) : asTable ? (
        <ChartTable spec={spec} data={data} />
      ) : (
        <div class="frame">
          <div ref={host} class="plot" role="img" aria-label={`${spec.title}: ${summary}`} />
          <div ref={buttons} class="alarm-marks" />
        </div>
      )}
    </section>
  );
}

function TableToggle({ asTable, set }: { readonly asTable: boolean; readonly set: (asTable: boolean) => void }) {
  return (
    <button
      type="button"
      class="ghost table-toggle"
      aria-pressed={asTable}
      title={asTable ? "Show the curve" : "Show as a table"}
      onClick={() => set(!asTable)}
    >
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <path d="M2 3h12v10H2zM2 6.5h12M2 9.8h12M6.5 3v10" />
      </svg>
      <span class="hidden">{asTable ? "curve" : "table"}</span>
    </button>
  );
}

const exportName = ({ spec, store }: Props): string => fileName(store.run?.id ?? "run", spec.id);

/** Of the chart's metrics and spreads, in the zoomed range of steps. */
function saveCsv(props: Props, runs: readonly Track[]): void {
  const { spec, view } = props;
  const metrics = [...new Set(spec.series.flatMap((one) => (one.spread ? [one.metric, one.spread] : [one.metric])))];
  const kept = metrics.filter((metric) => runs.some(({ table }) => table.has(metric)));
  const range = view.current.x === "step" ? view.current.range : null;
  download(`${exportName(props)}.csv`, new Blob([metricsCsv(runs, kept, range)], { type: "text/csv" }));
}

function savePicture(props: Props, plot: Plot | null, readout: ReturnType<typeof readings>): void {
  const { spec, store } = props;
  const unit = spec.unit && spec.unit !== "bytes" ? ` (${spec.unit})` : "";
  const legend = readout.map(({ colour, label }) => ({ colour, text: label }));
  plot?.picture(`${spec.title}${unit} · ${store.run?.id ?? ""}`, legend)?.toBlob((blob) => {
    if (blob) download(`${exportName(props)}.png`, blob);
  });
}

/** What the registry says of a chart's metrics, one per line. */
function meaningOf(spec: ChartSpec): string {
  const metrics = [...new Set(spec.series.map(({ metric }) => metric))];
  return metrics.map((metric) => `${metric}: ${definitionOf(metric)?.meaning ?? "published by a part"}`).join("\n");
}

function positionText(data: ChartData, tracks: readonly Track[], at: number, view: ViewState): string {
  const [own] = tracks;
  const row = own ? data.rowAt(own, at) : null;
  if (own && row !== null) return `step ${own.table.steps[row]}`;
  const x = data.x[at] ?? 0;
  return view.current.x === "step" ? `step ${x}` : `minute ${x.toFixed(1)}`;
}

function Pin({ metric, view }: { readonly metric: string; readonly view: ViewState }) {
  const pinned = view.current.pins.includes(metric);
  const toggle = () => {
    const others = view.current.pins.filter((one) => one !== metric);
    view.set({ pins: pinned ? others : [...others, metric] });
  };
  return (
    <button
      type="button"
      class="ghost small"
      aria-pressed={pinned}
      title="Keep this chart at the front"
      onClick={toggle}
    >
      {pinned ? "unpin" : "pin"}
    </button>
  );
}

function Export({ csv, png }: { readonly csv: () => void; readonly png: (() => void) | null }) {
  const menu = useRef<HTMLDetailsElement>(null);
  const pick = (action: () => void) => () => {
    if (menu.current) menu.current.open = false;
    action();
  };
  return (
    <details
      class="menu"
      ref={menu}
      onKeyDown={(event) => event.key === "Escape" && menu.current?.removeAttribute("open")}
    >
      <summary title="Save this chart">
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M8 2.5v7.5M5 7.2L8 10.2l3-3M2.5 13.5h11" />
        </svg>
        <span class="hidden">save</span>
      </summary>
      <div>
        <button type="button" onClick={pick(csv)}>
          CSV
        </button>
        {png ? (
          <button type="button" onClick={pick(png)}>
            PNG
          </button>
        ) : null}
      </div>
    </details>
  );
}

interface Reading {
  readonly key: string;
  readonly title: string;
  readonly label: string;
  readonly colour: string;
  readonly dash: readonly number[];
  readonly sparse: boolean;
  /** The value with its unit, as shown. */
  readonly text: string;
}

/** The value of each curve at a position, else the latest. Of several metrics of several runs each metric has one entry, with a value per run. */
function readings(
  spec: ChartSpec,
  data: ChartData,
  tracks: readonly Track[],
  at: number | null,
  palette: Palette,
): readonly Reading[] {
  const shown = data.series.filter(({ track }) => !track.undone);
  const text = ({ track, metric }: DrawnSeries): string => {
    const row = at === null ? null : data.rowAt(track, at);
    const value = at === null ? track.table.latest(metric) : row === null ? null : track.table.column(metric)[row];
    return formatUnit(value, spec.unit);
  };
  const reading = (one: DrawnSeries, label: string, title: string): Reading => ({
    key: `${one.track.id} ${one.metric}`,
    title,
    label,
    colour: colourOf(one, palette),
    dash: dashOf(one),
    sparse: one.sparse,
    text: text(one),
  });
  const metrics = [...new Set(shown.map(({ metric }) => metric))];
  if (tracks.length === 1) return shown.map((one) => reading(one, one.label, one.metric));
  if (metrics.length === 1) return shown.map((one) => reading(one, one.track.id, `${one.metric} of ${one.track.id}`));
  return metrics.flatMap((metric) => {
    const runs = shown.filter((one) => one.metric === metric);
    const [first] = runs;
    if (!first) return [];
    const title = runs.map((one) => `${metric} of ${one.track.id}: ${text(one)}`).join("\n");
    return { ...reading(first, first.label, title), dash: [], text: runs.map(text).join(" · ") };
  });
}

const colourOf = (one: DrawnSeries, palette: Palette): string =>
  palette.series[one.colour % palette.series.length] ?? "#888888";
const dashOf = ({ track }: DrawnSeries): readonly number[] =>
  track.undone ? UNDONE_DASH : (DASHES[track.index % DASHES.length] ?? []);

/** One entry per curve with its value; beside others, sparse series share one entry. */
function Readout({ readout, palette }: { readonly readout: readonly Reading[]; readonly palette: Palette }) {
  const together = readout.some((one) => !one.sparse);
  return (
    <ul class="readout">
      {readout.map((one) =>
        one.sparse && together ? null : (
          <li key={one.key} title={one.title}>
            <Swatch colour={one.colour} dash={one.dash.join(" ") || "none"} />
            {one.label} <b>{one.text}</b>
          </li>
        ),
      )}
      {together && readout.some((one) => one.sparse) ? (
        <li title={readout.flatMap((one) => (one.sparse ? `${one.label} ${one.text}` : [])).join("\n")}>
          <Swatch colour={palette.axis} dash="3 2.5" />
          held-out
        </li>
      ) : null}
    </ul>
  );
}

export function Swatch({ colour, dash }: { readonly colour: string; readonly dash: string }) {
  return (
    <svg class="swatch" viewBox="0 0 14 8" aria-hidden="true">
      <path d="M0 4h14" stroke={colour} stroke-width="2.5" stroke-dasharray={dash} />
    </svg>
  );
}

function ChartTable({ spec, data }: { readonly spec: ChartSpec; readonly data: ChartData }) {
  const shown = data.series.filter(({ track }) => !track.undone);
  const several = new Set(shown.map(({ track }) => track.id)).size > 1;
  const stepAt = (index: number) => {
    for (const { track } of shown) {
      const row = data.rowAt(track, index);
      if (row !== null) return track.table.steps[row] ?? null;
    }
    return null;
  };
  const all = data.x.flatMap((_, index) => (stepAt(index) === null ? [] : index));
  const rows = all.slice(-TABLE_ROWS);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard.
    <section class="chart-table" tabIndex={0} aria-label={`${spec.title} as a table`}>
      <table>
        <thead>
          <tr>
            <th scope="col">step</th>
            {shown.map((series) => (
              <th key={`${series.track.id} ${series.metric}`} scope="col">
                {several ? `${series.label} · ${series.track.id}` : series.label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.reverse().map((index) => (
            <tr key={index}>
              <th scope="row">{stepAt(index)}</th>
              {shown.map(({ track, metric }) => {
                const row = data.rowAt(track, index);
                const value = row === null ? null : track.table.column(metric)[row];
                return <td key={`${track.id} ${metric}`}>{formatUnit(value, spec.unit)}</td>;
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Everything the canvas draws, from data, store and view. */
function plotInput(spec: ChartSpec, data: ChartData, store: Store, view: ViewState): PlotInput {
  const { x, logY, range, robust } = view.current;
  const palette = view.dark ? DARK : LIGHT;
  const training = spec.track === "training";
  const alone = new Set(data.series.flatMap(({ track }) => (track.undone ? [] : track.id))).size === 1;
  return {
    x: data.x,
    series: data.series.map((one) => ({
      colour: colourOf(one, palette),
      dash: dashOf(one),
      ghost: alone && !one.track.undone,
      pale: one.track.undone,
      sparse: one.sparse,
      values: one.values,
      line: one.line,
      spread: one.spread,
    })),
    ...marks(spec, store, view),
    zoom: training ? range : null,
    log: logY && !spec.range ? true : (spec.log ?? false),
    robust,
    bounds: spec.range ?? null,
    unit: spec.unit,
    xUnit: x,
    palette,
  };
}

/** Bands and marks of the page's own run. */
function marks(
  spec: ChartSpec,
  store: Store,
  view: ViewState,
): Pick<PlotInput, "bands" | "checkpoints" | "resumes" | "rollbacks" | "alarms"> {
  const { x } = view.current;
  const training = spec.track === "training";
  const table = training ? store.training : store.warmup;
  const startedAt = store.run?.startedAt ?? table.times[0] ?? 0;
  const xs = positions({ table, startedAt }, x);
  const at = (step: number) => positionOfStep(table.steps, xs, step);
  const last = xs.at(-1) ?? 0;
  const run = training ? store.run : null;
  const metrics = new Set<string>(spec.series.map((series) => series.metric));
  const alarms = training ? alarmsOf(store.alerts, store.guard) : [];
  return {
    bands: (run?.phases ?? []).map((band) => ({
      // Steps are points: a band reaches halfway to the next one.
      from: (at(band.fromStep) ?? 0) - (x === "step" && band.fromStep <= last ? 0.5 : 0),
      to: band.toStep === null ? last + (x === "step" ? 0.5 : 0) : (at(band.toStep) ?? 0) + (x === "step" ? 0.5 : 0),
      label: `phase ${band.k} · ≤ ${band.maxTokens}`,
      k: band.k,
    })),
    checkpoints: (run?.checkpoints ?? []).flatMap((mark) => at(mark.step) ?? []),
    resumes: (run?.resumes ?? []).flatMap((mark) => at(mark.step) ?? []),
    rollbacks: (run?.rollbacks ?? []).flatMap((mark) => at(mark.toStep) ?? []),
    alarms: alarms.flatMap((alarm) => {
      const { alert } = alarm;
      // Alerts from before the first step have no step.
      const position = alert.step === 0 ? null : at(alert.step);
      if (position === null) return [];
      const text = alarmText(alarm);
      const selected = view.current.alarm === alert.id;
      return [{ id: alert.id, x: position, level: alert.level, own: metrics.has(alert.metric), selected, text }];
    }),
  };
}
