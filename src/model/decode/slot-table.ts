/**
 * Continuous batching over compiled decoding: a table of P prompts × G rows. Between two calls of BLOCK tokens, prompts whose
 * rows have all ended leave and waiting ones enter (one prefill for those that enter together), and the table shrinks when
 * none wait. Token t of a row depends on its prompt, the weights and (seed, t) only.
 */
import type { FinishReason } from "../../contracts/rollout.js";
import type { SamplingParams } from "../../contracts/sampler.js";
import type { ActivationSpan } from "../activations/completion-cache.js";
import {
  type ActivationCache,
  freePiece,
  keepAll,
  keyEntries,
  type PrefixPiece,
  runPiece,
} from "../activations/prefix-cache.js";
import { breathe } from "../tensor/breathe.js";
import type { Compiler } from "../tensor/graph/compile.js";
import { gatherAlong, narrow } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import { tokenColumns } from "../transformer/decoded-rows.js";
import type { Transformer } from "../transformer/model.js";
import { COARSE, roundCount } from "../transformer/packing.js";
import { type KeyValue, prefixMask } from "../transformer/segment.js";
import { BLOCK, type DecodeInputs, type DecodeOutputs, type DecodeStep, decodeBlock } from "./decode-graph.js";
import type { DecodeWeights } from "./decode-weights.js";
import type { SelectOptions } from "./select.js";

/** Columns of a new table for drawn tokens; doubled when they run out. */
const FIRST_COLUMNS = 8 * BLOCK;

/** One wanted sequence. */
export interface Row {
  readonly prompt: number;
  readonly index: number;
  readonly seed: number;
  readonly tokenIds: number[];
  readonly logprobs: number[];
  readonly entropies: number[];
  finish: FinishReason | null;
}

/** A prompt and its rows, waiting or being decoded. */
export interface Entrant {
  readonly promptIds: readonly number[];
  readonly rows: readonly Row[];
}

export interface TablePlan {
  readonly slots: number;
  /** Prompts that one prefill takes at most. */
  readonly prefill: number;
}

interface Slot {
  readonly entrant: Entrant;
  /** Rows by place in the table; null where the prompt wants fewer. */
  rows: (Row | null)[];
  /** First column of this prompt. */
  first: number;
  /** Tokens drawn since it entered. */
  drawn: number;
}

export interface TableParts {
  readonly compiler: Compiler;
  readonly model: Transformer;
  readonly weights: DecodeWeights;
  readonly params: SamplingParams;
  readonly select: SelectOptions;
  readonly step: DecodeStep;
  readonly uniformOf: (seed: number, t: number) => number;
  /** Takes prompts and completions for the micro-batches that will train on them; null where there are none. */
  readonly activationCache: ActivationCache | null;
  /** Whether `step` caches the activations of completions. */
  readonly cachesCompletions: boolean;
}

const active = (row: Row | null): boolean => row !== null && row.finish === null;

export class SlotTable {
  private slots: (Slot | null)[] = [];
  private group = 0;
  private used = 0;
  private columns: number;
  private prefixLength = 0;
  private prefix: readonly KeyValue[] | null = null;
  private own: readonly KeyValue[] | null = null;
  private readonly waiting: Entrant[];
  private readonly stops: ReadonlySet<number>;
  /** Cached activations of each row so far; a row that is not here is not cached. */
  private readonly spans = new Map<Row, ActivationSpan[]>();
  private caching: boolean;

  /** `entrants` come longest prompt first. */
  constructor(
    private readonly parts: TableParts,
    private readonly plan: TablePlan,
    private readonly entrants: readonly Entrant[],
  ) {
    this.waiting = [...entrants];
    this.stops = new Set(parts.params.stopIds);
    this.caching = parts.cachesCompletions;
    if (this.caching) for (const row of entrants.flatMap(({ rows }) => rows)) this.spans.set(row, []);
    this.columns = Math.min(FIRST_COLUMNS, BLOCK * roundCount(Math.ceil(parts.params.maxTokens / BLOCK)));
  }

  /** Draws all rows. Throws WEIR_E_ENGINE_ABORTED between two calls. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      while (this.waiting.length > 0 || this.slots.some((slot) => slot !== null)) {
        await breathe(signal);
        this.compose();
        await breathe(signal);
        this.draw();
      }
      this.cacheCompletions();
    } finally {
      for (const row of [...this.spans.keys()]) this.forget(row);
      this.free(this.prefix, this.own);
      this.prefix = null;
      this.own = null;
    }
  }

  /** Admits prompts and shrinks the table; prompts that stay keep their KV cache. */
  private compose(): void {
    const staying = this.slots.flatMap((slot, place) => (slot === null ? [] : [{ slot, place }]));
    const room = Math.max(this.plan.slots, staying.length) - staying.length;
    const entering = this.waiting.splice(0, Math.min(room, this.waiting.length));
    const wanted = roundCount(staying.length + entering.length);
    const size = this.waiting.length > 0 ? staying.length + entering.length : wanted;
    const widest = Math.max(
      ...staying.map(({ slot }) => slot.rows.filter(active).length),
      ...entering.map(({ rows }) => rows.length),
    );
    // Ended rows leave empty places; the table shrinks when half of them are empty.
    const group = entering.length === 0 && widest > this.group / 2 ? this.group : roundCount(widest);
    if (entering.length > 0 || size !== this.slots.length || group !== this.group) {
      this.rebuild(staying, entering, size, group);
    }
    this.makeRoom();
  }

  private rebuild(
    staying: readonly { readonly slot: Slot; readonly place: number }[],
    entering: readonly Entrant[],
    size: number,
    group: number,
  ): void {
    const { kvHeads } = this.parts.model.config;
    if (staying.length === 0) this.used = 0;
    const before = { slots: this.slots.length, group: this.group, prefix: this.prefix, own: this.own };
    const fresh = this.prefill(entering);
    const heads = Array.from({ length: kvHeads }, (_, head) => head);
    // Unused places repeat the first one; nothing reads their tokens.
    const spare = entering.length > 0 ? before.slots : (staying[0]?.place ?? 0);
    const sources = Array.from({ length: size }, (_, place) => {
      const enters = place - staying.length;
      return staying[place]?.place ?? (enters < entering.length ? before.slots + enters : spare);
    });
    const activeRows = (slot: Slot): number[] => slot.rows.flatMap((row, place) => (active(row) ? [place] : []));
    const ownRows = sources.flatMap((source, place) => {
      const stay = staying[place];
      const rows = stay === undefined ? [] : activeRows(stay.slot);
      return heads.flatMap((head) =>
        Array.from({ length: group }, (_, g) => {
          const row = rows[g] ?? rows[0] ?? 0;
          const from = Math.min(source, Math.max(0, before.slots - 1));
          return (from * kvHeads + head) * before.group + row;
        }),
      );
    });
    const hasPrefix = this.prefixLength > 0;
    scope(() => {
      const index = (values: readonly number[]) => tf.tensor1d(Int32Array.from(values), "int32");
      if (hasPrefix) {
        const { runner } = this.parts.model;
        const pieces = fresh.map(({ piece: { layers, length } }) =>
          length === this.prefixLength ? layers : runner.resizeKeys(layers, this.prefixLength),
        );
        const all = before.prefix === null ? pieces : [before.prefix, ...pieces];
        this.prefix = keepAll(runner.pickKeys(all, keyEntries(sources, kvHeads)));
      }
      if (before.own === null || staying.length === 0) this.own = this.emptyOwn(size * kvHeads * group);
      else {
        const next = this.parts.compiler.run(
          "table rows",
          (own: { caches: readonly KeyValue[]; rows: Tensor }) =>
            own.caches.map(({ k, v }) => ({ k: gatherAlong(k, own.rows, 0), v: gatherAlong(v, own.rows, 0) })),
          { caches: before.own, rows: index(ownRows) },
        );
        this.own = keepAll(next);
      }
    });
    for (const { piece, cached } of fresh) if (!cached) freePiece(piece);
    this.free(hasPrefix ? before.prefix : null, before.own);
    this.group = group;
    this.slots = Array.from({ length: size }, (_, place) => {
      const stay = staying[place];
      if (stay !== undefined) {
        const rows = activeRows(stay.slot).map((at) => stay.slot.rows[at] as Row);
        stay.slot.rows = Array.from({ length: group }, (_, g) => rows[g] ?? null);
        return stay.slot;
      }
      const entrant = entering[place - staying.length];
      if (entrant === undefined) return null;
      const rows = Array.from({ length: group }, (_, g) => entrant.rows[g] ?? null);
      return { entrant, rows, first: this.used, drawn: 0 };
    });
  }

  /**
   * Prefill of the entering prompts, in their order and in pieces that fit the memory. A prompt that the activation cache takes
   * is a piece of its own.
   */
  private prefill(entering: readonly Entrant[]): { readonly piece: PrefixPiece; readonly cached: boolean }[] {
    const longest = Math.max(0, ...entering.map(({ promptIds }) => promptIds.length - 1));
    if (this.prefix === null) this.prefixLength = COARSE.length(longest);
    if (this.prefixLength === 0) return [];
    const { model, activationCache } = this.parts;
    const prefixes = entering.map(({ promptIds }) => promptIds.slice(0, -1));
    const pieces: { readonly piece: PrefixPiece; readonly cached: boolean }[] = [];
    for (let start = 0; start < prefixes.length; ) {
      const first = prefixes[start] as readonly number[];
      const known = activationCache?.pieceOf(first) ?? null;
      if (known !== null) {
        pieces.push({ piece: known, cached: true });
        start += 1;
        continue;
      }
      const end = Math.min(start + this.plan.prefill, prefixes.length);
      pieces.push({ piece: runPiece(model, prefixes.slice(start, end), 1, null), cached: false });
      start = end;
    }
    return pieces;
  }

  private emptyOwn(rows: number): readonly KeyValue[] {
    const { headDim, layers } = this.parts.model.config;
    const zeros = tf.fill([rows, this.columns, headDim], 0) as Tensor;
    const empty = this.parts.compiler.run("empty cache", (x: Tensor) => narrow(x), zeros);
    return Array.from({ length: layers }, () => ({ k: tf.keep(tf.clone(empty)), v: tf.keep(tf.clone(empty)) }));
  }

  /** Where the next call has no columns left: frees those that no row reads any more, or doubles their number. */
  private makeRoom(): void {
    if (this.used + BLOCK <= this.columns) return;
    const firsts = this.slots.flatMap((slot) => (slot === null ? [] : [slot.first]));
    const shift = Math.min(...firsts);
    if (shift === 0) this.columns *= 2;
    const { columns } = this;
    const caches = this.own as readonly KeyValue[];
    this.own = scope(() =>
      keepAll(
        this.parts.compiler.run(
          "table columns",
          (own: { caches: readonly KeyValue[]; columns: Tensor }) =>
            own.caches.map(({ k, v }) => ({ k: gatherAlong(k, own.columns, 1), v: gatherAlong(v, own.columns, 1) })),
          {
            caches,
            columns: tf.tensor1d(
              Int32Array.from({ length: columns }, (_, column) => Math.min(column + shift, this.used - 1)),
              "int32",
            ),
          },
        ),
      ),
    );
    this.free(caches);
    this.used -= shift;
    for (const slot of this.slots) if (slot !== null) slot.first -= shift;
  }

  /** One call: up to BLOCK tokens of every row. */
  private draw(): void {
    const { model, weights, params, select, uniformOf, compiler } = this.parts;
    const rows = this.slots.flatMap((slot) => slot?.rows ?? new Array<null>(this.group).fill(null));
    const left = rows.map((row) => (active(row) ? params.maxTokens - (row as Row).tokenIds.length : 0));
    const limit = Math.min(BLOCK, Math.max(...left));
    const uniforms = new Float32Array(BLOCK * rows.length).fill(0.5);
    rows.forEach((row, r) => {
      if (!active(row)) return;
      const { seed, tokenIds } = row as Row;
      for (let i = 0; i < limit; i += 1) uniforms[i * rows.length + r] = uniformOf(seed, tokenIds.length + i);
    });
    const furthest = Math.max(
      ...this.slots.map((slot) => (slot === null ? 0 : slot.entrant.promptIds.length + slot.drawn + BLOCK)),
    );
    const tables = model.tables.whole(furthest);
    this.checkRoom(rows.length);
    const { outputs, activations, drawn } = scope(() => {
      const ints = (values: readonly number[]) => tf.tensor1d(Int32Array.from(values), "int32");
      const lengths = this.slots.map((slot) => (slot === null ? this.prefixLength : slot.entrant.promptIds.length - 1));
      const idOf = (row: Row | null, slot: Slot | null): number =>
        row?.tokenIds.at(-1) ?? slot?.entrant.promptIds.at(-1) ?? 0;
      const inputs: DecodeInputs = {
        weights,
        cos: tables.cos,
        sin: tables.sin,
        rotation: model.tables.rotation,
        prefix: this.prefix,
        prefixMask: prefixMask(lengths, this.prefixLength) ?? tf.zeros([this.slots.length, 1, this.prefixLength]),
        prefixLengths: ints(lengths),
        own: this.own as readonly KeyValue[],
        first: ints(this.slots.map((slot) => slot?.first ?? this.used)),
        used: tf.scalar(this.used, "int32"),
        ids: ints(rows.map((row, r) => idOf(row, this.slots[Math.floor(r / this.group)] ?? null))),
        positions: ints(this.slots.map((slot) => (slot === null ? 0 : slot.entrant.promptIds.length - 1 + slot.drawn))),
        finished: tf.tensor1d(
          rows.map((row) => !active(row)),
          "bool",
        ),
        limit: tf.scalar(limit, "int32"),
        uniforms: tf.tensor2d(uniforms, [BLOCK, rows.length]),
        stops: ints(params.stopIds.length > 0 ? params.stopIds : [-1]),
        inverseTemperature: tf.scalar(params.temperature === 0 ? 1 : 1 / params.temperature),
        topP: tf.scalar(params.topP),
      };
      const shape = {
        step: this.parts.step,
        prompts: this.slots.length,
        group: this.group,
        config: model.config,
        select,
        cacheActivations: this.caching,
      };
      const key = `decode ${this.slots.length} ${this.group} ${select.greedy} ${select.topK} ${select.nucleus} ${this.caching}`;
      const done: DecodeOutputs = compiler.run(key, (own: DecodeInputs) => decodeBlock(own, shape), inputs);
      const drawn = done.drawn.dataSync<"float32">().slice();
      return { outputs: keepAll(done.own), activations: keepAll(done.activations), drawn };
    });
    this.free(this.own);
    this.own = outputs;
    this.used += BLOCK;
    this.record(
      rows,
      drawn,
      limit,
      this.caching ? (this.parts.activationCache?.completions.addBlock(activations) ?? null) : null,
    );
  }

  /** `spanOf`: makes a span in the call's block of the activation cache. */
  private record(
    rows: readonly (Row | null)[],
    drawn: Float32Array,
    limit: number,
    spanOf: ((place: number, count: number) => ActivationSpan) | null,
  ): void {
    const { maxTokens } = this.parts.params;
    rows.forEach((row, r) => {
      const before = row?.tokenIds.length ?? 0;
      for (let i = 0; i < limit && active(row); i += 1) {
        const found = row as Row;
        const at = 3 * i * rows.length + r;
        const id = drawn[at] as number;
        found.tokenIds.push(id);
        found.logprobs.push(drawn[at + rows.length] as number);
        found.entropies.push(drawn[at + 2 * rows.length] as number);
        if (this.stops.has(id)) found.finish = "stop";
        else if (found.tokenIds.length >= maxTokens) found.finish = "length";
      }
      const spans = row && this.spans.get(row);
      const count = (row?.tokenIds.length ?? 0) - before;
      if (spanOf && spans && count > 0) spans.push(spanOf(r, count));
    });
    this.slots = this.slots.map((slot) => {
      if (slot === null || !slot.rows.some(active)) return null;
      slot.drawn += limit;
      return slot;
    });
  }

  /** Stops caching where there is no room for the next call's activations; ended rows stay cached. */
  private checkRoom(rows: number): void {
    const { activationCache, model } = this.parts;
    if (!this.caching || activationCache?.hasRoom(4 * BLOCK * rows * tokenColumns(model.config))) return;
    this.caching = false;
    for (const row of [...this.spans.keys()]) if (active(row)) this.forget(row);
  }

  /** Adds the completions to the activation cache. */
  private cacheCompletions(): void {
    for (const { promptIds, rows } of this.entrants) {
      for (const row of rows) {
        const spans = this.spans.get(row);
        if (spans === undefined) continue;
        this.spans.delete(row);
        this.parts.activationCache?.completions.add(promptIds, row.tokenIds, spans);
      }
    }
  }

  private forget(row: Row): void {
    const spans = this.spans.get(row) ?? [];
    this.spans.delete(row);
    this.parts.activationCache?.completions.release(spans);
  }

  private free(...caches: readonly (readonly KeyValue[] | null)[]): void {
    for (const cache of caches) for (const { k, v } of cache ?? []) tf.dispose([k, v]);
  }
}
