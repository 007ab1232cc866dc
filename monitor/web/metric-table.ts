import type { MetricName, MetricRecord } from "../../src/contracts/metrics.js";

/**
 * The metrics by column. Rows are ordered by step. A record of the last step adds to its row; one that has most of what the row has
 * is that step trained again, and a smaller step means that the run went back: everything from there on is redrawn.
 */
export class MetricTable {
  readonly steps: number[] = [];
  readonly times: number[] = [];
  readonly phases: number[] = [];
  private readonly columns = new Map<MetricName, (number | null)[]>();
  /** Rows that were redrawn, the newest of each step. */
  private readonly replaced = new Map<number, MetricRecord>();

  add(record: MetricRecord): void {
    const last = this.steps.at(-1);
    if (last !== undefined && (record.step < last || (record.step === last && this.repeats(record))))
      this.cutFrom(record.step);
    if (this.steps.at(-1) !== record.step) {
      this.steps.push(record.step);
      this.times.push(record.time);
      this.phases.push(record.phase);
      for (const column of this.columns.values()) column.push(null);
    }
    const row = this.steps.length - 1;
    for (const [name, value] of Object.entries(record.values) as [MetricName, number][]) this.ensure(name)[row] = value;
  }

  clear(): void {
    this.steps.length = 0;
    this.times.length = 0;
    this.phases.length = 0;
    this.columns.clear();
    this.replaced.clear();
  }

  /** The replaced rows of steps that `wanted` names, as a table of their own; null where there are none. */
  replacedRows(wanted: (step: number) => boolean): MetricTable | null {
    const rows = [...this.replaced.values()].filter(({ step }) => wanted(step)).sort((a, b) => a.step - b.step);
    if (rows.length === 0) return null;
    const table = new MetricTable();
    for (const row of rows) table.add(row);
    return table;
  }

  has(name: MetricName): boolean {
    return this.columns.get(name)?.some((value) => value !== null) ?? false;
  }

  column(name: MetricName): readonly (number | null)[] {
    return this.columns.get(name) ?? [];
  }

  latest(name: MetricName): number | null {
    return this.columns.get(name)?.findLast((value) => value !== null) ?? null;
  }

  names(): readonly MetricName[] {
    return [...this.columns.keys()];
  }

  /** Whether a record of the last step has more than half of what its row has. */
  private repeats(record: MetricRecord): boolean {
    const row = this.steps.length - 1;
    let held = 0;
    let again = 0;
    for (const [name, column] of this.columns) {
      if (column[row] === null) continue;
      held++;
      if (name in record.values) again++;
    }
    return again * 2 > held;
  }

  private ensure(name: MetricName): (number | null)[] {
    let column = this.columns.get(name);
    if (!column) {
      column = new Array<number | null>(this.steps.length).fill(null);
      this.columns.set(name, column);
    }
    return column;
  }

  private recordAt(row: number): MetricRecord {
    const values: Record<string, number> = {};
    for (const [name, column] of this.columns) {
      const value = column[row];
      if (value !== null && value !== undefined) values[name] = value;
    }
    return { step: this.steps[row] ?? 0, phase: this.phases[row] ?? 0, time: this.times[row] ?? 0, values };
  }

  private cutFrom(step: number): void {
    let rows = this.steps.length;
    while (rows > 0 && (this.steps[rows - 1] ?? 0) >= step) {
      rows--;
      const row = this.recordAt(rows);
      this.replaced.set(row.step, row);
    }
    this.steps.length = rows;
    this.times.length = rows;
    this.phases.length = rows;
    for (const column of this.columns.values()) column.length = rows;
  }
}

/**
 * Debiased exponential moving average with weight w in [0, 1): m ← w·m + (1−w)·y, shown as m / (1 − wⁿ) after n points.
 * Missing points stay missing and do not count; w = 0 gives the values themselves.
 */
export function smooth(values: readonly (number | null)[], weight: number): (number | null)[] {
  let mean = 0;
  let points = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    mean = weight * mean + (1 - weight) * value;
    points++;
    return mean / (1 - weight ** points);
  });
}

/** x of a step on an axis of rows: the step itself, or interpolated between the rows around it. */
export function positionOfStep(steps: readonly number[], xs: readonly number[], step: number): number | null {
  if (steps.length === 0) return null;
  let low = 0;
  let high = steps.length - 1;
  if (step <= (steps[0] ?? 0)) return xs[0] ?? null;
  if (step >= (steps[high] ?? 0)) return xs[high] ?? null;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((steps[middle] ?? 0) <= step) low = middle;
    else high = middle;
  }
  const [s0 = 0, s1 = 1, x0 = 0, x1 = 0] = [steps[low], steps[high], xs[low], xs[high]];
  return s1 === s0 ? x0 : x0 + ((step - s0) / (s1 - s0)) * (x1 - x0);
}
