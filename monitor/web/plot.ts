import uPlot from "uplot";
import type { Cell, DrawnSeries } from "./chart-data.js";
import { formatUnit } from "./format.js";
import { faded, type Palette } from "./theme.js";

/** One chart on a canvas: uPlot with phase bands behind the curves and marks of alarms, checkpoints, rollbacks and resumes. */

export interface PlotSeries extends Pick<DrawnSeries, "sparse" | "values" | "spread"> {
  readonly colour: string;
  /** Lengths of dashes and gaps; empty for a solid line. */
  readonly dash: readonly number[];
  /** Draws the values themselves as a faint line behind the strong one. */
  readonly ghost: boolean;
  /** A thin, pale line instead of the strong one; unless x is zoomed, y does not follow it. */
  readonly pale: boolean;
  /** The strong line; equal to `values` without smoothing. */
  readonly line: readonly Cell[];
}

export interface PlotAlarm {
  readonly id: string;
  readonly x: number;
  readonly level: "info" | "warn" | "error";
  /** On a metric of this chart. */
  readonly own: boolean;
  readonly selected: boolean;
  readonly text: string;
}

export interface PlotInput {
  readonly x: readonly number[];
  readonly series: readonly PlotSeries[];
  readonly bands: readonly { readonly from: number; readonly to: number; readonly label: string; readonly k: number }[];
  readonly checkpoints: readonly number[];
  readonly resumes: readonly number[];
  readonly rollbacks: readonly number[];
  readonly alarms: readonly PlotAlarm[];
  readonly zoom: readonly [number, number] | null;
  readonly log: boolean;
  readonly robust: boolean;
  readonly bounds: readonly [number, number] | null;
  readonly unit: string;
  readonly xUnit: "step" | "minutes";
  readonly palette: Palette;
}

export interface PlotHooks {
  readonly syncKey: string;
  onCursor(index: number | null): void;
  onZoom(range: readonly [number, number] | null): void;
  onAlarm(id: string): void;
}

/** Narrower drags are clicks. */
const DRAG_PIXELS = 6;
/** Share of values at each end that "ignore outliers" leaves outside. */
const OUTLIER_SHARE = 0.02;
const FONT = '11px system-ui, -apple-system, "Segoe UI", sans-serif';

export class Plot {
  private chart: uPlot | null = null;
  private shape = "";
  private input: PlotInput | null = null;
  private readonly observer: ResizeObserver;

  constructor(
    private readonly host: HTMLElement,
    /** Holds a button over each mark of an alarm. */
    private readonly buttons: HTMLElement,
    private readonly hooks: PlotHooks,
  ) {
    this.observer = new ResizeObserver(() => this.chart?.setSize(this.size()));
    this.observer.observe(host);
  }

  update(input: PlotInput): void {
    this.input = input;
    const shape = JSON.stringify([
      input.series.map((one) => [one.colour, one.dash, one.ghost, one.pale, one.sparse, one.spread !== null]),
      input.zoom !== null,
      input.log,
      input.unit,
      input.xUnit,
      input.palette.axis,
    ]);
    const data = this.data(input);
    if (!this.chart || shape !== this.shape) {
      this.shape = shape;
      this.chart?.destroy();
      this.chart = new uPlot(this.options(input), data, this.host);
    } else this.chart.setData(data, true);
  }

  destroy(): void {
    this.observer.disconnect();
    this.chart?.destroy();
    this.chart = null;
    this.buttons.replaceChildren();
  }

  /** The chart as a picture with its title and legend, on its ground; null before it is drawn. Sizes in CSS pixels. */
  picture(
    title: string,
    legend: readonly { readonly colour: string; readonly text: string }[],
  ): HTMLCanvasElement | null {
    const drawn = this.chart?.ctx.canvas;
    const palette = this.input?.palette;
    if (!drawn || !palette) return null;
    const ratio = devicePixelRatio;
    const [margin, head] = [12 * ratio, 44 * ratio];
    const canvas = document.createElement("canvas");
    canvas.width = drawn.width + 2 * margin;
    canvas.height = drawn.height + head + margin;
    const ctx = canvas.getContext("2d");
    if (!ctx) return null;
    ctx.fillStyle = palette.ground;
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.textBaseline = "top";
    ctx.fillStyle = palette.text;
    ctx.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    ctx.fillText(title, margin, 8 * ratio);
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    let x = margin;
    for (const { colour, text } of legend) {
      ctx.fillStyle = colour;
      ctx.fillRect(x, 32 * ratio, 12 * ratio, 3 * ratio);
      ctx.fillStyle = palette.axis;
      ctx.fillText(text, x + 16 * ratio, 28 * ratio);
      x += ctx.measureText(text).width + 30 * ratio;
    }
    ctx.drawImage(drawn, margin, head);
    return canvas;
  }

  private size(): { width: number; height: number } {
    return { width: Math.max(40, this.host.clientWidth), height: Math.max(40, this.host.clientHeight) };
  }

  /** Columns: x, then per series high, low (of a spread), raw, line. */
  private data(input: PlotInput): uPlot.AlignedData {
    const positive = (values: readonly Cell[]): Cell[] =>
      input.log
        ? values.map((value) => (value === undefined || (value !== null && value > 0) ? value : null))
        : (values as Cell[]);
    const columns: Cell[][] = [];
    for (const { values, line, spread } of input.series) {
      if (spread) {
        const edge = (sign: number) =>
          line.map((value, i) => {
            const width = spread[i];
            if (value === undefined) return undefined;
            return value === null || typeof width !== "number" ? null : value + sign * width;
          });
        columns.push(positive(edge(1)), positive(edge(-1)));
      }
      columns.push(positive(values), positive(line));
    }
    return [input.x as number[], ...columns];
  }

  private options(input: PlotInput): uPlot.Options {
    const { series, bands } = drawnSeries(input);
    const { hooks } = this;
    return {
      ...this.size(),
      legend: { show: false },
      // Right: half of the longest label of a step, which stands centred below the edge.
      padding: [10, 22, 0, 0],
      series,
      bands,
      scales: {
        x: { time: false, range: (_, min, max) => this.xRange(min, max) },
        y: {
          distr: input.log ? 3 : 1,
          ...(input.log ? {} : { range: (_, min, max) => this.yRange(min, max) }),
        },
      },
      axes: axesOf(input),
      cursor: {
        sync: { key: hooks.syncKey, setSeries: false, scales: ["x", null] },
        drag: { x: true, y: false, setScale: false },
        points: { size: 6, width: 0 },
        y: false,
        bind: {
          dblclick: () => () => {
            hooks.onZoom(null);
            return null;
          },
        },
      },
      hooks: {
        drawClear: [(chart) => this.drawBands(chart)],
        draw: [(chart) => this.drawMarks(chart)],
        setCursor: [(chart) => hooks.onCursor(chart.cursor.idx ?? null)],
        setSelect: [
          (chart) => {
            const { left, width } = chart.select;
            if (width < DRAG_PIXELS) return;
            const range = [chart.posToVal(left, "x"), chart.posToVal(left + width, "x")] as const;
            chart.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            hooks.onZoom(range);
          },
        ],
      },
    };
  }

  private xRange(min: number | null, max: number | null): [number, number] {
    const { zoom, xUnit } = this.input as PlotInput;
    if (zoom) return [zoom[0], zoom[1]];
    if (min === null || max === null) return [0, 1];
    return max > min ? [min, max] : xUnit === "step" ? [min, min + 1] : [min, min + 0.1];
  }

  private yRange(min: number | null, max: number | null): [number, number] {
    const { bounds, robust, series } = this.input as PlotInput;
    if (bounds) {
      // A small margin keeps lines at the bounds visible.
      const room = (bounds[1] - bounds[0]) * 0.03;
      return [bounds[0] - room, bounds[1] + room];
    }
    if (min === null || max === null) return [0, 1];
    let [low, high] = [min, max];
    if (robust) {
      const values = series
        .flatMap((one) => one.values)
        .filter((value): value is number => typeof value === "number")
        .sort((a, b) => a - b);
      const at = (share: number) => values[Math.round(share * (values.length - 1))] ?? 0;
      if (values.length > 10) [low, high] = [at(OUTLIER_SHARE), at(1 - OUTLIER_SHARE)];
    }
    return paddedRange(low, high);
  }

  private drawBands(chart: uPlot): void {
    const { bands, palette } = this.input as PlotInput;
    const { ctx, bbox } = chart;
    const ratio = devicePixelRatio;
    ctx.save();
    for (const { from, to, label, k } of bands) {
      const left = Math.max(bbox.left, chart.valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, chart.valToPos(to, "x", true));
      if (right <= left) continue;
      ctx.fillStyle = palette.bands[k % 2] ?? palette.bands[0];
      ctx.fillRect(left, bbox.top, right - left, bbox.height);
      ctx.font = `${10 * ratio}px system-ui, sans-serif`;
      ctx.fillStyle = palette.bandLabel;
      ctx.textBaseline = "top";
      ctx.textAlign = "left";
      const room = right - left - 8 * ratio;
      const text = [label, `phase ${k}`, `${k}`].find((one) => ctx.measureText(one).width <= room);
      if (text) ctx.fillText(text, left + 4 * ratio, bbox.top + 3 * ratio);
    }
    ctx.restore();
  }

  private drawMarks(chart: uPlot): void {
    const { alarms, checkpoints, resumes, rollbacks, palette } = this.input as PlotInput;
    const { ctx, bbox } = chart;
    const ratio = devicePixelRatio;
    const bottom = bbox.top + bbox.height;
    const inside = (x: number) => {
      const at = Math.round(chart.valToPos(x, "x", true));
      return at >= bbox.left - 1 && at <= bbox.left + bbox.width + 1 ? at : null;
    };
    const vertical = (at: number) => {
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bottom);
      ctx.stroke();
    };
    ctx.save();
    ctx.lineWidth = ratio;
    ctx.fillStyle = palette.checkpoint;
    for (const x of checkpoints) {
      const at = inside(x);
      if (at === null) continue;
      ctx.beginPath();
      ctx.moveTo(at, bottom - 5 * ratio);
      ctx.lineTo(at - 3 * ratio, bottom);
      ctx.lineTo(at + 3 * ratio, bottom);
      ctx.fill();
    }
    ctx.strokeStyle = palette.checkpoint;
    ctx.setLineDash([2 * ratio, 3 * ratio]);
    for (const x of resumes) {
      const at = inside(x);
      if (at !== null) vertical(at);
    }
    ctx.strokeStyle = faded(palette.marks.error, 0.8);
    ctx.setLineDash([5 * ratio, 3 * ratio]);
    for (const x of rollbacks) {
      const at = inside(x);
      if (at !== null) vertical(at);
    }
    ctx.setLineDash([]);
    const places: { readonly alarm: PlotAlarm; readonly left: number }[] = [];
    for (const alarm of alarms) {
      const { x, level, own, selected } = alarm;
      const at = inside(x);
      if (at === null) continue;
      const colour = palette.marks[level];
      ctx.strokeStyle = faded(colour, selected ? 1 : own ? 0.75 : 0.22);
      ctx.lineWidth = (selected ? 2 : 1) * ratio;
      vertical(at);
      if (!own && !selected) continue;
      places.push({ alarm, left: at / ratio });
      ctx.fillStyle = colour;
      ctx.beginPath();
      ctx.moveTo(at, bbox.top + 9 * ratio);
      ctx.lineTo(at - 5 * ratio, bbox.top);
      ctx.lineTo(at + 5 * ratio, bbox.top);
      ctx.fill();
    }
    ctx.restore();
    this.placeButtons(places.slice(-MOST_BUTTONS), bbox.top / ratio);
  }

  /** One button per mark, each where its mark is drawn; buttons are reused, so that the focus stays. */
  private placeButtons(places: readonly { readonly alarm: PlotAlarm; readonly left: number }[], top: number): void {
    while (this.buttons.childElementCount > places.length) this.buttons.lastElementChild?.remove();
    for (const [i, { alarm, left }] of places.entries()) {
      let button = this.buttons.children[i] as HTMLButtonElement | undefined;
      if (!button) {
        button = document.createElement("button");
        button.type = "button";
        button.className = "alarm-mark";
        button.addEventListener("click", (event) => {
          const id = (event.currentTarget as HTMLElement).dataset.mark;
          if (id !== undefined) this.hooks.onAlarm(id);
        });
        this.buttons.append(button);
      }
      button.dataset.mark = alarm.id;
      button.title = alarm.text;
      button.setAttribute("aria-label", alarm.text);
      button.setAttribute("aria-pressed", String(alarm.selected));
      button.style.left = `${left}px`;
      button.style.top = `${top}px`;
    }
  }
}

/** Marks of a chart that can be clicked, the newest ones: more overlap anyway. */
const MOST_BUTTONS = 40;

/** Relative width below which values count as equal: smoothing leaves rounding errors, which are not a range to draw. */
const FLAT = 1e-6;

/** Bounds of y with a small margin; a flat line gets a tenth of its height on either side. Values that are never negative keep 0 as the lower bound. */
export function paddedRange(low: number, high: number): [number, number] {
  const size = Math.max(Math.abs(low), Math.abs(high));
  if (high - low <= FLAT * size) {
    const room = Math.max(1e-6, 0.1 * size);
    return [low - room, high + room];
  }
  const room = (high - low) * 0.08;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

/** Round increments of the x axis: steps are whole, minutes may be tenths. */
const INCREMENTS = [0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000];

/** 16 MiB to 1 TiB by doubling, so that memory is labelled in round numbers. */
const BYTE_INCREMENTS = Array.from({ length: 17 }, (_, i) => 2 ** (24 + i));

/** Points without a neighbour on either side: no line would show them. */
const isolatedPoints: uPlot.Series.Points.Filter = (chart, index) => {
  const values = chart.data[index] as (number | null | undefined)[];
  const alone: number[] = [];
  for (let i = 0; i < values.length; i++)
    if (values[i] != null && values[i - 1] == null && values[i + 1] == null) alone.push(i);
  return alone;
};

/** How each series is drawn, and the bands of spreads. */
function drawnSeries(input: PlotInput): { readonly series: uPlot.Series[]; readonly bands: uPlot.Band[] } {
  const series: uPlot.Series[] = [{}];
  const bands: uPlot.Band[] = [];
  for (const one of input.series) {
    if (one.spread) {
      const edge: uPlot.Series = { stroke: "transparent", width: 0, points: { show: false } };
      bands.push({ series: [series.length, series.length + 1], fill: faded(one.colour, 0.13) });
      series.push(edge, edge);
    }
    const isolated = { show: true, size: 4, fill: one.colour, stroke: one.colour, filter: isolatedPoints };
    const ghost = one.ghost && !one.sparse;
    series.push({ stroke: faded(one.colour, 0.28), width: 1, points: { show: false }, show: ghost, auto: ghost });
    series.push(
      one.sparse
        ? {
            stroke: one.colour,
            width: 1.25,
            dash: [4, 4],
            spanGaps: true,
            points: { show: true, size: 6, width: 1.5, stroke: one.colour, fill: one.colour },
          }
        : {
            auto: !one.pale || input.zoom !== null,
            stroke: one.pale ? faded(one.colour, 0.55) : one.colour,
            width: one.pale ? 1.1 : 1.75,
            dash: [...one.dash],
            points: isolated,
          },
    );
  }
  return { series, bands };
}

function axesOf({ palette, unit }: PlotInput): uPlot.Axis[] {
  const axis = { stroke: palette.axis, font: FONT, ticks: { show: false }, gap: 4 };
  return [
    { ...axis, size: 22, grid: { show: false }, space: 46, incrs: INCREMENTS },
    {
      ...axis,
      size: unit === "bytes" ? 58 : 46,
      space: 30,
      ...(unit === "bytes" ? { incrs: BYTE_INCREMENTS } : {}),
      grid: { stroke: palette.grid, width: 1 },
      values: (_, splits) => splits.map((value) => (value === null ? "" : formatUnit(value, unit))),
    },
  ];
}
