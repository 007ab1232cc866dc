import type { TraceSummary } from "../client/index.js";

/** A query of the trace list. */
export interface TraceQuery {
  readonly text: string;
  readonly reward: "any" | "full" | "partial" | "none" | "unscored";
  readonly phase: number | null;
  readonly sort: "newest" | "reward" | "entropy" | "logprob" | "length";
}

export const EMPTY_QUERY: TraceQuery = { text: "", reward: "any", phase: null, sort: "newest" };

/** Traces that fit, in the wanted order. Text is looked for in ids, source, gold answer and excerpts, ignoring case. */
export function selectTraces(traces: readonly TraceSummary[], query: TraceQuery): TraceSummary[] {
  const needle = query.text.trim().toLowerCase();
  const kept = traces.filter(
    (trace) =>
      rewardFits(trace.reward, query.reward) &&
      (query.phase === null || trace.phase === query.phase) &&
      (needle === "" || haystack(trace).includes(needle)),
  );
  const by: Readonly<Record<TraceQuery["sort"], (trace: TraceSummary) => number>> = {
    newest: (trace) => trace.time,
    reward: (trace) => trace.reward ?? Number.NEGATIVE_INFINITY,
    entropy: (trace) => trace.meanEntropy ?? Number.NEGATIVE_INFINITY,
    logprob: (trace) => -(trace.meanLogprob ?? 0),
    length: (trace) => trace.completionTokens,
  };
  const key = by[query.sort];
  // Reversing first puts the newest on top among equals.
  return kept.reverse().sort((a, b) => key(b) - key(a));
}

function rewardFits(reward: number | null, wanted: TraceQuery["reward"]): boolean {
  switch (wanted) {
    case "any":
      return true;
    case "unscored":
      return reward === null;
    case "full":
      return reward !== null && reward >= 1;
    case "none":
      return reward !== null && reward <= 0;
    case "partial":
      return reward !== null && reward > 0 && reward < 1;
  }
}

const haystack = (trace: TraceSummary): string =>
  `${trace.id} ${trace.source} ${trace.goldAnswer} ${trace.promptExcerpt} ${trace.excerpt}`.toLowerCase();
