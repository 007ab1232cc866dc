/**
 * The names that earlier builds wrote, and what each is called now. One entry, one line. Run folders are read through this
 * table: options of config.json, kinds and fields of facts, metric names, fields of a checkpoint's state. A configuration that a
 * person wrote with an old name of an option is refused with the present one.
 */
import type { FactData, FactType } from "../contracts/fact.js";
import type { RegisteredName } from "../contracts/metrics.js";

/** An option whose value means something else under its present name. */
export interface ConvertedOption {
  readonly now: string;
  /** What to give in its place, for a person who wrote the old name. */
  readonly advice: string;
  /** The present value; `config` is the whole configuration with the old names. */
  readonly convert: (value: unknown, config: unknown) => unknown;
}

/** An option's path now, with a conversion where its value has changed too; or what to do where there is no such option any more. */
export type OldOption = string | ConvertedOption | { readonly removed: string };

export interface OldNames {
  /** Path of an option, such as `loss.clip`. A removed option of a run folder stays where it is, so that resuming refuses it by name. */
  readonly options: Readonly<Record<string, OldOption>>;
  /** Name of a metric as the registry spells it; one that ends in `<k>` stands for every phase number. */
  readonly metrics: Readonly<Record<string, RegisteredName>>;
  readonly facts: Readonly<Record<string, FactType>>;
  /** Fields of a fact's data, by the present kind of the fact. */
  readonly factFields: { readonly [T in FactType]?: Readonly<Record<string, keyof FactData[T] & string>> };
  /** Paths in a checkpoint's `state.json`, such as `progress.updates`. */
  readonly checkpointState: Readonly<Record<string, string>>;
}

export const OLD_NAMES: OldNames = {
  options: {
    "dynamicSampling.minScored": {
      now: "dynamicSampling.minScoredShare",
      advice: "give the share of rollout.groupSize in its place, such as 0.75",
      convert: shareOfGroup,
    },
  },
  metrics: {},
  facts: {},
  factFields: {},
  checkpointState: {},
};

/** A count of a group's responses as a share of them. */
function shareOfGroup(count: unknown, config: unknown): unknown {
  const { groupSize } = ((config as { rollout?: { groupSize?: unknown } } | null)?.rollout ?? {}) as Tree;
  return typeof count === "number" && typeof groupSize === "number" ? Math.min(1, count / groupSize) : count;
}

type Tree = Readonly<Record<string, unknown>>;

const isTree = (value: unknown): value is Tree => typeof value === "object" && value !== null && !Array.isArray(value);

/** A metric's present name. */
export function currentMetric(name: string, names: OldNames = OLD_NAMES): string {
  const { metrics } = names;
  if (Object.hasOwn(metrics, name)) return metrics[name] as string;
  const number = /_(\d+)$/.exec(name)?.[1];
  if (number === undefined) return name;
  const pattern = `${name.slice(0, -number.length)}<k>`;
  return Object.hasOwn(metrics, pattern) ? (metrics[pattern] as string).replace("<k>", number) : name;
}

/** What has become of an option; null where its path is no old one. */
export function oldOption(path: string, names: OldNames = OLD_NAMES): OldOption | null {
  return Object.hasOwn(names.options, path) ? (names.options[path] ?? null) : null;
}

/** Where an option of an earlier build is now; its own path where it was removed or is no old one. */
export function currentOptionPath(path: string, names: OldNames = OLD_NAMES): string {
  const now = oldOption(path, names);
  return now === null ? path : (targetOf(now) ?? path);
}

/** A value of an option of an earlier build under its present name. */
export function currentOptionValue(
  path: string,
  value: unknown,
  config: unknown,
  names: OldNames = OLD_NAMES,
): unknown {
  const now = oldOption(path, names);
  return isConverted(now) ? now.convert(value, config) : value;
}

const isConverted = (option: OldOption | null): option is ConvertedOption =>
  typeof option === "object" && option !== null && "now" in option;

/** Where the value goes; null for an option that was removed. */
const targetOf = (option: OldOption): string | null =>
  isConverted(option) ? option.now : typeof option === "string" ? option : null;

/** The old options at a path and below it, with what has become of each. */
export function oldOptionsAt(path: string, names: OldNames = OLD_NAMES): (readonly [path: string, now: OldOption])[] {
  return Object.entries(names.options).filter(([old]) => old === path || old.startsWith(`${path}.`));
}

/** A resolved configuration of an earlier build with the present names of options. A value under the present name wins. */
export function currentOptions(config: unknown, names: OldNames = OLD_NAMES): unknown {
  const paths = Object.entries(names.options).flatMap(([old, option]) => {
    const now = targetOf(option);
    return now === null ? [] : [[old, now] as const];
  });
  return renamed(config, Object.fromEntries(paths), (path, value) => currentOptionValue(path, value, config, names));
}

/** A checkpoint's state of an earlier build with the present names of its fields. */
export function currentState(state: unknown, names: OldNames = OLD_NAMES): unknown {
  return renamed(state, names.checkpointState);
}

/** Type and data of a fact of an earlier build under their present names; `data` is returned as it is where nothing is old. */
export function currentFact(
  type: string,
  data: Tree,
  names: OldNames = OLD_NAMES,
): { readonly type: string; readonly data: Tree } {
  const kind = Object.hasOwn(names.facts, type) ? (names.facts[type] as FactType) : type;
  const fields: Readonly<Record<string, string>> | undefined = names.factFields[kind as FactType];
  const named = fields ? mapKeys(data, (key) => (Object.hasOwn(fields, key) ? (fields[key] as string) : key)) : data;
  if (isEmpty(names.metrics)) return { type: kind, data: named };
  const metric = (name: string) => currentMetric(name, names);
  if (kind === "metrics.recorded" && isTree(named.values))
    return { type: kind, data: { ...named, values: mapKeys(named.values, metric) } };
  if (kind === "alert.raised" && isTree(named.alert) && typeof named.alert.metric === "string")
    return { type: kind, data: { ...named, alert: { ...named.alert, metric: metric(named.alert.metric) } } };
  return { type: kind, data: named };
}

function isEmpty(table: Tree): boolean {
  for (const _ in table) return false;
  return true;
}

/** The tree itself where no key changes. A value under the present name wins. */
function mapKeys(tree: Tree, rename: (key: string) => string): Tree {
  const keys = Object.keys(tree);
  if (keys.every((key) => rename(key) === key)) return tree;
  const entries = keys.flatMap((key): [string, unknown][] => {
    const name = rename(key);
    return name !== key && Object.hasOwn(tree, name) ? [] : [[name, tree[key]]];
  });
  return Object.fromEntries(entries);
}

function renamed(
  tree: unknown,
  paths: Readonly<Record<string, string>>,
  convert: (path: string, value: unknown) => unknown = (_, value) => value,
): unknown {
  const moves = Object.entries(paths);
  if (!isTree(tree) || moves.length === 0) return tree;
  const copy = structuredClone(tree) as Record<string, unknown>;
  for (const [from, to] of moves) move(copy, from.split("."), to.split("."), (value) => convert(from, value));
  return copy;
}

/** Moves a value within a tree, and removes objects that it leaves empty; nothing happens where there is no value. */
function move(
  tree: Record<string, unknown>,
  from: readonly string[],
  to: readonly string[],
  convert: (value: unknown) => unknown,
): void {
  const [fromKey = "", toKey = ""] = [from.at(-1), to.at(-1)];
  const source = folderOf(tree, from, false);
  if (source === null || !Object.hasOwn(source, fromKey)) return;
  const target = folderOf(tree, to, true);
  if (target === null) return;
  const value = convert(source[fromKey]);
  delete source[fromKey];
  if (!Object.hasOwn(target, toKey)) target[toKey] = value;
  for (let depth = from.length - 1; depth > 0; depth--) {
    const [folder, key = ""] = [folderOf(tree, from.slice(0, depth), false), from[depth - 1]];
    if (!isTree(folder?.[key]) || Object.keys(folder[key]).length > 0) return;
    delete folder[key];
  }
}

/** The object that holds a path's last key; made on the way where `make` says so, null where something else is there. */
function folderOf(
  tree: Record<string, unknown>,
  path: readonly string[],
  make: boolean,
): Record<string, unknown> | null {
  let node: Record<string, unknown> = tree;
  for (const part of path.slice(0, -1)) {
    if (make && !Object.hasOwn(node, part)) node[part] = {};
    const next = Object.hasOwn(node, part) ? node[part] : undefined;
    if (!isTree(next)) return null;
    node = next as Record<string, unknown>;
  }
  return node;
}
