/** How a reward and a signed number are shown. */
import type { TraceSummary } from "../client/index.js";
import { formatNumber } from "./format.js";

export function Reward({ trace }: { readonly trace: Pick<TraceSummary, "outcome" | "reward"> }) {
  if (trace.reward === null) return <span class="reward unscored">{trace.outcome}</span>;
  const level = trace.reward >= 1 ? "full" : trace.reward > 0 ? "partial" : "zero";
  return <span class={`reward ${level}`}>{formatNumber(trace.reward)}</span>;
}

export const signed = (value: number): string => (value > 0 ? `+${formatNumber(value)}` : formatNumber(value));
