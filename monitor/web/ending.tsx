import { type Store, useTopics } from "./store.js";

/** Why the run failed or ended, in a prominent place. */
export function Ending({ store }: { readonly store: Store }) {
  useTopics(store, "run");
  const { run } = store;
  if (!run?.note) return null;
  const failed = run.status === "failed";
  const code = /^(WEIR_E_[A-Z_]+): /.exec(run.note)?.[1];
  const message = code ? run.note.slice(code.length + 2) : run.note;
  return (
    <section class={failed ? "ending failed" : "ending"} role={failed ? "alert" : "status"} data-testid="ending">
      <h2>
        {failed ? "The run failed" : run.status === "paused" ? "The run is paused" : `The run ended: ${run.status}`}
      </h2>
      {code ? <code>{code}</code> : null}
      <p>{message}</p>
    </section>
  );
}
