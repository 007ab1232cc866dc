import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { DeltaItem } from "../protocol/messages.js";
import type { MetricBlock, TracePart } from "../protocol/records.js";

/** What a channel carries, as a subscriber sees it. */
export type ItemOf<C extends string> = C extends `trace/${string}` ? TracePart : DeltaItem<C>;

/** `snapshot` replaces everything known of the channel; `delta` adds; `gap` says that items were left out. */
export type ChannelEvent<C extends string> =
  | { readonly kind: "snapshot"; readonly seq: number; readonly items: readonly ItemOf<C>[] }
  | { readonly kind: "delta"; readonly seq: number; readonly items: readonly ItemOf<C>[] }
  | { readonly kind: "gap"; readonly seq: number; readonly dropped: number; readonly reason: string };

/** Rows of a block of columns. */
export function fromBlock(block: MetricBlock): MetricRecord[] {
  const columns = Object.entries(block.columns);
  return block.steps.map((step, row) => {
    const values: Record<string, number> = {};
    for (const [name, column] of columns) {
      const value = column[row];
      if (value !== null && value !== undefined) values[name] = value;
    }
    return { step, phase: block.phases[row] ?? 0, time: block.times[row] ?? 0, values };
  });
}
