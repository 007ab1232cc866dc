import type { Track } from "./chart-data.js";
import type { MetricTable } from "./metric-table.js";
import type { Store } from "./store.js";
import type { ViewState } from "./view.js";

/** The runs that charts draw: the page's own, and those compared with it that are not hidden; and what its rollbacks have undone. */
export function tracksOf(store: Store, view: ViewState, kind: "training" | "warmup"): readonly Track[] {
  const { hidden } = view.current;
  const id = store.run?.id ?? "run";
  const startedAt = store.run?.startedAt ?? store[kind].times[0] ?? 0;
  const own: Track = { id, table: store[kind], startedAt, index: 0, undone: false };
  const others = store.compared.views.flatMap(({ run, [kind]: table }, i): Track[] =>
    hidden.includes(run.id) ? [] : [{ id: run.id, table, startedAt: run.startedAt, index: i + 1, undone: false }],
  );
  if (hidden.includes(id) && others.length > 0) return others;
  const undone = kind === "training" ? undoneRows(store) : null;
  return [
    own,
    ...others,
    ...(undone ? [{ id: `${id} (undone)`, table: undone, startedAt, index: 0, undone: true }] : []),
  ];
}

/** What the run had recorded of steps that a rollback has undone. */
function undoneRows(store: Store): MetricTable | null {
  const rollbacks = store.run?.rollbacks ?? [];
  if (rollbacks.length === 0) return null;
  return store.training.replacedRows((step) =>
    rollbacks.some(({ fromStep, toStep }) => step > toStep && step <= fromStep),
  );
}
