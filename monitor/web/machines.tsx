import type { Json } from "../../src/contracts/task.js";
import type { MachineState, StateDefinition } from "../client/index.js";
import { formatClock } from "./format.js";
import { type Store, useTopics } from "./store.js";

/** The statecharts, with the states they are in. */
export function Machines({ store }: { readonly store: Store }) {
  useTopics(store, "lifecycle");
  const machines = [...store.machines.values()].sort((a, b) => rank(a.machine) - rank(b.machine));
  return (
    <section class="card panel" aria-label="Lifecycle">
      <header>
        <h3>Lifecycle</h3>
      </header>
      {machines.length === 0 ? <p class="nothing">no state machine has reported</p> : null}
      {machines.map((machine) => (
        <Machine key={machine.machine} machine={machine} />
      ))}
    </section>
  );
}

/** The lifecycle comes first. */
const rank = (machine: string): number => (machine === "lifecycle" ? 0 : 1);

function Machine({ machine }: { readonly machine: MachineState }) {
  const active = activePaths(machine.value);
  const leaf = [...active].filter((path) => ![...active].some((other) => other.startsWith(`${path}.`))).join(", ");
  return (
    <div class="machine">
      <p>
        <b>{machine.machine}</b> <span data-testid={`state-${machine.machine}`}>{leaf.replaceAll(".", " ▸ ")}</span>
        <span class="muted"> since {formatClock(machine.since)}</span>
      </p>
      {machine.definition ? (
        <div class="states">
          {machine.definition.states.map((state) => (
            <StateBox key={state.key} state={state} path={state.key} active={active} />
          ))}
        </div>
      ) : null}
    </div>
  );
}

function StateBox(props: {
  readonly state: StateDefinition;
  readonly path: string;
  readonly active: ReadonlySet<string>;
}) {
  const { state, path, active } = props;
  if (state.type === "history") return null;
  const on = active.has(path) ? "active" : "";
  const title = Object.entries(state.on)
    .map(([event, targets]) => `${event} → ${targets.join(", ") || "·"}`)
    .join("\n");
  if (state.states.length === 0)
    return (
      <span class={`state ${state.type} ${on}`} title={title}>
        {state.key}
      </span>
    );
  return (
    <div class={`state group ${on}`} title={title}>
      <em>{state.key}</em>
      <div class="states">
        {state.states.map((child) => (
          <StateBox key={child.key} state={child} path={`${path}.${child.key}`} active={active} />
        ))}
      </div>
    </div>
  );
}

/** Every state that is active, as dotted paths, parents included. */
export function activePaths(value: Json, prefix = ""): Set<string> {
  const at = (name: string) => (prefix === "" ? name : `${prefix}.${name}`);
  if (typeof value === "string") return new Set([at(value)]);
  const paths = new Set<string>();
  if (typeof value !== "object" || value === null) return paths;
  for (const [key, child] of Object.entries(value)) {
    paths.add(at(key));
    for (const path of activePaths(child as Json, at(key))) paths.add(path);
  }
  return paths;
}
