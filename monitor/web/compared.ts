import { fromBlock } from "../client/events.js";
import type { ChannelEvent, MetricBlock, RunConfig, RunInfo } from "../client/index.js";
import { MetricTable } from "./metric-table.js";

/** The runs that are drawn over this one. A run's last block comes again when it has grown, so its table is made anew. */
export interface ComparedView {
  readonly run: RunInfo;
  readonly config: RunConfig;
  readonly training: MetricTable;
  readonly warmup: MetricTable;
}

interface Held {
  run: RunInfo | null;
  config: RunConfig;
  readonly blocks: MetricBlock[];
}

export class ComparedTables {
  private readonly held = new Map<string, Held>();
  views: readonly ComparedView[] = [];

  take(event: ChannelEvent<"compare">): void {
    if (event.kind === "gap") return;
    if (event.kind === "snapshot") this.held.clear();
    const changed = new Set<string>();
    for (const item of event.items) {
      const id = item.part === "run" ? item.run.id : item.run;
      const held = this.held.get(id) ?? { run: null, config: { resolved: null, changes: [] }, blocks: [] };
      this.held.set(id, held);
      if (item.part === "run") Object.assign(held, { run: item.run, config: item.config });
      else held.blocks[item.block] = item.records;
      changed.add(id);
    }
    const known = new Map(this.views.map((view) => [view.run.id, view]));
    this.views = [...this.held].flatMap(([id, held]) => {
      const { run, config } = held;
      if (!run) return [];
      const before = known.get(id);
      if (before && !changed.has(id)) return [before];
      return [{ run, config, ...tablesOf(held.blocks) }];
    });
  }
}

function tablesOf(blocks: readonly MetricBlock[]): Pick<ComparedView, "training" | "warmup"> {
  const training = new MetricTable();
  const warmup = new MetricTable();
  // A block that has not come yet leaves a hole.
  for (const block of blocks)
    for (const record of block ? fromBlock(block) : [])
      (record.phase === 0 && "loss/sft" in record.values ? warmup : training).add(record);
  return { training, warmup };
}
