import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { MetricName } from "../../src/contracts/metrics.js";
import type { ChartSpec, SeriesSpec } from "./charts.js";
import { formatUnit } from "./format.js";
import { positionOfStep, smooth } from "./metric-table.js";
import { Plot, type PlotInput } from "./plot.js";
import { type Store, useTopics } from "./store.js";
import { DARK, LIGHT, type Palette } from "./theme.js";
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
  useTopics(store, "metrics", "run", "alerts", "view");
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<Plot | null>(null);
  const [cursor, setCursor] = useState<number | null>(null);
  const [asTable, setAsTable] = useState(false);
  const table = spec.track === "warmup" ? store.warmup : store.training;
  const shown = spec.series.filter((series) => table.has(series.metric));
  const palette = view.dark ? DARK : LIGHT;
  const empty = shown.length === 0;

  useEffect(() => {
    if (asTable || empty || !host.current) return;
    const drawn = new Plot(host.current, {
      syncKey: `weir-${spec.track}`,
      onCursor: setCursor,
      onZoom: (range) => view.set({ range: spec.track === "training" ? range : view.current.range }),
    });
    plot.current = drawn;
    return () => {
      plot.current = null;
      drawn.destroy();
      setCursor(null);
    };
  }, [asTable, empty, spec.track, view]);

  const input = empty ? null : plotInput(spec, store, view);
  useEffect(() => {
    if (input) plot.current?.update(input);
  });

  const row = cursor !== null && cursor < table.steps.length ? cursor : null;
  const read = (metric: MetricName) => (row === null ? table.latest(metric) : (table.column(metric)[row] ?? null));
  const readout = shown.map((series) => ({ ...series, text: formatUnit(read(series.metric), spec.unit) }));
  const summary = useMemo(() => readout.map((one) => `${one.label} ${one.text}`).join(", "), [readout]);

  return (
    <section class="card chart" aria-label={spec.title} data-chart={spec.id}>
      <header>
        <h3>{spec.title}</h3>
        {spec.unit && spec.unit !== "bytes" ? <span class="unit">{spec.unit}</span> : null}
        <span class="spacer" />
        {row === null ? null : <span class="at">step {table.steps[row]}</span>}
        <button
          type="button"
          class="ghost table-toggle"
          aria-pressed={asTable}
          title={asTable ? "Show the curve" : "Show as a table"}
          onClick={() => setAsTable(!asTable)}
        >
          <svg viewBox="0 0 16 16" aria-hidden="true">
            <path d="M2 3h12v10H2zM2 6.5h12M2 9.8h12M6.5 3v10" />
          </svg>
          <span class="hidden">{asTable ? "curve" : "table"}</span>
        </button>
      </header>
      <Readout readout={readout} palette={palette} />
      {empty ? (
        <p class="nothing">{store.run?.live === false ? "not recorded" : "no data yet"}</p>
      ) : asTable ? (
        <ChartTable spec={spec} store={store} />
      ) : (
        <div ref={host} class="plot" role="img" aria-label={`${spec.title}: ${summary}`} />
      )}
    </section>
  );
}

interface Reading extends SeriesSpec {
  /** The value with its unit, as shown. */
  readonly text: string;
}

/** One entry per curve with its value; sparse series share one entry. */
function Readout({ readout, palette }: { readonly readout: readonly Reading[]; readonly palette: Palette }) {
  return (
    <ul class="readout">
      {readout.map((one) =>
        one.sparse ? null : (
          <li key={one.metric} title={one.metric}>
            <Swatch colour={palette.series[one.colour % palette.series.length] ?? ""} dashed={false} />
            {one.label} <b>{one.text}</b>
          </li>
        ),
      )}
      {readout.some((one) => one.sparse) ? (
        <li title={readout.flatMap((one) => (one.sparse ? `${one.label} ${one.text}` : [])).join("\n")}>
          <Swatch colour={palette.axis} dashed={true} />
          held-out
        </li>
      ) : null}
    </ul>
  );
}

function Swatch({ colour, dashed }: { readonly colour: string; readonly dashed: boolean }) {
  return (
    <svg class="swatch" viewBox="0 0 14 8" aria-hidden="true">
      <path d="M0 4h14" stroke={colour} stroke-width="2.5" stroke-dasharray={dashed ? "3 2.5" : "none"} />
    </svg>
  );
}

function ChartTable({ spec, store }: Pick<Props, "spec" | "store">) {
  const table = spec.track === "warmup" ? store.warmup : store.training;
  const shown = spec.series.filter((series) => table.has(series.metric));
  const from = Math.max(0, table.steps.length - TABLE_ROWS);
  const rows = table.steps.slice(from).map((step, i) => ({ step, row: from + i }));
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard.
    <section class="chart-table" tabIndex={0} aria-label={`${spec.title} as a table`}>
      <table>
        <thead>
          <tr>
            <th scope="col">step</th>
            {shown.map((series) => (
              <th key={series.metric} scope="col">
                {series.label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.reverse().map(({ step, row }) => (
            <tr key={row}>
              <th scope="row">{step}</th>
              {shown.map((series) => (
                <td key={series.metric}>{formatUnit(table.column(series.metric)[row], spec.unit)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Everything the canvas draws, from store and view. */
function plotInput(spec: ChartSpec, store: Store, view: ViewState): PlotInput {
  const { smoothing, x, logY, range, robust } = view.current;
  const palette = view.dark ? DARK : LIGHT;
  const training = spec.track === "training";
  const table = training ? store.training : store.warmup;
  const start = store.run?.startedAt ?? table.times[0] ?? 0;
  const xs = x === "step" ? table.steps : table.times.map((time) => (time - start) / 60_000);
  const at = (step: number) => positionOfStep(table.steps, xs, step);
  const last = xs.at(-1) ?? 0;
  const run = training ? store.run : null;
  const metrics = new Set<string>(spec.series.map((series) => series.metric));
  return {
    x: xs,
    series: spec.series
      .filter((series) => table.has(series.metric))
      .map((series) => {
        const values = table.column(series.metric);
        return {
          colour: palette.series[series.colour % palette.series.length] ?? "#888888",
          sparse: series.sparse ?? false,
          values,
          line: series.sparse || smoothing === 0 ? values : smooth(values, smoothing),
          spread: series.spread ? table.column(series.spread) : null,
        };
      }),
    bands: (run?.phases ?? []).map((band) => ({
      // Steps are points: a band reaches halfway to the next one.
      from: (at(band.fromStep) ?? 0) - (x === "step" && band.fromStep <= last ? 0.5 : 0),
      to: band.toStep === null ? last + (x === "step" ? 0.5 : 0) : (at(band.toStep) ?? 0) + (x === "step" ? 0.5 : 0),
      label: `phase ${band.k} · ≤ ${band.maxTokens}`,
      k: band.k,
    })),
    checkpoints: (run?.checkpoints ?? []).flatMap((mark) => at(mark.step) ?? []),
    resumes: (run?.resumes ?? []).flatMap((mark) => at(mark.step) ?? []),
    alerts: training
      ? store.alerts.flatMap((alert) => {
          // Alerts from before the first step have no step.
          const position = alert.step === 0 ? null : at(alert.step);
          return position === null ? [] : [{ x: position, level: alert.level, own: metrics.has(alert.metric) }];
        })
      : [],
    zoom: training ? range : null,
    log: logY && !spec.range ? true : (spec.log ?? false),
    robust,
    bounds: spec.range ?? null,
    unit: spec.unit,
    xUnit: x,
    palette,
  };
}
