/**
 * Completions whose activations were kept while they were drawn, for the pass that trains on them: it takes them and runs
 * backward only. A decoding call leaves them in a block, B tokens of R rows; a completion lies in one or several blocks.
 * Invariants: what is held belongs to the weights that it was drawn with (whoever changes these clears it); a block lives as
 * long as a completion in it, and no longer.
 */

import { type Tensor, tf } from "../tensor/tf.js";
import { DECODED_PARTS, type DecodedPart, type DecodedRows, decodedWidths } from "../transformer/decoded-rows.js";
import { loadActivations } from "../transformer/fused-kernels.js";
import type { ForwardState, Transformer } from "../transformer/model.js";
import type { PackedGroups } from "../transformer/packing.js";

type Ids = readonly number[];

/** What a decoding call kept. Its tensors outlive scopes. */
export interface RowBlock {
  /** Rows of the table, R. */
  readonly rows: number;
  /** [B, R, W]: the parts of each layer, and last the hidden rows before the final norm; null once freed. */
  readonly tensors: (Tensor | null)[];
  readonly bytes: number;
  /** Spans that lie in it. */
  users: number;
}

/** Tokens [0, count) of a call in one row of its table. */
export interface RowSpan {
  readonly block: RowBlock;
  readonly place: number;
  readonly count: number;
}

interface HeldRow {
  readonly prefix: Ids;
  readonly inputs: Ids;
  readonly spans: readonly RowSpan[];
}

/** What decoding a completion reads: its prompt without the last token; that token, and the completion without its own. */
function readBy(promptIds: Ids, tokenIds: Ids): Pick<HeldRow, "prefix" | "inputs"> {
  return { prefix: promptIds.slice(0, -1), inputs: [promptIds.at(-1) as number, ...tokenIds.slice(0, -1)] };
}

function find(entries: readonly HeldRow[], prefix: Ids, inputs: Ids): HeldRow | undefined {
  return entries.find((entry) => sameIds(entry.inputs, inputs) && sameIds(entry.prefix, prefix));
}

export const sameIds = (a: Ids, b: Ids): boolean => a.length === b.length && a.every((id, index) => id === b[index]);

export class HeldRows {
  private entries: HeldRow[] = [];
  private readonly blocks = new Set<RowBlock>();

  constructor(private readonly model: Transformer) {}

  /** Bytes of all blocks. */
  get bytes(): number {
    let sum = 0;
    for (const { bytes } of this.blocks) sum += bytes;
    return sum;
  }

  /** Takes over what a call kept. Returns what makes spans of it. */
  addBlock(tensors: readonly Tensor[]): (place: number, count: number) => RowSpan {
    const bytes = tensors.reduce((sum, { size }) => sum + 4 * size, 0);
    const block = { rows: tensors[0]?.shape[1] ?? 0, tensors: [...tensors], bytes, users: 0 };
    this.blocks.add(block);
    return (place, count) => {
      block.users += 1;
      return { block, place, count };
    };
  }

  /** Gives up spans, and frees blocks that nobody needs any more. */
  release(spans: readonly RowSpan[]): void {
    for (const { block } of spans) block.users -= 1;
    for (const { block } of spans) if (block.users === 0) this.free(block);
  }

  /** Holds a completion that was drawn whole. */
  hold(promptIds: Ids, tokenIds: Ids, spans: readonly RowSpan[]): void {
    this.entries.push({ ...readBy(promptIds, tokenIds), spans });
  }

  /** Whether a completion is held. */
  has(promptIds: Ids, tokenIds: Ids): boolean {
    const { prefix, inputs } = readBy(promptIds, tokenIds);
    return find(this.entries, prefix, inputs) !== undefined;
  }

  /** Hands over the rows of a pass; null where one of them is not held. */
  take(pass: PackedGroups): PassRows | null {
    if (pass.rowTokens === null) return null;
    const found: HeldRow[] = [];
    const rest = [...this.entries];
    for (const [place, inputs] of pass.rows.entries()) {
      if (inputs.length === 0) continue;
      const row = find(rest, pass.prefixes[Math.floor(place / pass.group)] as Ids, inputs);
      if (row === undefined) return null;
      found.push(row);
      rest.splice(rest.indexOf(row), 1);
    }
    if (found.length === 0) return null;
    this.entries = rest;
    for (const { block } of found.flatMap(({ spans }) => spans)) block.users -= 1;
    return new PassRows(this.model, found, pass.rowTokens, (block) => this.free(block));
  }

  /** Frees all that is held. */
  clear(): void {
    this.entries = [];
    for (const block of this.blocks) this.free(block);
  }

  private free(block: RowBlock): void {
    this.blocks.delete(block);
    for (const tensor of block.tensors) tensor?.dispose();
    block.tensors.fill(null);
  }
}

/** The activations of a pass's rows, in the order of its packed tokens. Within a scope. */
export class PassRows {
  private readonly blocks: readonly RowBlock[];
  private readonly index: Tensor; // [N] int32

  constructor(
    private readonly model: Transformer,
    rows: readonly HeldRow[],
    tokens: number,
    private readonly free: (block: RowBlock) => void,
  ) {
    const starts = new Map<RowBlock, number>();
    let total = 0;
    for (const { block } of rows.flatMap(({ spans }) => spans)) {
      if (starts.has(block)) continue;
      starts.set(block, total);
      total += (block.tensors[0]?.shape[0] ?? 0) * block.rows;
    }
    const places = rows.flatMap(({ spans }) =>
      spans.flatMap(({ block, place, count }) =>
        Array.from({ length: count }, (_, t) => (starts.get(block) as number) + t * block.rows + place),
      ),
    );
    this.blocks = [...starts.keys()];
    // Tokens of no row repeat the first one; no gradient reaches them.
    const index = new Int32Array(tokens).fill(places[0] as number);
    index.set(places);
    this.index = tf.tensor1d(index, "int32");
  }

  /** What `Transformer.forwardRows` would give. */
  forward(): { readonly x: Tensor; readonly state: ForwardState } {
    const { config } = this.model;
    const x = this.columns(config.layers, 0, config.hiddenSize);
    this.done(config.layers);
    const kept = Array.from({ length: config.layers }, (_, layer) => ({ decoded: () => this.layer(layer) }));
    return { x, state: { kept } };
  }

  /** Frees what no other pass needs. */
  release(): void {
    for (const block of this.blocks) if (block.users === 0) this.free(block);
  }

  /** Once per layer. */
  private layer(layer: number): DecodedRows {
    const widths = decodedWidths(this.model.config);
    let from = 0;
    const parts = DECODED_PARTS.map((part): [DecodedPart, Tensor] => {
      const taken = this.columns(layer, from, widths[part]);
      from += widths[part];
      return [part, taken];
    });
    this.done(layer);
    return Object.fromEntries(parts) as unknown as DecodedRows;
  }

  private columns(at: number, from: number, width: number): Tensor {
    const blocks = this.blocks.map(({ tensors }) => tensors[at] as Tensor);
    return loadActivations(this.index, blocks, from, width);
  }

  /** Frees a layer's part of the blocks that no other pass needs. */
  private done(at: number): void {
    for (const { users, tensors } of this.blocks) {
      if (users > 0) continue;
      tensors[at]?.dispose();
      tensors[at] = null;
    }
  }
}
