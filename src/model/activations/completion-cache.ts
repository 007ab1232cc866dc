/**
 * The activation cache's part for completions: decoding writes their activations, and the micro-batch that trains on them takes
 * them and runs backward only. A decoding call writes one block, B tokens of R rows; a completion spans one or several blocks.
 * Invariants: entries belong to the weights that the completions were sampled with (changing the weights clears the cache); a
 * block is freed together with the last completion in it.
 */

import { type Tensor, tf } from "../tensor/tf.js";
import { DECODED_PARTS, type DecodedPart, type DecodedRows, decodedWidths } from "../transformer/decoded-rows.js";
import { loadActivations } from "../transformer/fused-kernels.js";
import type { ForwardState, Transformer } from "../transformer/model.js";
import type { PackedGroups } from "../transformer/packing.js";

type Ids = readonly number[];

/** The activations of one decoding call. Its tensors outlive scopes. */
export interface ActivationBlock {
  /** Rows of the table, R. */
  readonly rows: number;
  /** [B, R, W] each: the parts of every layer, then the hidden rows before the final norm; null once freed. */
  readonly tensors: (Tensor | null)[];
  readonly bytes: number;
  /** Spans in it that are still needed. */
  users: number;
}

/** Tokens [0, count) of a call in one row of its table. */
export interface ActivationSpan {
  readonly block: ActivationBlock;
  readonly place: number;
  readonly count: number;
}

interface CachedCompletion {
  readonly prefix: Ids;
  readonly inputs: Ids;
  readonly spans: readonly ActivationSpan[];
}

/** The prompt without its last token; then that token and the completion without its last token. */
function inputsOf(promptIds: Ids, tokenIds: Ids): Pick<CachedCompletion, "prefix" | "inputs"> {
  return { prefix: promptIds.slice(0, -1), inputs: [promptIds.at(-1) as number, ...tokenIds.slice(0, -1)] };
}

function find(entries: readonly CachedCompletion[], prefix: Ids, inputs: Ids): CachedCompletion | undefined {
  return entries.find((entry) => sameIds(entry.inputs, inputs) && sameIds(entry.prefix, prefix));
}

export const sameIds = (a: Ids, b: Ids): boolean => a.length === b.length && a.every((id, index) => id === b[index]);

export class CompletionCache {
  private entries: CachedCompletion[] = [];
  private readonly blocks = new Set<ActivationBlock>();

  constructor(private readonly model: Transformer) {}

  /** Bytes of all blocks. */
  get bytes(): number {
    let sum = 0;
    for (const { bytes } of this.blocks) sum += bytes;
    return sum;
  }

  /** Takes ownership of a call's activations. Returns a function that makes spans in them. */
  addBlock(tensors: readonly Tensor[]): (place: number, count: number) => ActivationSpan {
    const bytes = tensors.reduce((sum, { size }) => sum + 4 * size, 0);
    const block = { rows: tensors[0]?.shape[1] ?? 0, tensors: [...tensors], bytes, users: 0 };
    this.blocks.add(block);
    return (place, count) => {
      block.users += 1;
      return { block, place, count };
    };
  }

  /** Gives up spans and frees blocks without any. */
  release(spans: readonly ActivationSpan[]): void {
    for (const { block } of spans) block.users -= 1;
    for (const { block } of spans) if (block.users === 0) this.free(block);
  }

  /** Adds a completion that ended. */
  add(promptIds: Ids, tokenIds: Ids, spans: readonly ActivationSpan[]): void {
    this.entries.push({ ...inputsOf(promptIds, tokenIds), spans });
  }

  /** Whether a completion is cached. */
  has(promptIds: Ids, tokenIds: Ids): boolean {
    const { prefix, inputs } = inputsOf(promptIds, tokenIds);
    return find(this.entries, prefix, inputs) !== undefined;
  }

  /** Removes and returns the completions of a micro-batch; null where one of them is not cached. */
  take(microBatch: PackedGroups): CompletionActivations | null {
    if (microBatch.rowTokens === null) return null;
    const found: CachedCompletion[] = [];
    const rest = [...this.entries];
    for (const [place, inputs] of microBatch.rows.entries()) {
      if (inputs.length === 0) continue;
      const row = find(rest, microBatch.prefixes[Math.floor(place / microBatch.group)] as Ids, inputs);
      if (row === undefined) return null;
      found.push(row);
      rest.splice(rest.indexOf(row), 1);
    }
    if (found.length === 0) return null;
    this.entries = rest;
    for (const { block } of found.flatMap(({ spans }) => spans)) block.users -= 1;
    return new CompletionActivations(this.model, found, microBatch.rowTokens, (block) => this.free(block));
  }

  /** Frees everything. */
  clear(): void {
    this.entries = [];
    for (const block of this.blocks) this.free(block);
  }

  private free(block: ActivationBlock): void {
    this.blocks.delete(block);
    for (const tensor of block.tensors) tensor?.dispose();
    block.tensors.fill(null);
  }
}

/** The activations of a micro-batch's completions, in the order of its packed tokens. Made within a scope. */
export class CompletionActivations {
  private readonly blocks: readonly ActivationBlock[];
  private readonly index: Tensor; // [N] int32

  constructor(
    private readonly model: Transformer,
    rows: readonly CachedCompletion[],
    tokens: number,
    private readonly free: (block: ActivationBlock) => void,
  ) {
    const starts = new Map<ActivationBlock, number>();
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
    // Padding repeats the first token; no gradient reaches it.
    const index = new Int32Array(tokens).fill(places[0] as number);
    index.set(places);
    this.index = tf.tensor1d(index, "int32");
  }

  /** What `Transformer.forwardRows` would return. */
  forward(): { readonly x: Tensor; readonly state: ForwardState } {
    const { config } = this.model;
    const x = this.columns(config.layers, 0, config.hiddenSize);
    this.done(config.layers);
    const layers = Array.from({ length: config.layers }, (_, layer) => ({ decoded: () => this.layer(layer) }));
    return { x, state: { layers } };
  }

  /** Frees blocks that no other micro-batch needs. */
  release(): void {
    for (const block of this.blocks) if (block.users === 0) this.free(block);
  }

  /** May be called once per layer. */
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

  /** Frees a layer's part of the blocks that no other micro-batch needs. */
  private done(at: number): void {
    for (const { users, tensors } of this.blocks) {
      if (users > 0) continue;
      tensors[at]?.dispose();
      tensors[at] = null;
    }
  }
}
