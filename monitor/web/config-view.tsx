import { useMemo, useState } from "preact/hooks";
import { optionRows } from "./config-diff.js";
import { nameTest } from "./metric-search.js";
import { type Store, useTopics } from "./store.js";

/** The configuration of the run, next to those of compared runs; changed and different options are marked. */

export function ConfigView({ store }: { readonly store: Store }) {
  useTopics(store, "config", "compare", "run");
  const [open, setOpen] = useState(false);
  const [find, setFind] = useState("");
  const [onlyDifferent, setOnlyDifferent] = useState(false);
  const { config } = store;
  const { views } = store.compared;
  const rows = useMemo(
    () => (config && open ? optionRows([config, ...views.map((view) => view.config)]) : []),
    [config, views, open],
  );
  if (!config || config.resolved === null) return null;
  const fits = nameTest(find);
  const shown = rows.filter((row) => fits(row.path) && (!onlyDifferent || row.differs));
  const compared = views.length > 0;
  return (
    <details class="card config" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <h3>Configuration</h3>
        <span class="unit">{config.changes.length > 0 ? `${config.changes.length} changed on a resume` : ""}</span>
      </summary>
      <div class="config-tools">
        <label>
          <span class="hidden">Search options</span>
          <input
            type="search"
            placeholder="Search options (regex)"
            value={find}
            onInput={(event) => setFind(event.currentTarget.value)}
          />
        </label>
        {compared ? (
          <label class="check">
            <input type="checkbox" checked={onlyDifferent} onChange={() => setOnlyDifferent(!onlyDifferent)} /> only
            differences
          </label>
        ) : null}
        <span class="muted">
          {shown.length} of {rows.length} options
        </span>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <section class="config-table" tabIndex={0} aria-label="Options">
        <table>
          <thead>
            <tr>
              <th scope="col">option</th>
              <th scope="col">{store.run?.id ?? "run"}</th>
              {views.map(({ run }) => (
                <th key={run.id} scope="col">
                  {run.id}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={row.path} class={row.differs ? "differs" : ""}>
                <th scope="row">{row.path}</th>
                {row.values.map((value, i) => (
                  <td key={`${i.toString()}`}>
                    {value ?? "–"}
                    {i === 0 && row.changedAt.length > 0 ? (
                      <span class="muted"> changed at step {row.changedAt.join(", ")}</span>
                    ) : null}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </details>
  );
}
