import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/top.css";
import "./styles/board.css";
import "./styles/panels.css";
import "./styles/pipeline.css";
import "./styles/traces.css";
import "./styles/cockpit.css";
import "./styles/dialogs.css";
import { render } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { MetricName } from "../../src/contracts/metrics.js";
import { connectMonitor, type MonitorClient } from "../client/index.js";
import { Alerts } from "./alarm-list.js";
import { ChartCard } from "./chart-card.js";
import { benchmarkCharts, type ChartSpec, chartSpecs, HEADLINE_METRIC, ownChartSpecs } from "./charts.js";
import { Commands } from "./commands.js";
import { ConfigView } from "./config-view.js";
import { Ending } from "./ending.js";
import { formatNumber } from "./format.js";
import { Header } from "./header.js";
import { Help } from "./help.js";
import { isTyping } from "./keys.js";
import { Knobs } from "./knobs.js";
import { Machines } from "./machines.js";
import { searchedSpecs, singleSpec } from "./metric-search.js";
import { Benchmarks, HeldOut, Log } from "./panels.js";
import { Pipeline } from "./pipeline.js";
import { Preflight } from "./preflight.js";
import { Store, useTopics } from "./store.js";
import { Timeline } from "./timeline.js";
import { Toolbar } from "./toolbar.js";
import { Traces } from "./traces.js";
import { ViewState } from "./view.js";

/** The page: connects to the server it came from and shows what it sends. */

function App(props: {
  readonly store: Store;
  readonly client: MonitorClient;
  readonly commands: Commands;
  readonly view: ViewState;
}) {
  const { store, client, commands, view } = props;
  const [help, setHelp] = useState(false);
  useKeys(view, () => setHelp((open) => !open));
  return (
    <>
      <Header store={store} commands={commands} view={view} onHelp={() => setHelp(true)} />
      <main>
        <Ending store={store} />
        <h2 class="hidden">Guard</h2>
        <Timeline store={store} view={view} />
        <h2 class="hidden">Alerts and curves</h2>
        <Board store={store} commands={commands} view={view} />
        <h2 class="hidden">Actors and queues</h2>
        <Pipeline store={store} />
        <h2 class="hidden">Rollouts</h2>
        <Traces store={store} view={view} client={client} />
        <h2 class="hidden">Configuration</h2>
        <ConfigView store={store} />
      </main>
      <Help open={help} onClose={() => setHelp(false)} />
    </>
  );
}

/** Keys of the page as a whole; those of the traces are theirs. */
function useKeys(view: ViewState, toggleHelp: () => void): void {
  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      // The help is a dialog: its key closes it again.
      if (isTyping(event.target) && !(event.target as HTMLElement).closest(".help")) return;
      if (event.key === "?") toggleHelp();
      else if (event.key === "0") view.set({ range: null });
      else if (event.key === "l") view.set({ logY: !view.current.logY });
      else if (event.key === "m") {
        event.preventDefault();
        document.querySelector<HTMLInputElement>(".find input")?.focus();
      }
    };
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, [view]);
}

/** Toolbar, curves, and the state next to them. */
function Board(props: { readonly store: Store; readonly commands: Commands; readonly view: ViewState }) {
  const { store, commands, view } = props;
  useTopics(store, "run", "metrics", "compare", "view");
  const bounds = bucketBounds(store);
  const tables = [store, ...store.compared.views].flatMap(({ training, warmup }) => [training, warmup]);
  const known = [...new Set(tables.flatMap((table) => table.names()))].join("\n");
  const names = useMemo(() => (known === "" ? [] : (known.split("\n") as MetricName[])), [known]);
  const board = useMemo(
    () => [
      ...chartSpecs(bounds === "" ? [] : bounds.split(" ").map((label, i) => ({ k: i + 1, label }))).filter(
        (spec) => !spec.optional || spec.series.some(({ metric }) => names.includes(metric)),
      ),
      ...benchmarkCharts(names),
      ...ownChartSpecs(names),
    ],
    [bounds, names],
  );
  const { find, pins } = view.current;
  const { specs, found } = shownSpecs(board, names, find, pins as readonly MetricName[]);
  return (
    <>
      <Toolbar store={store} view={view} names={names} found={found} />
      <div class="board">
        <Alerts store={store} view={view} />
        <div class="charts">
          {specs.map((spec) => (
            <ChartCard key={spec.id} spec={spec} store={store} view={view} />
          ))}
          {specs.length === 0 ? <p class="card nothing">no metric has such a name</p> : null}
        </div>
        <aside aria-label="State of the run">
          <h2 class="hidden">State</h2>
          <Knobs store={store} commands={commands} />
          <Machines store={store} />
          <HeldOut store={store} />
          <Benchmarks store={store} />
          <Preflight store={store} />
          <Log store={store} />
        </aside>
      </div>
    </>
  );
}

/** The charts of the board behind the pinned ones, or what a search finds. */
function shownSpecs(
  board: readonly ChartSpec[],
  names: readonly MetricName[],
  find: string,
  pins: readonly MetricName[],
): { readonly specs: readonly ChartSpec[]; readonly found: string } {
  if (find.trim() === "") return { specs: [...pins.map(singleSpec), ...board], found: "" };
  const { specs, total } = searchedSpecs(find, board, names);
  const count = `${total} ${total === 1 ? "chart" : "charts"}`;
  return { specs, found: specs.length < total ? `${specs.length} of ${count}` : count };
}

/** Labels of the length buckets k = 1, 2, …: the phases' upper bounds where they are known. */
function bucketBounds(store: Store): string {
  const phases = new Map((store.run?.phases ?? []).map((band) => [band.k, `≤${band.maxTokens}`]));
  const numbers = [...store.training.names()].flatMap((name) => {
    const k = /^(?:accuracy|heldout)\/bucket_(\d+)$/.exec(name)?.[1];
    return k === undefined ? [] : [Number(k)];
  });
  const count = Math.max(0, ...phases.keys(), ...numbers);
  return Array.from({ length: count }, (_, i) => phases.get(i + 1) ?? `#${i + 1}`).join(" ");
}

const root = document.getElementById("root");
if (root) {
  const store = new Store();
  const view = new ViewState(store);
  const client = connectMonitor(location.origin, {
    name: "weir-page/1",
    ...(view.token ? { token: view.token } : {}),
    onState: (state) => {
      store.connection = state;
      store.welcome = client.welcome;
      store.touch("connection");
    },
  });
  store.follow(client);
  const title = () => {
    const { run } = store;
    const value = store.training.latest(HEADLINE_METRIC);
    document.title = run ? `${formatNumber(value)} · step ${run.step} · ${run.id}` : "weir monitor";
  };
  store.listen("metrics", title);
  store.listen("run", title);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => view.set({ theme: view.current.theme }));
  const commands = new Commands(client, store);
  render(<App store={store} client={client} commands={commands} view={view} />, root);
}
