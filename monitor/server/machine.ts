import type { Json } from "../../src/contracts/task.js";
import type { StateDefinition } from "../protocol/records.js";

/** Statecharts as the monitor draws them: the definition without functions, and names of state values. */

interface DefinitionLike {
  readonly key?: unknown;
  readonly type?: unknown;
  readonly initial?: unknown;
  readonly states?: unknown;
  readonly on?: unknown;
}

const TYPES = ["atomic", "compound", "parallel", "final", "history"] as const;

/** Reads what is drawn out of `machine.definition` of an XState machine (or anything of that shape). */
export function describeMachine(definition: unknown, fallbackKey = "machine"): StateDefinition {
  const node = (definition ?? {}) as DefinitionLike;
  const states = Object.entries((node.states ?? {}) as Record<string, unknown>);
  const type = TYPES.find((known) => known === node.type) ?? (states.length > 0 ? "compound" : "atomic");
  return {
    key: typeof node.key === "string" ? node.key : fallbackKey,
    type,
    initial: initialKey(node.initial),
    states: states.map(([key, child]) => describeMachine(child, key)),
    on: Object.fromEntries(Object.entries((node.on ?? {}) as Record<string, unknown>).map(([k, v]) => [k, targets(v)])),
  };
}

/** `operating.training` for `{ operating: "training" }`; parallel regions are joined by a comma. */
export function stateName(value: Json): string {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null || Array.isArray(value)) return String(value);
  return Object.entries(value)
    .map(([key, child]) => {
      const inner = stateName(child as Json);
      return inner === "" ? key : `${key}.${inner}`;
    })
    .join(",");
}

/** True when the value is the named state or lies within it. */
export function inState(value: Json, name: string): boolean {
  return stateName(value)
    .split(",")
    .some((path) => path === name || path.startsWith(`${name}.`) || path.endsWith(`.${name}`));
}

function initialKey(initial: unknown): string | null {
  if (typeof initial === "string") return initial;
  const target = (initial as { target?: readonly unknown[] } | null | undefined)?.target?.[0];
  return target === undefined ? null : keyOf(target);
}

function targets(transitions: unknown): string[] {
  const list = Array.isArray(transitions) ? transitions : [transitions];
  const keys = list.flatMap((transition) => {
    const target = (transition as { target?: unknown } | null)?.target ?? transition;
    if (typeof target === "string") return [keyOf(target)];
    return Array.isArray(target) ? target.map(keyOf) : [];
  });
  // Several transitions under different conditions may lead to one state.
  return [...new Set(keys)];
}

/** The last name of a state node, or of a reference such as `#lifecycle.operating.training`. */
function keyOf(target: unknown): string {
  const text = typeof target === "string" ? target : String((target as { key?: unknown }).key ?? "");
  return text.replace(/^#/, "").split(".").at(-1) ?? text;
}
