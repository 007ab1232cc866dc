import { useState } from "preact/hooks";
import type { LagStatus } from "../../src/contracts/actor-status.js";
import type { ActorChange, PipelineGauge } from "../client/index.js";
import { type ActorRow, actorRows, type ChangeRow, changeRows, lagRows, STATE_TEXT, STATE_TONE } from "./actor-rows.js";
import { formatClock, formatNumber, formatPercent } from "./format.js";
import { type Store, useTopics } from "./store.js";

/** The supervision tree: every actor in the order of flow with its state, work and mailbox; the lag; what changed last. */

const COLUMNS: readonly (readonly [string, string])[] = [
  ["actor", ""],
  ["state", ""],
  ["in work", "Items in work, and the most that it works on at once"],
  ["mailbox", "Items that wait for it, and the bound"],
  ["peak", "The most items that ever waited"],
  ["per s", "Items taken from the mailbox per second"],
  ["done", "Items finished"],
  ["dropped", "Items given up with a reason"],
  ["restarts", ""],
  ["policy", "Version that it samples from or trains"],
];

export function Pipeline({ store }: { readonly store: Store }) {
  useTopics(store, "actors", "pipeline", "run");
  const { tree, gauges, run } = store;
  const actors = tree?.actors ?? [];
  const changes = tree?.changes ?? [];
  const owned = new Set(actors.map((actor) => actor.queue));
  const others = [...gauges.values()].filter((gauge) => !owned.has(gauge.name));
  const empty = actors.length === 0 && others.length === 0;
  // A past run has no tree; its journal says only what restarted.
  if (run?.live === false && empty && changes.length === 0) return null;
  return (
    <section class="card panel pipeline" aria-label="Pipeline">
      <div class="tree">
        <header>
          <h3>Pipeline</h3>
          <span class="unit">actors in the order of flow</span>
        </header>
        {empty ? (
          <p class="nothing">{run?.live === false ? "not kept for a past run" : "no actor has reported"}</p>
        ) : null}
        {empty ? null : <Tree store={store} others={others} />}
      </div>
      <div class="side">
        {run?.live === false && !tree?.lag ? null : <Lag lag={tree?.lag ?? null} />}
        <Changes changes={changes} />
      </div>
    </section>
  );
}

function Tree({ store, others }: { readonly store: Store; readonly others: readonly PipelineGauge[] }) {
  const [chosen, setChosen] = useState<ReadonlyMap<string, boolean>>(new Map());
  const rows = actorRows(store.tree?.actors ?? [], chosen);
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard.
    <section class="scroller" tabIndex={0} aria-label="Actors and queues">
      <table class="actors">
        <thead>
          <tr>
            {COLUMNS.map(([name, meaning]) => (
              <th key={name} scope="col" title={meaning}>
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Row
              key={row.actor.name}
              row={row}
              gauge={row.actor.queue === null ? null : (store.gauges.get(row.actor.queue) ?? null)}
              onToggle={() => setChosen(new Map(chosen).set(row.actor.name, !row.open))}
            />
          ))}
          {others.map((gauge) => (
            <tr key={`queue ${gauge.name}`} data-queue={gauge.name}>
              <th scope="row">
                <span class="name">{gauge.name}</span>
              </th>
              <td class="muted">a queue</td>
              <td />
              <MailboxCells gauge={gauge} />
              <td data-label="done">{formatNumber(gauge.passed)}</td>
              <td />
              <td />
              <td />
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

interface RowProps {
  readonly row: ActorRow;
  readonly gauge: PipelineGauge | null;
  readonly onToggle: () => void;
}

function Row({ row, gauge, onToggle }: RowProps) {
  const { name, state, workers, busy, handled, dropped, restarts, policyVersion, detail } = row.actor;
  return (
    <tr data-actor={name}>
      <th scope="row" style={{ "--depth": row.depth }}>
        <Twist row={row} onToggle={onToggle} />
        <span class="name" title={name}>
          {name}
        </span>
      </th>
      <td class={`actor-state ${STATE_TONE[state]}`} title={detail ?? ""}>
        <b>{STATE_TEXT[state]}</b>
        {row.hidden === "" ? null : <span class="muted"> · {row.hidden}</span>}
        {detail === null ? null : <span class="muted"> · {detail}</span>}
      </td>
      <td data-label="in work">
        {busy} / {workers}
      </td>
      <MailboxCells gauge={gauge} />
      <td data-label="done">{formatNumber(handled)}</td>
      <td data-label="dropped" class={dropped > 0 ? "some" : ""}>
        {formatNumber(dropped)}
      </td>
      <td data-label="restarts" class={restarts > 0 ? "some" : ""}>
        {formatNumber(restarts)}
      </td>
      <td data-label="policy">{policyVersion === null ? "" : `v${policyVersion}`}</td>
    </tr>
  );
}

/** Opens and closes a branch; the root has none. */
function Twist({ row, onToggle }: Omit<RowProps, "gauge">) {
  if (row.depth === 0) return null;
  if (row.children === 0) return <span class="twist" />;
  return (
    <button
      type="button"
      class="plain twist"
      aria-expanded={row.open}
      aria-label={`actors under ${row.actor.name}`}
      onClick={onToggle}
    >
      {row.open ? "▾" : "▸"}
    </button>
  );
}

/** Mailbox, peak and rate. */
function MailboxCells({ gauge }: { readonly gauge: PipelineGauge | null }) {
  if (!gauge)
    return (
      <>
        <td />
        <td />
        <td />
      </>
    );
  const { name, depth, bound, highWater, waitingProducers, waitingConsumers, perSecond, passed } = gauge;
  const full = depth >= bound && waitingProducers > 0;
  const title = `queue ${name}: ${passed} passed, ${waitingProducers} producers and ${waitingConsumers} consumers waiting`;
  return (
    <>
      <td class="mailbox" title={title}>
        <meter
          class="hidden"
          min={0}
          max={bound}
          value={depth}
          aria-label={`queue ${name}: ${depth} of ${bound}, at most ${highWater}`}
        />
        <span class={full ? "bar full" : "bar"} aria-hidden="true">
          <i class="level" style={{ width: percent(depth, bound) }} />
          {highWater > 0 ? <i class="peak" style={{ left: percent(highWater, bound) }} /> : null}
        </span>
        <span class="depth">
          {formatNumber(depth)} / {formatNumber(bound)}
        </span>
      </td>
      <td data-label="peak">{formatNumber(highWater)}</td>
      <td data-label="per s">{formatNumber(perSecond)}</td>
    </>
  );
}

/** `value` of `whole` as a length in CSS, at most all of it. */
const percent = (value: number, whole: number): string => `${(100 * Math.min(value, whole)) / Math.max(1, whole)}%`;

function Lag({ lag }: { readonly lag: LagStatus | null }) {
  return (
    <div class="lag">
      <h4>
        Lag <span class="unit">tokens by policy versions behind</span>
      </h4>
      {lag === null ? <p class="nothing">no batch yet</p> : <Lags lag={lag} />}
    </div>
  );
}

function Lags({ lag }: { readonly lag: LagStatus }) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard.
    <ol class="lags" tabIndex={0} aria-label="Tokens of the last batch by lag">
      {lagRows(lag).map(({ lag: k, tokens, share, beyond }) => (
        <li key={k} class={beyond ? "beyond" : ""} data-lag={k}>
          <span>{k}</span>
          <span class="bar">
            <i class="level" style={{ width: percent(share, 1) }} />
          </span>
          <span>{formatNumber(tokens)}</span>
          <span>{formatPercent(share)}</span>
          <span class="mark">{beyond ? "over" : k === lag.bound ? "bound" : ""}</span>
        </li>
      ))}
    </ol>
  );
}

function Changes({ changes }: { readonly changes: readonly ActorChange[] }) {
  return (
    <div class="changed">
      <h4>
        Changes <span class="unit">restarts and failures, newest first</span>
      </h4>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard. */}
      <ol class="changes" aria-live="polite" aria-relevant="additions" tabIndex={0} aria-label="Changes of actors">
        {changes.length === 0 ? <li class="nothing">none</li> : null}
        {changeRows(changes).map((row) => (
          <Change key={`${row.change.time} ${row.change.actor} ${row.change.state} ${row.change.restarts}`} row={row} />
        ))}
      </ol>
    </div>
  );
}

function Change({ row }: { readonly row: ChangeRow }) {
  const { change, from, to, tone, reason } = row;
  const { actor, restarts, time } = change;
  return (
    <li>
      <time>{formatClock(time)}</time> <b>{actor}</b> {from === null ? "" : `${from} → `}
      <span class={`actor-state ${tone}`}>{to}</span>
      {restarts > 0 ? <span class="muted"> · restart {restarts}</span> : null}
      {reason === null ? null : <span class="text">{reason}</span>}
    </li>
  );
}
