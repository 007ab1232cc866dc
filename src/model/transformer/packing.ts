/**
 * Plans micro-batches: which prompts and completions (or plain rows) go through the model together, and where each target
 * token lies in the padded layout. Pure arithmetic on ids; the plan depends on lengths only.
 */

export interface PackItem {
  readonly promptIds: readonly number[]; // [P], at least one token
  readonly completions: readonly (readonly number[])[]; // [G][T]
}

/** One micro-batch: prompts with up to `group` completions each. */
export interface PackedGroups {
  /** Group of each prompt. */
  readonly prompts: readonly number[]; // [P]
  /** Prompt without its last token. */
  readonly prefixes: readonly (readonly number[])[]; // [P]
  /** Padded prefix length; 0 where no prompt has a prefix. */
  readonly prefixLength: number; // Tp
  /** Inputs of each row p·G+g: the prompt's last token, then the completion without its own last. Empty slots have []. */
  readonly rows: readonly (readonly number[])[]; // [P*G]
  readonly group: number; // G
  readonly length: number; // Tc
  /** Tokens that the rows are packed into; null: each takes `length`. */
  readonly rowTokens: number | null;
  /** Position of each prompt's rows: prompt length − 1. */
  readonly starts: readonly number[]; // [P]
  /** Index of each target's hidden row among the flat tokens. */
  readonly places: Int32Array; // [M]
  readonly targets: Int32Array; // [M]
  /** The completions that the targets belong to, in order: group, completion, number of tokens. */
  readonly origin: readonly { readonly group: number; readonly completion: number; readonly length: number }[];
  readonly paddedTokens: number;
}

/** How sizes are rounded, so that few distinct shapes arise. */
export interface Rounding {
  /** Padded length of prompts and of whole sequences, tokens. */
  readonly length: (length: number) => number;
  /** Padded length of completions, tokens. */
  readonly completion: (length: number) => number;
  /** Rows or prompts of one micro-batch, at most `count`. */
  readonly take: (count: number) => number;
  /** Padded number of completions of a prompt. */
  readonly group: (count: number) => number;
  /** Padded total of packed rows; null where rows cannot be packed. */
  readonly tokens: ((count: number) => number) | null;
}

function roundFine(length: number): number {
  const step = length <= 64 ? 4 : length <= 256 ? 8 : length <= 1024 ? 16 : length <= 4096 ? 64 : 256;
  return Math.ceil(length / step) * step;
}

/** For the eager executor, whose kernels are planned once per shape: little padding. */
export const FINE: Rounding = {
  length: roundFine,
  completion: roundFine,
  take: (count) => count,
  group: (count) => count,
  tokens: null,
};

/** Up to `parts` sizes per doubling, 16 at least. */
function roundCoarse(length: number, parts: number): number {
  if (length <= 16) return length <= 0 ? 0 : 16;
  const step = 2 ** Math.ceil(Math.log2(length)) / 2 / parts;
  return Math.ceil(length / step) * step;
}

/** 1, 2, 3, 4, 6, 8, 12, 16, …: the smallest of at least `count`. */
export function roundCount(count: number): number {
  let size = 1;
  while (size < count) size *= 2;
  const between = (size / 4) * 3;
  return Number.isInteger(between) && between >= count ? between : size;
}

/** For compiled graphs, one per shape: four lengths, two completion lengths and two counts per doubling. */
export const COARSE: Rounding = {
  length: (length) => roundCoarse(length, 4),
  completion: (length) => roundCoarse(length, 2),
  take: largestBelow,
  group: roundCount,
  tokens: null,
};

/** The same for packed rows: eight totals per doubling, whatever the rows' own lengths. */
export const PACKED: Rounding = { ...COARSE, tokens: (count) => roundCoarse(count, 8) };

/** The largest of 1, 2, 3, 4, 6, 8, 12, … that is not above `count`. */
function largestBelow(count: number): number {
  const half = 2 ** Math.floor(Math.log2(count));
  return half * 1.5 <= count && Number.isInteger(half * 1.5) ? half * 1.5 : half;
}

interface Slot {
  readonly group: number;
  readonly completions: number[];
}

interface Extent {
  readonly prompts: number;
  /** The longest prefix and completion, and the most completions. */
  readonly prefix: number;
  readonly group: number;
  readonly length: number;
  /** Tokens of all prefixes and all completions. */
  readonly prefixes: number;
  readonly completions: number;
}

const NOTHING: Extent = { prompts: 0, prefix: 0, group: 0, length: 0, prefixes: 0, completions: 0 };

/** Attention pads packed rows to full length; that may take up to this many times the budget. */
const SPREAD = 1.5;

/** Tokens that a micro-batch counts for, with `padded` tokens at full length and `own` of its rows themselves. */
function paddedTokensOf(padded: number, own: readonly number[], { tokens }: Rounding): number {
  if (tokens === null) return padded;
  return Math.max(
    padded / SPREAD,
    own.reduce((sum, count) => sum + tokens(count), 0),
  );
}

function cost({ prompts, prefix, group, length, prefixes, completions }: Extent, rounding: Rounding): number {
  const padded = prompts * (rounding.length(prefix) + rounding.group(group) * rounding.completion(length));
  return paddedTokensOf(padded, [prefixes, completions], rounding);
}

/** Where each row begins in the flat tokens, and their number; `tokens` is null where rows are not packed. */
function layOut(
  rows: readonly (readonly number[])[],
  length: number,
  rounding: Rounding,
): { readonly starts: readonly number[]; readonly tokens: number | null; readonly padded: number } {
  if (rounding.tokens === null) {
    return { starts: rows.map((_, index) => index * length), tokens: null, padded: rows.length * length };
  }
  let total = 0;
  const starts = rows.map((row) => {
    total += row.length;
    return total - row.length;
  });
  const tokens = rounding.tokens(total);
  return { starts, tokens, padded: tokens };
}

/**
 * Splits groups into micro-batches of at most `budget` padded tokens each (one completion at least). Groups are sorted by prompt
 * length, so that little is padded; completions of one prompt stay together where they fit. Empty completions are left out.
 */
export function planGroups(items: readonly PackItem[], budget: number, rounding: Rounding = FINE): PackedGroups[] {
  const slots: Slot[] = [];
  items.forEach((item, group) => {
    const wanted = item.completions.flatMap((completion, index) => (completion.length > 0 ? [index] : []));
    const longest = wanted.reduce((length, index) => Math.max(length, item.completions[index]!.length), 1);
    const room = Math.floor((budget - rounding.length(item.promptIds.length - 1)) / rounding.completion(longest));
    const size = Math.max(1, wanted.length <= room ? wanted.length : rounding.take(Math.max(1, room)));
    for (let start = 0; start < wanted.length; start += size) {
      slots.push({ group, completions: wanted.slice(start, start + size) });
    }
  });
  const promptLength = (slot: Slot) => items[slot.group]!.promptIds.length;
  slots.sort((a, b) => promptLength(b) - promptLength(a) || a.group - b.group);

  const microBatches: Slot[][] = [];
  let current: Slot[] = [];
  let extent = NOTHING;
  for (const slot of slots) {
    const item = items[slot.group]!;
    const lengths = slot.completions.map((index) => item.completions[index]!.length);
    const grow = (from: Extent): Extent => ({
      prompts: from.prompts + 1,
      prefix: Math.max(from.prefix, item.promptIds.length - 1),
      group: Math.max(from.group, slot.completions.length),
      length: Math.max(from.length, ...lengths),
      prefixes: from.prefixes + item.promptIds.length - 1,
      completions: from.completions + lengths.reduce((sum, length) => sum + length, 0),
    });
    if (current.length > 0 && cost(grow(extent), rounding) > budget) {
      microBatches.push(current);
      current = [];
      extent = NOTHING;
    }
    extent = grow(extent);
    current.push(slot);
  }
  if (current.length > 0) microBatches.push(current);
  return microBatches
    .flatMap((microBatch) => inTaken(microBatch, rounding))
    .map((microBatch) => packMicroBatch(items, microBatch, rounding));
}

/** The members in runs of sizes that the rounding allows. */
function inTaken<T>(members: readonly T[], rounding: Rounding): T[][] {
  const runs: T[][] = [];
  for (let start = 0; start < members.length; ) {
    const size = rounding.take(members.length - start);
    runs.push(members.slice(start, start + size));
    start += size;
  }
  return runs;
}

/**
 * Padded length of prompts without their last tokens, of `least` tokens before rounding, and the tokens that they are packed
 * into (null: each takes that length).
 */
export function packPrefixes(
  prefixes: readonly (readonly number[])[],
  rounding: Rounding,
  least = 0,
): { readonly length: number; readonly tokens: number | null; readonly padded: number } {
  const length = rounding.length(Math.max(least, ...prefixes.map((prefix) => prefix.length)));
  if (rounding.tokens === null) return { length, tokens: null, padded: prefixes.length * length };
  const own = prefixes.reduce((sum, prefix) => sum + prefix.length, 0);
  const tokens = rounding.tokens(length === 0 ? 0 : Math.max(1, own));
  return { length, tokens, padded: tokens };
}

function packMicroBatch(items: readonly PackItem[], slots: readonly Slot[], rounding: Rounding): PackedGroups {
  const group = rounding.group(Math.max(...slots.map((slot) => slot.completions.length)));
  const prefixes = slots.map((slot) => items[slot.group]!.promptIds.slice(0, -1));
  const completionsOf = (slot: Slot) => slot.completions.map((index) => items[slot.group]!.completions[index]!);
  const longest = Math.max(...slots.flatMap((slot) => completionsOf(slot).map((completion) => completion.length)));
  const prefix = packPrefixes(prefixes, rounding);
  const length = rounding.completion(longest);
  const rows = slots.flatMap((slot) => {
    const last = items[slot.group]!.promptIds.at(-1) as number;
    const given = completionsOf(slot).map((completion) => [last, ...completion.slice(0, -1)]);
    return [...given, ...Array.from({ length: group - given.length }, (): number[] => [])];
  });
  const flat = layOut(rows, length, rounding);
  const places: number[] = [];
  const targets: number[] = [];
  const origin: PackedGroups["origin"][number][] = [];
  slots.forEach((slot, p) => {
    slot.completions.forEach((index, g) => {
      const completion = items[slot.group]!.completions[index]!;
      origin.push({ group: slot.group, completion: index, length: completion.length });
      const start = flat.starts[p * group + g] as number;
      completion.forEach((id, t) => {
        places.push(start + t);
        targets.push(id);
      });
    });
  });
  return {
    prompts: slots.map((slot) => slot.group),
    prefixes,
    prefixLength: prefix.length,
    rows,
    group,
    length,
    rowTokens: flat.tokens,
    starts: slots.map((slot) => items[slot.group]!.promptIds.length - 1),
    places: Int32Array.from(places),
    targets: Int32Array.from(targets),
    origin,
    paddedTokens: prefix.padded + flat.padded,
  };
}

/** One micro-batch of whole sequences, of which some tokens are targets. */
export interface PackedRows {
  /** Inputs: each sequence without its last token. */
  readonly rows: readonly (readonly number[])[]; // [B]
  readonly length: number; // T
  /** Tokens that the rows are packed into; null: each takes `length`. */
  readonly tokens: number | null;
  readonly places: Int32Array; // [M]
  readonly targets: Int32Array; // [M]
  /** Sequence index and token index (≥ 1) of each target. */
  readonly origin: readonly { readonly row: number; readonly token: number }[]; // [M]
  readonly paddedTokens: number;
}

/** Splits sequences into micro-batches of similar length; `wanted(row, token)` says which tokens are targets. */
export function planRows(
  sequences: readonly (readonly number[])[],
  wanted: (row: number, token: number) => boolean,
  budget: number,
  rounding: Rounding = FINE,
): PackedRows[] {
  const order = sequences
    .map((_, index) => index)
    .filter((index) => sequences[index]!.some((_, token) => token > 0 && wanted(index, token)));
  order.sort((a, b) => sequences[b]!.length - sequences[a]!.length || a - b);
  /** How many of the next sequences fit one micro-batch; one at least. */
  const countThatFits = (next: readonly number[], length: number) => {
    let own = 0;
    const beyond = next.findIndex((row, index) => {
      own += sequences[row]!.length - 1;
      return index > 0 && paddedTokensOf((index + 1) * length, [own], rounding) > budget;
    });
    return beyond < 0 ? next.length : beyond;
  };
  const microBatches: PackedRows[] = [];
  for (let start = 0; start < order.length; ) {
    const length = rounding.length(sequences[order[start]!]!.length - 1);
    const members = order.slice(start, start + rounding.take(countThatFits(order.slice(start), length)));
    start += members.length;
    const rows = members.map((row) => sequences[row]!.slice(0, -1));
    const flat = layOut(rows, length, rounding);
    const places: number[] = [];
    const targets: number[] = [];
    const origin: { row: number; token: number }[] = [];
    members.forEach((row, index) => {
      const ids = sequences[row]!;
      for (let token = 1; token < ids.length; token += 1) {
        if (!wanted(row, token)) continue;
        places.push((flat.starts[index] as number) + token - 1);
        targets.push(ids[token]!);
        origin.push({ row, token });
      }
    });
    microBatches.push({
      rows,
      length,
      tokens: flat.tokens,
      places: Int32Array.from(places),
      targets: Int32Array.from(targets),
      origin,
      paddedTokens: flat.padded,
    });
  }
  return microBatches;
}
