/**
 * Plans micro-batches: which prompts and completions (or plain rows) go through the model together, and where each wanted
 * token lies in the padded layout. Pure arithmetic on ids; the plan depends on lengths only.
 */

export interface PackItem {
  readonly promptIds: readonly number[]; // [P], at least one token
  readonly completions: readonly (readonly number[])[]; // [G][T]
}

/** Rows of one pass: prompts with up to `group` completions each. */
export interface PackedGroups {
  /** Prompt without its last token. */
  readonly prefixes: readonly (readonly number[])[]; // [P]
  /** Padded prefix length; 0 where no prompt has a prefix. */
  readonly prefixLength: number; // Tp
  /** Inputs of each row p·G+g: the prompt's last token, then the completion without its own last. Empty slots hold []. */
  readonly rows: readonly (readonly number[])[]; // [P*G]
  readonly group: number; // G
  readonly length: number; // Tc
  /** Position of each prompt's rows: prompt length − 1. */
  readonly starts: readonly number[]; // [P]
  /** Flat place in [P*G*Tc] of each wanted token's hidden row. */
  readonly places: Int32Array; // [M]
  readonly targets: Int32Array; // [M]
  /** Where each wanted token came from: group, completion, token. */
  readonly origin: readonly { readonly group: number; readonly completion: number; readonly length: number }[];
  readonly paddedTokens: number;
}

/** Rounds a length up so that few distinct shapes arise: kernels are planned once per shape. */
export function roundLength(length: number): number {
  const step = length <= 64 ? 4 : length <= 256 ? 8 : length <= 1024 ? 16 : length <= 4096 ? 64 : 256;
  return Math.ceil(length / step) * step;
}

interface Slot {
  readonly group: number;
  readonly completions: number[];
}

interface Extent {
  prompts: number;
  prefix: number;
  group: number;
  length: number;
}

function cost({ prompts, prefix, group, length }: Extent): number {
  return prompts * (roundLength(prefix) + group * roundLength(length));
}

/**
 * Splits groups into passes of at most `budget` padded tokens each (one completion at least). Groups are taken by prompt
 * length, so that little is padded; completions of one prompt stay together where they fit. Empty completions take no part.
 */
export function planGroups(items: readonly PackItem[], budget: number): PackedGroups[] {
  const slots: Slot[] = [];
  items.forEach((item, group) => {
    const wanted = item.completions.flatMap((completion, index) => (completion.length > 0 ? [index] : []));
    const longest = wanted.reduce((length, index) => Math.max(length, item.completions[index]!.length), 1);
    const room = Math.floor((budget - roundLength(item.promptIds.length - 1)) / roundLength(longest));
    const size = Math.max(1, Math.min(room, wanted.length));
    for (let start = 0; start < wanted.length; start += size) {
      slots.push({ group, completions: wanted.slice(start, start + size) });
    }
  });
  const promptLength = (slot: Slot) => items[slot.group]!.promptIds.length;
  slots.sort((a, b) => promptLength(b) - promptLength(a) || a.group - b.group);

  const passes: Slot[][] = [];
  let current: Slot[] = [];
  let extent: Extent = { prompts: 0, prefix: 0, group: 0, length: 0 };
  for (const slot of slots) {
    const item = items[slot.group]!;
    const grown: Extent = {
      prompts: extent.prompts + 1,
      prefix: Math.max(extent.prefix, item.promptIds.length - 1),
      group: Math.max(extent.group, slot.completions.length),
      length: slot.completions.reduce((length, c) => Math.max(length, item.completions[c]!.length), extent.length),
    };
    if (current.length > 0 && cost(grown) > budget) {
      passes.push(current);
      current = [];
      extent = {
        prompts: 1,
        prefix: item.promptIds.length - 1,
        group: slot.completions.length,
        length: slot.completions.reduce((length, c) => Math.max(length, item.completions[c]!.length), 0),
      };
    } else extent = grown;
    current.push(slot);
  }
  if (current.length > 0) passes.push(current);
  return passes.map((pass) => packPass(items, pass));
}

function packPass(items: readonly PackItem[], slots: readonly Slot[]): PackedGroups {
  const group = Math.max(...slots.map((slot) => slot.completions.length));
  const prefixes = slots.map((slot) => items[slot.group]!.promptIds.slice(0, -1));
  const longestPrefix = Math.max(...prefixes.map((prefix) => prefix.length));
  const completionsOf = (slot: Slot) => slot.completions.map((index) => items[slot.group]!.completions[index]!);
  const longest = Math.max(...slots.flatMap((slot) => completionsOf(slot).map((completion) => completion.length)));
  const prefixLength = roundLength(longestPrefix);
  const length = roundLength(longest);
  const rows: (readonly number[])[] = [];
  const places: number[] = [];
  const targets: number[] = [];
  const origin: PackedGroups["origin"][number][] = [];
  slots.forEach((slot, p) => {
    const last = items[slot.group]!.promptIds.at(-1) as number;
    for (let g = 0; g < group; g += 1) {
      const index = slot.completions[g];
      if (index === undefined) {
        rows.push([]);
        continue;
      }
      const completion = items[slot.group]!.completions[index]!;
      rows.push([last, ...completion.slice(0, -1)]);
      origin.push({ group: slot.group, completion: index, length: completion.length });
      completion.forEach((id, t) => {
        places.push((p * group + g) * length + t);
        targets.push(id);
      });
    }
  });
  return {
    prefixes,
    prefixLength,
    rows,
    group,
    length,
    starts: slots.map((slot) => items[slot.group]!.promptIds.length - 1),
    places: Int32Array.from(places),
    targets: Int32Array.from(targets),
    origin,
    paddedTokens: slots.length * (prefixLength + group * length),
  };
}

/** Rows of one plain pass: whole sequences, of which some tokens are targets. */
export interface PackedRows {
  /** Inputs: each sequence without its last token. */
  readonly rows: readonly (readonly number[])[]; // [B]
  readonly length: number; // T
  readonly places: Int32Array; // [M]
  readonly targets: Int32Array; // [M]
  /** Sequence index and token index (≥ 1) of each target. */
  readonly origin: readonly { readonly row: number; readonly token: number }[]; // [M]
  readonly paddedTokens: number;
}

/** Splits sequences into passes of similar length; `wanted(row, token)` says which tokens are targets. */
export function planRows(
  sequences: readonly (readonly number[])[],
  wanted: (row: number, token: number) => boolean,
  budget: number,
): PackedRows[] {
  const order = sequences
    .map((_, index) => index)
    .filter((index) => sequences[index]!.some((_, token) => token > 0 && wanted(index, token)));
  order.sort((a, b) => sequences[b]!.length - sequences[a]!.length || a - b);
  const passes: PackedRows[] = [];
  for (let start = 0; start < order.length; ) {
    const length = roundLength(sequences[order[start]!]!.length - 1);
    const members = order.slice(start, start + Math.max(1, Math.floor(budget / length)));
    start += members.length;
    const places: number[] = [];
    const targets: number[] = [];
    const origin: { row: number; token: number }[] = [];
    members.forEach((row, index) => {
      const ids = sequences[row]!;
      for (let token = 1; token < ids.length; token += 1) {
        if (!wanted(row, token)) continue;
        places.push(index * length + token - 1);
        targets.push(ids[token]!);
        origin.push({ row, token });
      }
    });
    passes.push({
      rows: members.map((row) => sequences[row]!.slice(0, -1)),
      length,
      places: Int32Array.from(places),
      targets: Int32Array.from(targets),
      origin,
      paddedTokens: members.length * length,
    });
  }
  return passes;
}
