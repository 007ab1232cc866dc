/**
 * The dials of the generator, their defaults and their checks.
 */
import type { ChatMessage } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import type { Split } from "./fact-book.js";
import { FAMILIES, type Family } from "./families.js";
import { RELATIONS, type RelationName } from "./relations.js";

/** A range of whole numbers, both ends included. */
export type Range = readonly [minimum: number, maximum: number];

/** How long a task is: facts in its document, or tokens of its templated prompt. */
export type LengthDial = { readonly facts: Range } | { readonly tokens: Range };

export interface SyntheticOptions {
  readonly seed: number;
  readonly count: number;
  readonly split: Split;
  readonly length: LengthDial;
  /** Length of the templated prompt in tokens of the policy's tokenizer. */
  readonly countTokens: (messages: readonly ChatMessage[]) => number;
  readonly family?: Family;
  /** Facts that must be combined for one answer. */
  readonly hops?: Range;
  /** Relations that documents state; all that fit the family if not given. */
  readonly relations?: readonly RelationName[];
  /** Hand values to other entities, so that an answer can be read but not remembered. */
  readonly permute?: boolean;
  /** Keep only entities whose name is one short plain word. */
  readonly plainNames?: boolean;
  /** Share of distractors about the same relations or entities as the evidence. */
  readonly nearDistractors?: number;
  /** Sentences per paragraph; 0 means one paragraph. */
  readonly paragraph?: number;
  /** Upper token bounds of the length buckets that `data_source` names; none means no bucket suffix. */
  readonly bucketEdges?: readonly number[];
}

export type ResolvedOptions = Required<SyntheticOptions>;

/** The options with defaults; throws WEIR_E_CONFIG naming the dial, its value and what it may be. */
export function resolveOptions(options: SyntheticOptions): ResolvedOptions {
  const family = options.family ?? "multi-hop";
  const everyRelation = Object.keys(RELATIONS) as RelationName[];
  const defaults = everyRelation.filter(
    (name) => RELATIONS[name].valueKind !== "number" || (family === "numeric" && options.permute !== true),
  );
  const resolved: ResolvedOptions = {
    family,
    hops: [2, 2],
    relations: family === "numeric" ? everyRelation : defaults,
    permute: true,
    plainNames: false,
    nearDistractors: 0,
    paragraph: 0,
    bucketEdges: [],
    ...options,
  };
  const range: readonly number[] = "facts" in resolved.length ? resolved.length.facts : resolved.length.tokens;
  check("family", FAMILIES.includes(resolved.family), resolved.family, FAMILIES.join(" | "));
  check("split", resolved.split === "train" || resolved.split === "heldout", resolved.split, "train | heldout");
  check("count", Number.isInteger(resolved.count) && resolved.count >= 0, resolved.count, "a whole number ≥ 0");
  check("hops", isRange(resolved.hops) && resolved.hops[0] >= 1, resolved.hops, "[min, max] with 1 ≤ min ≤ max");
  check(
    "length",
    isRange(range) && (range[0] as number) >= 1,
    resolved.length,
    "facts or tokens [min, max], 1 ≤ min ≤ max",
  );
  const near = resolved.nearDistractors;
  check("nearDistractors", near >= 0 && near <= 1, near, "a share between 0 and 1");
  for (const name of resolved.relations)
    check("relations", name in RELATIONS, name, Object.keys(RELATIONS).join(" | "));
  return resolved;
}

/** "_0_200", "_200_400", "_400_plus" for the bucket that holds a length (bounds are upper, inclusive); "" without edges. */
export function bucketSuffix(tokens: number, edges: readonly number[]): string {
  if (edges.length === 0) return "";
  const at = edges.findIndex((edge) => tokens <= edge);
  const lower = at === 0 ? 0 : edges[(at < 0 ? edges.length : at) - 1];
  return at < 0 ? `_${lower}_plus` : `_${lower}_${edges[at]}`;
}

function isRange(value: readonly number[]): boolean {
  return value.length === 2 && value.every(Number.isInteger) && (value[0] as number) <= (value[1] as number);
}

function check(dial: string, holds: boolean, value: unknown, expected: string): void {
  if (holds) return;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `synthetic data: expected ${dial} to be ${expected}, got ${JSON.stringify(value)}; change it`,
    { path: dial, value },
  );
}
