import type { MetricName } from "../../src/contracts/metrics.js";
import type { ChartSpec } from "./charts.js";
import { type MetricTable, smooth } from "./metric-table.js";

/** The columns of a chart that draws one run, or several over one another. Pure. */

/** A run as a chart draws it. */
export interface Track {
  readonly id: string;
  readonly table: MetricTable;
  /** Where minutes count from, ms. */
  readonly startedAt: number;
  /** Index into the palette and the dashes; 0 is the page's own run. */
  readonly index: number;
  /** Steps that a rollback has undone: drawn faintly behind the curve that took their place. */
  readonly undone: boolean;
}

/** A value of a column: null is a gap in the line; undefined, a place where only another run has a point, is not. */
export type Cell = number | null | undefined;

export interface DrawnSeries {
  readonly metric: MetricName;
  readonly label: string;
  readonly track: Track;
  readonly colour: number;
  readonly sparse: boolean;
  readonly values: readonly Cell[];
  readonly line: readonly Cell[];
  readonly spread: readonly Cell[] | null;
}

export interface ChartData {
  readonly x: readonly number[];
  readonly series: readonly DrawnSeries[];
  /** Row of a track's table at a position; null where the run has no point there. */
  rowAt(track: Track, index: number): number | null;
}

export function chartData(
  spec: ChartSpec,
  tracks: readonly Track[],
  view: { readonly smoothing: number; readonly x: "step" | "minutes" },
): ChartData {
  const xs = new Map(tracks.map((track) => [track.id, positions(track, view.x)]));
  const alone = tracks.filter(({ undone }) => !undone).length === 1;
  const only = tracks.length === 1 ? xs.get(tracks[0]?.id ?? "") : undefined;
  const x = only ?? [...new Set([...xs.values()].flat())].sort((a, b) => a - b);
  const places = only ? null : new Map(x.map((value, i) => [value, i]));
  const rows = new Map<string, readonly (number | null)[]>();
  const spreadOver = (track: Track, column: readonly (number | null)[]): readonly Cell[] => {
    if (!places) return column;
    const spread: Cell[] = new Array(x.length).fill(undefined);
    for (const [row, value] of (xs.get(track.id) ?? []).entries()) spread[places.get(value) ?? 0] = column[row] ?? null;
    return spread;
  };
  const measured = spec.series.filter((one) => tracks.some(({ table }) => table.has(one.metric)));
  const several = measured.length > 1;
  const series = tracks.flatMap((track) =>
    spec.series
      .filter((one) => track.table.has(one.metric) && !(track.undone && one.sparse))
      .map((one): DrawnSeries => {
        const values = track.table.column(one.metric);
        const line = one.sparse || track.undone || view.smoothing === 0 ? values : smooth(values, view.smoothing);
        return {
          metric: one.metric,
          label: one.label,
          track,
          colour: alone || several ? one.colour : track.index,
          sparse: one.sparse ?? false,
          values: spreadOver(track, values),
          line: spreadOver(track, line),
          // Bands of several runs hide one another.
          spread: one.spread && alone && !track.undone ? spreadOver(track, track.table.column(one.spread)) : null,
        };
      }),
  );
  return {
    x,
    series,
    rowAt: (track, index) => {
      if (!places) return index < track.table.steps.length ? index : null;
      let known = rows.get(track.id);
      if (!known) {
        const made = new Array<number | null>(x.length).fill(null);
        for (const [row, value] of (xs.get(track.id) ?? []).entries()) made[places.get(value) ?? 0] = row;
        known = made;
        rows.set(track.id, known);
      }
      return known[index] ?? null;
    },
  };
}

/** x of each row of a track. */
export function positions(
  { table, startedAt }: Pick<Track, "table" | "startedAt">,
  x: "step" | "minutes",
): readonly number[] {
  return x === "step" ? table.steps : table.times.map((time) => (time - startedAt) / 60_000);
}
