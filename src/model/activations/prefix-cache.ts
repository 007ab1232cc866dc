/**
 * Prompts, which run for their keys and values alone. A prompt of a batch runs once, forward and backward, however many
 * passes attend to it; and where it was sampled from at the same weights, what the sampler's prefill computed is taken.
 * Invariants: what is held belongs to the weights that it was computed with, else it is dropped; whatever is open is freed
 * when its last pass is done, or by `dispose`.
 */
import { tensorsOf } from "../tensor/graph/compile.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import type { GradientStore } from "../transformer/gradients.js";
import { planMemory, prefixBytes, standingBytes } from "../transformer/memory-plan.js";
import type { ForwardState, Transformer } from "../transformer/model.js";
import { type PackedGroups, packPrefixes } from "../transformer/packing.js";
import { type KeyValue, type Prefix, plainSegment, prefixMask, type Segment } from "../transformer/segment.js";
import { HeldRows, type PassRows, sameIds } from "./completion-rows.js";

type Ids = readonly number[];

/** Prompts, without their last tokens, that ran together. Its tensors outlive scopes. */
export interface PrefixPiece {
  readonly prefixes: readonly Ids[]; // [P]
  /** Padded length; 0 where no prompt has a prefix. */
  readonly length: number; // Tp
  /** Tokens that the prefixes are packed into; null: each takes `length`. */
  readonly tokens: number | null;
  readonly layers: readonly KeyValue[]; // k, v [P*kv, Tp, dh]
  /** What the backward pass needs; empty where none was to come. */
  readonly state: ForwardState;
  /** Memory that it takes, bytes, as planned. */
  readonly bytes: number;
}

function segmentOf(model: Transformer, piece: Pick<PrefixPiece, "prefixes" | "length" | "tokens">): Segment {
  return plainSegment(piece.prefixes, piece.length, model.tables, piece.tokens);
}

/**
 * Runs prompts forward, padded to `least` tokens at least. `keeping`: layers that keep their activations; null where no
 * backward pass will come.
 */
export function runPiece(
  model: Transformer,
  prefixes: readonly Ids[],
  least: number,
  keeping: number | null,
): PrefixPiece {
  const packed = packPrefixes(prefixes, model.runner.rounding, least);
  const { layers, state } = scope(() => {
    if (packed.length === 0) return { layers: [], state: { kept: [] } };
    return keepAll(model.forwardKeys(segmentOf(model, { ...packed, prefixes }), keeping));
  });
  const { length, tokens, padded } = packed;
  const size = { tokens: padded, slots: prefixes.length * length };
  return {
    prefixes,
    length,
    tokens,
    layers,
    state,
    bytes: prefixBytes(model.config, model.runner.form, size, keeping),
  };
}

/** Keeps the tensors of a tree when their scope ends. */
export function keepAll<T>(tree: T): T {
  for (const tensor of tensorsOf(tree)) tf.keep(tensor);
  return tree;
}

export function freePiece({ layers, state }: PrefixPiece): void {
  tf.dispose(tensorsOf({ layers, state }));
}

/** What rows attend to, of prompts with these prefixes. */
function prefixOf(prefixes: readonly Ids[], length: number, layers: readonly KeyValue[]): Prefix {
  const lengths = prefixes.map((prefix) => prefix.length);
  return {
    length,
    layers,
    mask: prefixMask(lengths, length),
    lengths: tf.tensor1d(Int32Array.from(lengths), "int32"),
  };
}

/** Entries [m·kv] of prompts' keys by the prompts' places in a row of pieces. */
export function keyEntries(places: readonly number[], kvHeads: number): Tensor {
  const entries = places.flatMap((place) => Array.from({ length: kvHeads }, (_, head) => place * kvHeads + head));
  return tf.tensor1d(Int32Array.from(entries), "int32");
}

/** A prompt's length from which it is held: shorter ones are better run together. */
const HELD_TOKENS = 512;
/** Share of the memory beyond the program and the model's state that held prompts and completions may take. */
const HELD_SHARE = 0.4;

/** Prompts that were sampled from and wait for the pass that trains on them, one piece each, and what was drawn of them. */
export class HeldPrefixes {
  readonly rows: HeldRows;
  private pieces: PrefixPiece[] = [];
  private revision = 0;
  private readonly room: number;

  constructor(private readonly model: Transformer) {
    const { config, runner, memoryBudget } = model;
    this.room = HELD_SHARE * Math.max(0, memoryBudget - standingBytes(config, runner.form));
    this.rows = new HeldRows(model);
  }

  /** Bytes of all that is held. */
  get bytes(): number {
    return this.pieces.reduce((sum, { bytes }) => sum + bytes, this.rows.bytes);
  }

  /** Whether so many bytes more may be held. */
  hasRoom(bytes: number): boolean {
    return this.bytes + bytes <= this.room;
  }

  /**
   * The piece of a prompt without its last token: the one that is here, or a new one. Null where it is not worth holding or
   * there is no room for it.
   */
  pieceOf(prefix: Ids): PrefixPiece | null {
    const known = this.find(prefix);
    if (known !== null || prefix.length < HELD_TOKENS) return known;
    const { config, runner } = this.model;
    const { length, padded } = packPrefixes([prefix], runner.rounding);
    const bytes = prefixBytes(config, runner.form, { tokens: padded, slots: length }, config.layers);
    if (!this.hasRoom(bytes)) return null;
    const piece = runPiece(this.model, [prefix], 1, config.layers);
    this.pieces.push(piece);
    return piece;
  }

  /** The piece of a prompt, which stays here; null where none is held. */
  find(prefix: Ids): PrefixPiece | null {
    this.refresh();
    return this.pieces.find(({ prefixes }) => sameIds(prefixes[0] as Ids, prefix)) ?? null;
  }

  /** Hands a piece over. */
  take(piece: PrefixPiece): PrefixPiece {
    this.pieces = this.pieces.filter((other) => other !== piece);
    return piece;
  }

  /** Frees all that is held. */
  clear(): void {
    for (const piece of this.pieces) freePiece(piece);
    this.pieces = [];
    this.rows.clear();
  }

  /** Drops what other weights gave. */
  refresh(): void {
    const { revision } = this.model.parameters;
    if (revision !== this.revision) this.clear();
    this.revision = revision;
  }
}

/** A piece that passes attend to. */
interface Open {
  readonly piece: PrefixPiece;
  /** Groups of its prompts. */
  readonly groups: readonly number[];
  readonly lastPass: number;
  /** Held by someone else, who frees it. */
  readonly borrowed: boolean;
  /** Sums of the passes so far. */
  gradients: readonly KeyValue[] | null;
}

/** The prompts of one batch's passes. */
export class BatchPrefixes {
  private open: Open[] = [];
  private readonly lastPass = new Map<number, number>();

  /** `gradients`: where those of the prompts go; null where only scores are wanted. */
  constructor(
    private readonly model: Transformer,
    private readonly passes: readonly PackedGroups[],
    private readonly held: HeldPrefixes | null,
    private readonly gradients: GradientStore | null,
  ) {
    passes.forEach(({ prompts }, index) => {
      for (const group of prompts) this.lastPass.set(group, index);
    });
  }

  /**
   * What the rows of a pass attend to (null where its prompts have a single token), and how many layers may keep
   * their activations in it. Prompts that have not run yet run now. Within a scope, which frees the prefix.
   */
  enter(pass: PackedGroups): { readonly prefix: Prefix | null; readonly keeping: number | null } {
    const missing = pass.prompts.flatMap((group, p) => {
      if (this.openOf(group) !== undefined || pass.prompts.indexOf(group) < p) return [];
      const prefix = pass.prefixes[p] as Ids;
      const found = this.held?.find(prefix) ?? null;
      if (found === null) return [{ group, prefix }];
      const borrowed = this.gradients === null;
      if (!borrowed) this.held?.take(found);
      this.add(found, [group], borrowed);
      return [];
    });
    const prefixes = missing.map(({ prefix }) => prefix);
    const keeping = this.gradients && this.keptLayers(pass, prefixes);
    if (missing.length > 0) {
      const groups = missing.map(({ group }) => group);
      this.add(runPiece(this.model, prefixes, Math.min(1, pass.prefixLength), keeping), groups, false);
    }
    return { prefix: pass.prefixLength === 0 ? null : this.join(pass), keeping };
  }

  /** What decoding left of a pass's rows; null where it is not all there, or only scores are wanted. */
  takeRows(pass: PackedGroups): PassRows | null {
    if (this.held === null || this.gradients === null) return null;
    this.held.refresh();
    return this.held.rows.take(pass);
  }

  /** Ends a pass: adds the gradients of its prefix, and runs backward the prompts that no later pass attends to. */
  leave(pass: PackedGroups, dPrefix: readonly KeyValue[] | null): void {
    const index = this.passes.indexOf(pass);
    const present = new Set(pass.prompts.map((group) => this.openOf(group) as Open));
    for (const open of present) {
      if (dPrefix !== null) this.give(open, pass, dPrefix);
      if (open.lastPass > index) continue;
      const { piece, gradients } = open;
      if (gradients !== null && this.gradients !== null) {
        this.model.backwardKeys(segmentOf(this.model, piece), piece.state, gradients, this.gradients);
      }
      this.close(open);
    }
    if (dPrefix !== null) tf.dispose(tensorsOf(dPrefix));
  }

  /** Frees what a pass that failed left open. */
  dispose(): void {
    for (const open of [...this.open]) this.close(open);
  }

  private add(piece: PrefixPiece, groups: readonly number[], borrowed: boolean): void {
    const lastPass = Math.max(...groups.map((group) => this.lastPass.get(group) as number));
    this.open.push({ piece, groups, lastPass, borrowed, gradients: null });
  }

  private openOf(group: number): Open | undefined {
    return this.open.find(({ groups }) => groups.includes(group));
  }

  private close(open: Open): void {
    this.open = this.open.filter((other) => other !== open);
    if (!open.borrowed) freePiece(open.piece);
    if (open.gradients !== null) tf.dispose(tensorsOf(open.gradients));
  }

  /** Layers that keep their activations in a pass that runs these prompts and its rows. */
  private keptLayers(pass: PackedGroups, fresh: readonly Ids[]): number {
    const { config, runner, memoryBudget } = this.model;
    const own = packPrefixes(fresh, runner.rounding);
    const rowSlots = pass.rows.length * pass.length;
    const size = {
      prefixTokens: own.padded,
      rowTokens: pass.rowTokens ?? rowSlots,
      prefixSlots: pass.prompts.length * pass.prefixLength,
      rowSlots,
      targets: pass.targets.length,
    };
    const kept = this.open.reduce((sum, { piece }) => sum + piece.bytes, this.held?.bytes ?? 0);
    return planMemory(config, runner.form, size, memoryBudget - kept).keptLayers;
  }

  private join(pass: PackedGroups): Prefix {
    const pieces = [...new Set(pass.prompts.map((group) => this.openOf(group) as Open))];
    const inRow = pieces.flatMap(({ groups }) => groups);
    const places = pass.prompts.map((group) => inRow.indexOf(group));
    const { runner, config } = this.model;
    const layers = pieces.map(({ piece }) => {
      return piece.length === pass.prefixLength ? piece.layers : runner.resizeKeys(piece.layers, pass.prefixLength);
    });
    const asTheyLie = layers.length === 1 && String(inRow) === String(pass.prompts);
    const joined = asTheyLie ? layers[0] : runner.pickKeys(layers, keyEntries(places, config.kvHeads));
    return prefixOf(pass.prefixes, pass.prefixLength, joined as readonly KeyValue[]);
  }

  /** Adds a pass's gradients to those of one of its pieces. */
  private give(open: Open, pass: PackedGroups, dPrefix: readonly KeyValue[]): void {
    const { runner, config } = this.model;
    const placesOf = open.groups.map((group) => pass.prompts.flatMap((other, p) => (other === group ? [p] : [])));
    const count = pass.prompts.length;
    if (
      open.gradients === null &&
      open.piece.length === pass.prefixLength &&
      placesOf.length === count &&
      placesOf.every(([first], place) => first === place)
    ) {
      open.gradients = keepAll(dPrefix.map(({ k, v }) => ({ k: tf.clone(k), v: tf.clone(v) })));
      return;
    }
    // A prompt has several places in a pass that takes its completions in several parts.
    const rounds = Math.max(...placesOf.map((places) => places.length));
    for (let round = 0; round < rounds; round += 1) {
      const before = open.gradients;
      open.gradients = scope(() => {
        const entries = placesOf.flatMap((places) =>
          Array.from({ length: config.kvHeads }, (_, head) => {
            const place = places[round];
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
