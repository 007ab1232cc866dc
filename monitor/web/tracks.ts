import type { Track } from "./chart-data.js";
import type { Store } from "./store.js";
import type { ViewState } from "./view.js";

/** The runs that charts draw: the page's own, and those compared with it that are not hidden. */
export function tracksOf(store: Store, view: ViewState, kind: "training" | "warmup"): readonly Track[] {
  const own: Track = {
    id: store.run?.id ?? "run",
    table: store[kind],
    startedAt: store.run?.startedAt ?? store[kind].times[0] ?? 0,
    index: 0,
  };
  const { hidden } = view.current;
  const others = store.compared.views.flatMap(({ run, [kind]: table }, i): Track[] =>
    hidden.includes(run.id) ? [] : [{ id: run.id, table, startedAt: run.startedAt, index: i + 1 }],
  );
  const all = hidden.includes(own.id) && others.length > 0 ? others : [own, ...others];
  return all;
}
