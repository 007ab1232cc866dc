import type { ComparedRun, RunConfig, RunInfo } from "../protocol/records.js";
import { listedRun } from "./listed-run.js";
import { BLOCK_ROWS, type MetricLog, toBlock } from "./metric-log.js";

/**
 * Other runs that a monitor shows next to its own, as entries of the `compare` channel: one with the run's state, and one per
 * block of metric records. A run that goes on rewrites its last block only.
 */

/** A run as the comparison reads it. */
export interface Comparable {
  readonly run: RunInfo | null;
  readonly config: RunConfig;
  readonly metrics: MetricLog;
}

interface Compared {
  readonly hub: Comparable;
  /** Records that have been told. */
  rows: number;
  /** State that has been told, as JSON. */
  told: string;
}

export class ComparedRuns {
  private readonly runs: Compared[] = [];

  add(hub: Comparable): void {
    this.runs.push({ hub, rows: 0, told: "" });
  }

  /** What is new since the last call, each with its key in the channel. */
  *changed(): Generator<{ readonly key: string; readonly data: ComparedRun }, void, void> {
    for (const run of this.runs) {
      const info = run.hub.run;
      if (!info) continue;
      const state: ComparedRun = { part: "run", run: listedRun(info), config: run.hub.config };
      const told = JSON.stringify(state);
      if (told !== run.told) yield { key: info.id, data: state };
      run.told = told;
      if (run.hub.metrics.seq === run.rows) continue;
      const records = run.hub.metrics.records();
      for (let block = Math.floor(run.rows / BLOCK_ROWS); block * BLOCK_ROWS < records.length; block++) {
        const rows = records.slice(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS);
        yield { key: `${info.id} ${block}`, data: { part: "block", run: info.id, block, records: toBlock(rows) } };
      }
      run.rows = records.length;
    }
  }
}
