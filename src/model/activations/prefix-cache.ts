/**
 * Prompts, which run for their keys and values only. A prompt of a batch runs once, forward and backward, however many
 * micro-batches attend to it; where it was sampled from at the same weights, the sampler's prefill is reused.
 * Invariants: cached prompts belong to the current weights, else they are dropped; an open prompt is freed after its last
 * micro-batch, or by `dispose`.
 */
import { tensorsOf } from "../tensor/graph/compile.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { GradientStore } from "../transformer/gradients.js";
import { planMemory, prefixBytes, standingBytes } from "../transformer/memory-plan.js";
import type { ForwardState, Transformer } from "../transformer/model.js";
import { type PackedGroups, packPrefixes } from "../transformer/packing.js";
import { type KeyValue, type Prefix, plainSegment, prefixMask, type Segment } from "../transformer/segment.js";
import { type CompletionActivations, CompletionCache, sameIds } from "./completion-cache.js";

type Ids = readonly number[];

/** Prompts, without their last tokens, that ran together. The tensors outlive scopes. */
export interface PrefixPiece {
  readonly prefixes: readonly Ids[]; // [P]
  /** Padded length; 0 where no prompt has a prefix. */
  readonly length: number; // Tp
  /** Tokens that the prefixes are packed into; null: each takes `length`. */
  readonly tokens: number | null;
  readonly layers: readonly KeyValue[]; // k, v [P*kv, Tp, dh]
  /** For the backward pass; empty where there is none. */
  readonly state: ForwardState;
  /** Memory, bytes, as planned. */
  readonly bytes: number;
}

function segmentOf(model: Transformer, piece: Pick<PrefixPiece, "prefixes" | "length" | "tokens">): Segment {
  return plainSegment(piece.prefixes, piece.length, model.tables, piece.tokens);
}

/**
 * Runs prompts forward, padded to `least` tokens at least. `savedLayers`: layers that save their activations; null where there
 * is no backward pass.
 */
export function runPiece(
  model: Transformer,
  prefixes: readonly Ids[],
  least: number,
  savedLayers: number | null,
): PrefixPiece {
  const packed = packPrefixes(prefixes, model.runner.rounding, least);
  const { layers, state } = scope(() => {
    if (packed.length === 0) return { layers: [], state: { layers: [] } };
    return keepAll(model.forwardKeys(segmentOf(model, { ...packed, prefixes }), savedLayers));
  });
  const { length, tokens, padded } = packed;
  const size = { tokens: padded, slots: prefixes.length * length };
  return {
    prefixes,
    length,
    tokens,
    layers,
    state,
    bytes: prefixBytes(model.config, model.runner.form, size, savedLayers),
  };
}

/** Lets the tensors of a tree outlive their scope. */
export function keepAll<T>(tree: T): T {
  for (const tensor of tensorsOf(tree)) tf.keep(tensor);
  return tree;
}

export function freePiece({ layers, state }: PrefixPiece): void {
  tf.dispose(tensorsOf({ layers, state }));
}

/** The shared prefix of rows, from the keys and values of their prompts. */
function prefixOf(prefixes: readonly Ids[], length: number, layers: readonly KeyValue[]): Prefix {
  const lengths = prefixes.map((prefix) => prefix.length);
  return {
    length,
    layers,
    mask: prefixMask(lengths, length),
    lengths: tf.tensor1d(Int32Array.from(lengths), "int32"),
  };
}

/** Indices [m·kv] of keys and values, given the prompts' indices in concatenated pieces. */
export function keyEntries(places: readonly number[], kvHeads: number): Tensor {
  const entries = places.flatMap((place) => Array.from({ length: kvHeads }, (_, head) => place * kvHeads + head));
  return tf.tensor1d(Int32Array.from(entries), "int32");
}

/** Prompts of at least so many tokens are cached; shorter ones are faster run together. */
const CACHED_TOKENS = 512;
/** Fraction of the memory beyond the program and the model's state that the cache may take. */
const CACHE_FRACTION = 0.4;

/**
 * The activation cache: what sampling computed of prompts (one piece each) and of completions, for the micro-batches that train
 * on them.
 */
export class ActivationCache {
  readonly completions: CompletionCache;
  private pieces: PrefixPiece[] = [];
  private revision = 0;
  private readonly room: number;

  constructor(private readonly model: Transformer) {
    const { config, runner, memoryBudget } = model;
    this.room = CACHE_FRACTION * Math.max(0, memoryBudget - standingBytes(config, runner.form));
    this.completions = new CompletionCache(model);
  }

  /** Bytes of everything cached. */
  get bytes(): number {
    return this.pieces.reduce((sum, { bytes }) => sum + bytes, this.completions.bytes);
  }

  /** Whether so many bytes more may be cached. */
  hasRoom(bytes: number): boolean {
    return this.bytes + bytes <= this.room;
  }

  /** The piece of a prompt without its last token, cached or new. Null where it is too short or there is no room for it. */
  pieceOf(prefix: Ids): PrefixPiece | null {
    const known = this.find(prefix);
    if (known !== null || prefix.length < CACHED_TOKENS) return known;
    const { config, runner } = this.model;
    const { length, padded } = packPrefixes([prefix], runner.rounding);
    const bytes = prefixBytes(config, runner.form, { tokens: padded, slots: length }, config.layers);
    if (!this.hasRoom(bytes)) return null;
    const piece = runPiece(this.model, [prefix], 1, config.layers);
    this.pieces.push(piece);
    return piece;
  }

  /** The piece of a prompt, which stays in the cache; null where it is not cached. */
  find(prefix: Ids): PrefixPiece | null {
    this.refresh();
    return this.pieces.find(({ prefixes }) => sameIds(prefixes[0] as Ids, prefix)) ?? null;
  }

  /** Removes a piece; the caller frees it. */
  take(piece: PrefixPiece): PrefixPiece {
    this.pieces = this.pieces.filter((other) => other !== piece);
    return piece;
  }

  /** Frees everything. */
  clear(): void {
    for (const piece of this.pieces) freePiece(piece);
    this.pieces = [];
    this.completions.clear();
  }

  /** Drops everything where the weights have changed. */
  refresh(): void {
    const { revision } = this.model.parameters;
    if (revision !== this.revision) this.clear();
    this.revision = revision;
  }
}

/** A piece that micro-batches attend to. */
interface Open {
  readonly piece: PrefixPiece;
  /** Groups of its prompts. */
  readonly groups: readonly number[];
  readonly lastMicroBatch: number;
  /** Still in the activation cache, which frees it. */
  readonly borrowed: boolean;
  /** Sums over the micro-batches so far. */
  gradients: readonly KeyValue[] | null;
}

/** The prompts of one batch's micro-batches. */
export class BatchPrefixes {
  private open: Open[] = [];
  private readonly lastMicroBatch = new Map<number, number>();

  /** `gradients`: where the prompts' gradients are summed; null where only scores are wanted. */
  constructor(
    private readonly model: Transformer,
    private readonly microBatches: readonly PackedGroups[],
    private readonly activationCache: ActivationCache | null,
    private readonly gradients: GradientStore | null,
  ) {
    microBatches.forEach(({ prompts }, index) => {
      for (const group of prompts) this.lastMicroBatch.set(group, index);
    });
  }

  /**
   * The prefix of a micro-batch's rows (null where its prompts have a single token), and how many layers may save their
   * activations. Prompts that have not run yet run now. The caller's scope frees the prefix.
   */
  enter(microBatch: PackedGroups): { readonly prefix: Prefix | null; readonly savedLayers: number | null } {
    const missing = microBatch.prompts.flatMap((group, p) => {
      if (this.openOf(group) !== undefined || microBatch.prompts.indexOf(group) < p) return [];
      const prefix = microBatch.prefixes[p] as Ids;
      const found = this.activationCache?.find(prefix) ?? null;
      if (found === null) return [{ group, prefix }];
      const borrowed = this.gradients === null;
      if (!borrowed) this.activationCache?.take(found);
      this.add(found, [group], borrowed);
      return [];
    });
    const prefixes = missing.map(({ prefix }) => prefix);
    const savedLayers = this.gradients && this.countSavedLayers(microBatch, prefixes);
    if (missing.length > 0) {
      const groups = missing.map(({ group }) => group);
      this.add(runPiece(this.model, prefixes, Math.min(1, microBatch.prefixLength), savedLayers), groups, false);
    }
    return { prefix: microBatch.prefixLength === 0 ? null : this.join(microBatch), savedLayers };
  }

  /** The cached activations of a micro-batch's completions; null where one is missing, or only scores are wanted. */
  takeCompletions(microBatch: PackedGroups): CompletionActivations | null {
    if (this.activationCache === null || this.gradients === null) return null;
    this.activationCache.refresh();
    return this.activationCache.completions.take(microBatch);
  }

  /** Ends a micro-batch: adds its prefix gradients, and runs backward the prompts that no later micro-batch attends to. */
  leave(microBatch: PackedGroups, dPrefix: readonly KeyValue[] | null): void {
    const index = this.microBatches.indexOf(microBatch);
    const present = new Set(microBatch.prompts.map((group) => this.openOf(group) as Open));
    for (const open of present) {
      if (dPrefix !== null) this.give(open, microBatch, dPrefix);
      if (open.lastMicroBatch > index) continue;
      const { piece, gradients } = open;
      if (gradients !== null && this.gradients !== null) {
        this.model.backwardKeys(segmentOf(this.model, piece), piece.state, gradients, this.gradients);
      }
      this.close(open);
    }
    if (dPrefix !== null) tf.dispose(tensorsOf(dPrefix));
  }

  /** Frees what is still open, as after a failure. */
  dispose(): void {
    for (const open of [...this.open]) this.close(open);
  }

  private add(piece: PrefixPiece, groups: readonly number[], borrowed: boolean): void {
    const lastMicroBatch = Math.max(...groups.map((group) => this.lastMicroBatch.get(group) as number));
    this.open.push({ piece, groups, lastMicroBatch, borrowed, gradients: null });
  }

  private openOf(group: number): Open | undefined {
    return this.open.find(({ groups }) => groups.includes(group));
  }

  private close(open: Open): void {
    this.open = this.open.filter((other) => other !== open);
    if (!open.borrowed) freePiece(open.piece);
    if (open.gradients !== null) tf.dispose(tensorsOf(open.gradients));
  }

  /** Layers that can save their activations in a micro-batch that runs these prompts as well as its rows. */
  private countSavedLayers(microBatch: PackedGroups, fresh: readonly Ids[]): number {
    const { config, runner, memoryBudget } = this.model;
    const own = packPrefixes(fresh, runner.rounding);
    const rowSlots = microBatch.rows.length * microBatch.length;
    const size = {
      prefixTokens: own.padded,
      rowTokens: microBatch.rowTokens ?? rowSlots,
      prefixSlots: microBatch.prompts.length * microBatch.prefixLength,
      rowSlots,
      targets: microBatch.targets.length,
    };
    const cached = this.open.reduce((sum, { piece }) => sum + piece.bytes, this.activationCache?.bytes ?? 0);
    return planMemory(config, runner.form, size, memoryBudget - cached).savedLayers;
  }

  private join(microBatch: PackedGroups): Prefix {
    const pieces = [...new Set(microBatch.prompts.map((group) => this.openOf(group) as Open))];
    const inRow = pieces.flatMap(({ groups }) => groups);
    const places = microBatch.prompts.map((group) => inRow.indexOf(group));
    const { runner, config } = this.model;
    const layers = pieces.map(({ piece }) => {
      return piece.length === microBatch.prefixLength
        ? piece.layers
        : runner.resizeKeys(piece.layers, microBatch.prefixLength);
    });
    const unchanged = layers.length === 1 && String(inRow) === String(microBatch.prompts);
    const joined = unchanged ? layers[0] : runner.pickKeys(layers, keyEntries(places, config.kvHeads));
    return prefixOf(microBatch.prefixes, microBatch.prefixLength, joined as readonly KeyValue[]);
  }

  /** Adds a micro-batch's prefix gradients to those of one of its pieces. */
  private give(open: Open, microBatch: PackedGroups, dPrefix: readonly KeyValue[]): void {
    const { runner, config } = this.model;
    const placesOf = open.groups.map((group) => microBatch.prompts.flatMap((other, p) => (other === group ? [p] : [])));
    const count = microBatch.prompts.length;
    if (
      open.gradients === null &&
      open.piece.length === microBatch.prefixLength &&
      placesOf.length === count &&
      placesOf.every(([first], place) => first === place)
    ) {
      open.gradients = keepAll(dPrefix.map(({ k, v }) => ({ k: tf.clone(k), v: tf.clone(v) })));
      return;
    }
    // A prompt occurs several times in a micro-batch that takes its completions in several parts.
    const occurrences = Math.max(...placesOf.map((places) => places.length));
    for (let occurrence = 0; occurrence < occurrences; occurrence += 1) {
      const before = open.gradients;
      open.gradients = scope(() => {
        const entries = placesOf.flatMap((places) =>
          Array.from({ length: config.kvHeads }, (_, head) => {
            const place = places[occurrence];
            return place === undefined ? count * config.kvHeads : place * config.kvHeads + head;
          }),
        );
        const index = tf.tensor1d(Int32Array.from(entries), "int32");
        return keepAll(runner.pickGradients(dPrefix, index, open.piece.length, before));
      });
      if (before !== null) tf.dispose(tensorsOf(before));
    }
  }
}
