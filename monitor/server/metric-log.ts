import type { MetricRecord } from "../../src/contracts/metrics.js";
import { CHANNELS } from "../protocol/limits.js";
import type { MetricBlock } from "../protocol/records.js";
import { ChannelLog, type Entry } from "./channel-log.js";

/** Rows of a full block: some hundred kilobytes at forty metrics, below the size of a message. */
export const BLOCK_ROWS = 256;

/** The metrics channel: deltas carry records, snapshots carry the whole history in columns. Full blocks are serialised once. */
export class MetricLog extends ChannelLog {
  private readonly sealed = new Map<number, string>();
  /** The latest value of each metric. */
  readonly latest = new Map<string, number>();
  /** Wall clock of the latest RL step, ms; null before the first. */
  lastStepAt: number | null = null;

  constructor() {
    super("metrics", CHANNELS.metrics);
  }

  override append(data: unknown, key: string | null, time: number): Entry {
    const entry = super.append(data, key, time);
    const record = data as MetricRecord;
    if (record.phase > 0) this.lastStepAt = record.time;
    for (const [name, value] of Object.entries(record.values)) this.latest.set(name, value);
    return entry;
  }

  records(): readonly MetricRecord[] {
    return this.entries().map((entry) => entry.data as MetricRecord);
  }

  override snapshotItems(): readonly string[] {
    const entries = this.entries();
    const items: string[] = [];
    let from = 0;
    while (from < entries.length) {
      // Blocks are aligned to sequence numbers, so that eviction at the front leaves the others as they are.
      const first = entries[from]?.seq ?? 1;
      const to = Math.min(entries.length, from + BLOCK_ROWS - ((first - 1) % BLOCK_ROWS));
      const whole = to - from === BLOCK_ROWS;
      let json = whole ? this.sealed.get(first) : undefined;
      if (json === undefined) {
        const rows = entries.slice(from, to);
        const block = toBlock(rows.map((entry) => entry.data as MetricRecord));
        json = `{"seq":${rows.at(-1)?.seq ?? 0},"data":${JSON.stringify(block)}}`;
        if (whole) this.sealed.set(first, json);
      }
      items.push(json);
      from = to;
    }
    for (const first of this.sealed.keys()) if (first < (entries[0]?.seq ?? 0)) this.sealed.delete(first);
    return items;
  }
}

/** Turns records into columns. */
export function toBlock(records: readonly MetricRecord[]): MetricBlock {
  const columns: Record<string, (number | null)[]> = {};
  for (const [row, record] of records.entries()) {
    for (const [name, value] of Object.entries(record.values)) {
      columns[name] ??= new Array<number | null>(records.length).fill(null);
      (columns[name] as (number | null)[])[row] = value;
    }
  }
  return {
    steps: records.map((record) => record.step),
    phases: records.map((record) => record.phase),
    times: records.map((record) => record.time),
    columns,
  };
}
