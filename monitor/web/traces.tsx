import type { ComponentChildren, RefObject } from "preact";
import { useMemo, useRef, useState } from "preact/hooks";
import type { MonitorClient, TraceSummary } from "../client/index.js";
import { formatNumber } from "./format.js";
import { isTyping, useKeys } from "./keys.js";
import { Reward, signed } from "./reward.js";
import { type Store, useTopics } from "./store.js";
import { TraceDetail } from "./trace-detail.js";
import { EMPTY_QUERY, selectTraces, type TraceQuery } from "./trace-filter.js";
import type { ViewState } from "./view.js";

/** The live list of sampled rollouts, with filter, order and a pause for new rows; next to it the selected one in full. */

interface Props {
  readonly store: Store;
  readonly view: ViewState;
  readonly client: MonitorClient;
}

/** Rows drawn; a filter brings the others. */
const ROWS = 200;

export function Traces({ store, view, client }: Props) {
  useTopics(store, "traces", "view", "run");
  const [query, setQuery] = useState<TraceQuery>(EMPTY_QUERY);
  const [frozen, setFrozen] = useState<readonly TraceSummary[] | null>(null);
  const search = useRef<HTMLInputElement>(null);
  const source = frozen ?? store.traces;
  const rows = useMemo(() => selectTraces(source, query).slice(0, ROWS), [source, query]);
  const selected = view.current.trace;
  const phases = [...new Set(store.traces.map((trace) => trace.phase))].sort((a, b) => a - b);
  const set = (change: Partial<TraceQuery>) => setQuery({ ...query, ...change });
  const toggle = () => setFrozen(frozen ? null : store.traces);
  const choose = (id: string | undefined, step: number | null = null) => {
    if (id === undefined) return;
    view.set({ trace: id, traceStep: step ?? store.traces.find((trace) => trace.id === id)?.step ?? null });
    document.getElementById(rowId(id))?.scrollIntoView({ block: "nearest" });
  };
  const move = (by: number) => {
    const at = rows.findIndex((row) => row.id === selected);
    choose(rows[at < 0 ? 0 : Math.min(rows.length - 1, Math.max(0, at + by))]?.id);
  };

  useKeys((event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    if (event.key === "j") move(1);
    else if (event.key === "k") move(-1);
    else if (event.key === "/") search.current?.focus();
    else if (event.key === " " && !(event.target instanceof HTMLButtonElement)) toggle();
    else if (event.key === "Escape") view.set({ trace: null });
    else return;
    event.preventDefault();
  });

  const behind = frozen ? store.traces.length - frozen.length : 0;
  return (
    <section class="card traces" aria-label="Traces">
      <header>
        <h3>Traces</h3>
        <span class="unit">
          {rows.length === source.length ? source.length : `showing ${rows.length} of ${source.length}`}
          {store.droppedTraces > 0 ? ` · ${store.droppedTraces} skipped` : ""}
        </span>
        <button type="button" class={frozen ? "primary" : "ghost"} aria-pressed={frozen !== null} onClick={toggle}>
          {frozen ? `Paused${behind > 0 ? `, ${behind} new` : ""}` : "Pause list"}
        </button>
        <span class="spacer" />
        <Filters query={query} set={set} phases={phases} search={search} />
      </header>
      <div class={selected ? "split" : "split closed"}>
        <TraceList rows={rows} selected={selected} choose={choose}>
          {source.length === 0 ? "no rollout has been sampled yet" : "no trace fits the filter"}
        </TraceList>
        {selected ? (
          <TraceDetail key={selected} id={selected} store={store} client={client} view={view} choose={choose} />
        ) : null}
      </div>
    </section>
  );
}

/** Search, filters and order of the list. */
function Filters(props: {
  readonly query: TraceQuery;
  readonly set: (change: Partial<TraceQuery>) => void;
  readonly phases: readonly number[];
  readonly search: RefObject<HTMLInputElement | null>;
}) {
  const { query, set, phases, search } = props;
  return (
    <>
      <label>
        <span class="hidden">Search traces</span>
        <input
          ref={search}
          type="search"
          placeholder="Search  /"
          value={query.text}
          onInput={(event) => set({ text: event.currentTarget.value })}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
      </label>
      <label>
        reward{" "}
        <select
          value={query.reward}
          onChange={(event) => set({ reward: event.currentTarget.value as TraceQuery["reward"] })}
        >
          <option value="any">any</option>
          <option value="full">1</option>
          <option value="partial">between 0 and 1</option>
          <option value="none">0 or less</option>
          <option value="unscored">not scored</option>
        </select>
      </label>
      <label>
        phase{" "}
        <select
          value={query.phase ?? ""}
          onChange={(event) =>
            set({ phase: event.currentTarget.value === "" ? null : Number(event.currentTarget.value) })
          }
        >
          <option value="">all</option>
          {phases.map((phase) => (
            <option key={phase} value={phase}>
              {phase}
            </option>
          ))}
        </select>
      </label>
      <label>
        order{" "}
        <select value={query.sort} onChange={(event) => set({ sort: event.currentTarget.value as TraceQuery["sort"] })}>
          <option value="newest">newest</option>
          <option value="reward">reward</option>
          <option value="entropy">entropy</option>
          <option value="logprob">least likely</option>
          <option value="length">length</option>
        </select>
      </label>
    </>
  );
}

/** The table of traces; its children are shown where no trace is. */
function TraceList(props: {
  readonly rows: readonly TraceSummary[];
  readonly selected: string | null;
  readonly choose: (id: string) => void;
  readonly children: ComponentChildren;
}) {
  const { rows, selected, choose } = props;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a scrolled region must be reachable by keyboard.
    <section class="list" tabIndex={0} aria-label="List of traces">
      <table>
        <thead>
          <tr>
            <th scope="col" class="n">
              step
            </th>
            <th scope="col" class="n">
              phase
            </th>
            <th scope="col">reward</th>
            <th scope="col" class="n">
              adv.
            </th>
            <th scope="col" class="n">
              tokens
            </th>
            <th scope="col" class="n">
              entropy
            </th>
            <th scope="col">answer</th>
            <th scope="col">gold answer</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((trace) => (
            <Row key={trace.id} trace={trace} selected={trace.id === selected} choose={choose} />
          ))}
        </tbody>
      </table>
      {rows.length === 0 ? <p class="nothing">{props.children}</p> : null}
    </section>
  );
}

function Row(props: {
  readonly trace: TraceSummary;
  readonly selected: boolean;
  readonly choose: (id: string) => void;
}) {
  const { trace, selected, choose } = props;
  return (
    <tr id={rowId(trace.id)} aria-selected={selected} onClick={() => choose(trace.id)}>
      <td class="n">
        <button
          type="button"
          class="plain"
          aria-label={`${trace.step}, open trace ${trace.id}`}
          onClick={() => choose(trace.id)}
        >
          {trace.step}
        </button>
      </td>
      <td class="n">
        {trace.phase}
        {trace.carried ? (
          <span class="carried" title="carried from an earlier phase">
            {" "}
            ↻
          </span>
        ) : null}
      </td>
      <td>
        <Reward trace={trace} />
      </td>
      <td class="n">{trace.advantage === null ? "–" : signed(trace.advantage)}</td>
      <td class={trace.finish === "length" ? "n cut" : "n"} title={trace.finish === "length" ? "cut by length" : ""}>
        {trace.completionTokens}
      </td>
      <td class="n">{formatNumber(trace.meanEntropy)}</td>
      <td class="excerpt">{answerOf(trace.excerpt)}</td>
      <td class="gold">{bare(trace.goldAnswer)}</td>
    </tr>
  );
}

const rowId = (id: string): string => `trace-${id}`;
/** Without the phrase that begins every answer of the template. */
const bare = (text: string): string => oneLine(text).replace(/^therefore, the answer is:? */i, "");
/** The text after `</think>`, else the end of the response. */
const answerOf = (excerpt: string): string => {
  const after = bare(excerpt.split("</think>").at(-1) ?? excerpt).replace(/<\|[^|]*\|>$/, "");
  return after.length > 160 ? `…${after.slice(-120)}` : after;
};
const oneLine = (text: string): string => text.replace(/\s+/g, " ").trim();
