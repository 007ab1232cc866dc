import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/top.css";
import "./styles/board.css";
import "./styles/panels.css";
import "./styles/pipeline.css";
import "./styles/traces.css";
import "./styles/dialogs.css";
import { render } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import type { MetricName } from "../../src/contracts/metrics.js";
import { connectMonitor, type MonitorClient } from "../client/index.js";
import { ChartCard } from "./chart-card.js";
import { chartSpecs, HEADLINE_METRIC, ownChartSpecs } from "./charts.js";
import { Ending } from "./ending.js";
import { formatNumber } from "./format.js";
import { Header } from "./header.js";
import { Help } from "./help.js";
import { Machines } from "./machines.js";
import { Alerts, HeldOut, Log } from "./panels.js";
import { Pipeline } from "./pipeline.js";
import { Store, useTopics } from "./store.js";
import { Toolbar } from "./toolbar.js";
import { Traces } from "./traces.js";
import { ViewState } from "./view.js";

/** The page: connects to the server it came from and shows what it sends. */

function App({
  store,
  client,
  view,
}: {
  readonly store: Store;
  readonly client: MonitorClient;
  readonly view: ViewState;
}) {
  useTopics(store, "run", "metrics");
  const [help, setHelp] = useState(false);
  const bounds = bucketBounds(store);
  const own = store.training.names().join("\n");
  const specs = useMemo(
    () => [
      ...chartSpecs(bounds === "" ? [] : bounds.split(" ").map((label, i) => ({ k: i + 1, label }))),
      ...ownChartSpecs(own === "" ? [] : (own.split("\n") as MetricName[])),
    ],
    [bounds, own],
  );
  useEffect(() => {
    const listener = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT)$/.test(target.tagName)) return;
      if (event.key === "?") setHelp((open) => !open);
      else if (event.key === "0") view.set({ range: null });
      else if (event.key === "l") view.set({ logY: !view.current.logY });
    };
    addEventListener("keydown", listener);
    return () => removeEventListener("keydown", listener);
  }, [view]);
  return (
    <>
      <Header store={store} client={client} view={view} onHelp={() => setHelp(true)} />
      <main>
        <Ending store={store} />
        <Toolbar store={store} view={view} />
        <h2 class="hidden">Alerts and curves</h2>
        <div class="board">
          <Alerts store={store} view={view} />
          <div class="charts">
            {specs.map((spec) => (
              <ChartCard key={spec.id} spec={spec} store={store} view={view} />
            ))}
          </div>
          <aside aria-label="State of the run">
            <h2 class="hidden">State</h2>
            <Machines store={store} />
            <HeldOut store={store} />
            <Log store={store} />
          </aside>
        </div>
        <h2 class="hidden">Actors and queues</h2>
        <Pipeline store={store} />
        <h2 class="hidden">Rollouts</h2>
        <Traces store={store} view={view} client={client} />
      </main>
      <Help open={help} onClose={() => setHelp(false)} />
    </>
  );
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
  render(<App store={store} client={client} view={view} />, root);
}
