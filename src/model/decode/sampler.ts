/**
 * Draws sequences: one prefill per prompt, then one step of all its rows per token. One host read per token.
 * Invariants: token t of a row depends on the prompt, the weights and (seed, t) only, never on its neighbours;
 * finished rows are dropped from the batch when enough of them have gathered.
 */
import { uint32 } from "../../algorithms/random.js";
import type { SampledSequence, SamplePrompt, SampleRequest, SamplingParams } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";
import { type HeldPrefixes, runPiece } from "../activations/prefix-cache.js";
import { breathe } from "../tensor/breathe.js";
import { gatherRows } from "../tensor/kernels.js";
import { scope, type Tensor, tf } from "../tensor/tf.js";
import { headLogits } from "../transformer/head.js";
import type { Transformer } from "../transformer/model.js";
import { FINE } from "../transformer/packing.js";
import { positionsFrom, prefixMask, type Segment } from "../transformer/segment.js";
import { assertIds } from "../transformer/token-ids.js";
import { LayerCache } from "./cache.js";
import type { CompiledDecoder } from "./compiled-decoder.js";
import { selectOptions, selectTokens } from "./select.js";
import type { Row } from "./slot-table.js";

/** Device memory for keys and values of one batch of prompts. */
const CACHE_BYTES = 3 * 1024 ** 3;
/** Memory of the widest intermediate of one prefill. */
const PREFILL_BYTES = 768 * 1024 ** 2;
/** Rows decoded together at most. */
const MAX_ROWS = 512;
/** The batch is repacked when this share of its slots, or less, is still at work. */
const REPACK_SHARE = 0.6;

/** Uniform number in (0, 1) of token `t` of a row; 22 bits, so that u·total stays below total in float32. */
function uniformOf(seed: number, t: number): number {
  return ((uint32(seed, t) >>> 10) + 0.5) / 4194304;
}

function assertParams(params: SamplingParams): void {
  const { temperature, topP, topK, maxTokens } = params;
  if (temperature >= 0 && topP > 0 && topP <= 1 && Number.isInteger(topK) && topK >= 0 && maxTokens >= 1) return;
  throw new WeirError(
    "WEIR_E_SHAPE",
    `sampling needs temperature ≥ 0, 0 < topP ≤ 1, an integer topK ≥ 0 and maxTokens ≥ 1, got ${JSON.stringify(params)}`,
  );
}

/** Splits prompts (longest first) into batches that fit the memory bounds. */
function planBatches(model: Transformer, prompts: readonly SamplePrompt[], maxTokens: number): number[][] {
  const { layers, kvHeads, headDim, intermediateSize, hiddenSize } = model.config;
  const perToken = 2 * 4 * layers * kvHeads * headDim;
  const perPrefill = 4 * (4 * intermediateSize + 6 * hiddenSize);
  const order = prompts
    .map((_, index) => index)
    .filter((index) => prompts[index]!.seeds.length > 0)
    .sort((a, b) => prompts[b]!.promptIds.length - prompts[a]!.promptIds.length || a - b);
  const batches: number[][] = [];
  let current: number[] = [];
  let group = 0;
  let prefix = 0;
  for (const index of order) {
    const { promptIds, seeds } = prompts[index]!;
    const nextGroup = Math.max(group, seeds.length);
    const nextPrefix = Math.max(prefix, FINE.length(promptIds.length));
    const count = current.length + 1;
    const fits =
      count * nextGroup <= MAX_ROWS &&
      count * (nextPrefix + nextGroup * maxTokens) * perToken <= CACHE_BYTES &&
      count * nextPrefix * perPrefill <= PREFILL_BYTES;
    if (current.length > 0 && !fits) {
      batches.push(current);
      current = [];
      group = 0;
      prefix = 0;
    }
    current.push(index);
    group = Math.max(group, seeds.length);
    prefix = Math.max(prefix, FINE.length(promptIds.length));
  }
  if (current.length > 0) batches.push(current);
  return batches;
}

/** A sequence whose policy the engine names. */
export type DrawnSequence = Omit<SampledSequence, "spans">;

/** Draws all sequences of a request: [prompt][G]. The compiled decoder leaves activations in `held`, where it is given. */
export async function sampleSequences(
  model: Transformer,
  request: Pick<SampleRequest, "prompts" | "params">,
  signal: AbortSignal,
  decoder: CompiledDecoder | null,
  held: HeldPrefixes | null,
): Promise<DrawnSequence[][]> {
  const { prompts, params } = request;
  assertParams(params);
  for (const { promptIds } of prompts) {
    assertIds(model.config, promptIds, [[]]);
    if (promptIds.length + params.maxTokens > model.config.maxPositions) {
      throw new WeirError(
        "WEIR_E_PROMPT_TOO_LONG",
        `a prompt of ${promptIds.length} tokens plus maxTokens ${params.maxTokens} exceeds the model's ${model.config.maxPositions} positions; shorten the prompt or maxTokens`,
        { prompt: promptIds.length, maxTokens: params.maxTokens, positions: model.config.maxPositions },
      );
    }
  }
  const rows = prompts.map(({ seeds }, prompt) =>
    seeds.map((seed, index): Row => ({ prompt, index, seed, tokenIds: [], logprobs: [], entropies: [], finish: null })),
  );
  if (decoder !== null) {
    const entrants = prompts.map(({ promptIds }, index) => ({ promptIds, rows: rows[index]! }));
    await decoder.run(model, params, entrants, uniformOf, held, signal);
  } else {
    for (const batch of planBatches(model, prompts, params.maxTokens)) {
      await breathe(signal);
      await new Decoder(
        model,
        params,
        batch.map((index) => prompts[index]!.promptIds),
        batch.map((index) => rows[index]!),
      ).run(signal);
    }
  }
  return rows.map((group) =>
    group.map(({ tokenIds, logprobs, entropies, finish }) => ({
      tokenIds,
      logprobs,
      entropies,
      finish: finish ?? "length",
    })),
  );
}

/** One batch of prompts being decoded. */
class Decoder {
  private readonly model: Transformer;
  private readonly params: SamplingParams;
  private readonly stops: ReadonlySet<number>;
  private readonly caches: LayerCache[] = [];
  private mask: Tensor | null = null; // [P, 1, Tp]
  private ids: Tensor; // [P*G] int32, the token each slot reads next
  private starts: number[]; // [P], position of the last prompt token
  private slots: (Row | null)[][]; // [P][G]

  constructor(
    model: Transformer,
    params: SamplingParams,
    promptIds: readonly (readonly number[])[],
    rows: readonly (readonly Row[])[],
  ) {
    this.model = model;
    this.params = params;
    this.stops = new Set(params.stopIds);
    const group = Math.max(...rows.map((own) => own.length));
    this.slots = rows.map((own) => Array.from({ length: group }, (_, g) => own[g] ?? null));
    this.starts = promptIds.map((ids) => ids.length - 1);
    this.prefill(promptIds);
    const first = Int32Array.from(promptIds.flatMap((ids) => new Array<number>(group).fill(ids.at(-1) as number)));
    this.ids = tf.keep(tf.tensor1d(first, "int32"));
  }

  async run(signal: AbortSignal): Promise<void> {
    try {
      for (let t = 0; t < this.params.maxTokens; t += 1) {
        await breathe(signal);
        this.step(t);
        if (!this.repack()) break;
      }
    } finally {
      this.dispose();
    }
  }

  private get group(): number {
    return this.slots[0]?.length ?? 0;
  }

  private prefill(promptIds: readonly (readonly number[])[]): void {
    scope(() => {
      const prefixes = promptIds.map((ids) => ids.slice(0, -1));
      const { layers, length } = runPiece(this.model, prefixes, 0, null);
      for (let layer = 0; layer < this.model.config.layers; layer += 1) {
        this.caches.push(new LayerCache(layers[layer] ?? null));
      }
      const lengths = prefixes.map((ids) => ids.length);
      const mask = prefixMask(lengths, length);
      this.mask = mask === null ? null : tf.keep(mask);
    });
  }

  /** Draws token `t` of every slot and records it for those at work. */
  private step(t: number): void {
    const { config } = this.model;
    const prompts = this.slots.length;
    const shape = {
      prompts,
      kvHeads: config.kvHeads,
      group: this.group,
      headsPerKv: config.heads / config.kvHeads,
      headDim: config.headDim,
    };
    const slots = this.slots.flat();
    const next = scope(() => {
      const rope = positionsFrom(
        this.starts.map((start) => start + t),
        1,
        this.model.tables,
      );
      const segment: Segment = {
        prompts,
        group: this.group,
        length: 1,
        tokens: prompts * this.group,
        ids: this.ids,
        offsets: null,
        rope,
      };
      const { x } = this.model.forwardRows(segment, null, {
        keeping: null,
        decode: (layer) => (q, k, v) => (this.caches[layer] as LayerCache).attend(q, k, v, shape, this.mask),
      });
      const temperature = this.params.temperature === 0 ? 1 : this.params.temperature;
      const logits = headLogits(this.model, x, temperature);
      const uniforms = tf.tensor2d(
        Float32Array.from(slots, (row) => (row === null ? 0.5 : uniformOf(row.seed, t))),
        [slots.length, 1],
      );
      const order = tf.tensor1d(
        Int32Array.from(slots, (_, index) => index),
        "int32",
      );
      return selectTokens(logits, uniforms, order, {
        ...selectOptions(this.params),
        topP: tf.scalar(this.params.topP),
      });
    });
    const report = next.report.dataSync<"float32">();
    next.report.dispose();
    this.ids.dispose();
    this.ids = tf.keep(next.ids);
    slots.forEach((row, index) => {
      if (row === null || row.finish !== null) return;
      const id = report[index]!;
      row.tokenIds.push(id);
      row.logprobs.push(report[slots.length + index]!);
      row.entropies.push(report[2 * slots.length + index]!);
      if (this.stops.has(id)) row.finish = "stop";
      else if (row.tokenIds.length >= this.params.maxTokens) row.finish = "length";
    });
  }

  /** Drops finished rows and prompts when enough have gathered. False when nothing is left to do. */
  private repack(): boolean {
    const group = this.group;
    const atWork = this.slots.map((own) => own.flatMap((row, g) => (row !== null && row.finish === null ? [g] : [])));
    const prompts = atWork.flatMap((own, p) => (own.length > 0 ? [p] : []));
    if (prompts.length === 0) return false;
    const newGroup = Math.max(...atWork.map((own) => own.length));
    if (prompts.length * newGroup > REPACK_SHARE * this.slots.length * group) return true;

    // Slots left empty in a prompt repeat its first row's cache; nothing reads them.
    const chosen = prompts.map((p) => Array.from({ length: newGroup }, (_, g) => atWork[p]![g] ?? atWork[p]![0]!));
    const { kvHeads } = this.model.config;
    const heads = Array.from({ length: kvHeads }, (_, head) => head);
    const prefixRows = prompts.flatMap((p) => heads.map((head) => p * kvHeads + head));
    const ownRows = prompts.flatMap((p, index) =>
      heads.flatMap((head) => chosen[index]!.map((g) => (p * kvHeads + head) * group + g)),
    );
    scope(() => {
      const upload = (values: readonly number[]) => tf.tensor1d(Int32Array.from(values), "int32");
      const samePrompts = prompts.length === this.slots.length;
      const prefixIndex = samePrompts ? null : upload(prefixRows);
      const ownIndex = upload(ownRows);
      for (const cache of this.caches) cache.select(prefixIndex, ownIndex);
      if (this.mask !== null && !samePrompts) {
        const mask = tf.keep(gatherRows(this.mask, upload(prompts)));
        this.mask.dispose();
        this.mask = mask;
      }
      const idRows = prompts.flatMap((p, index) => chosen[index]!.map((g) => p * group + g));
      const ids = tf.keep(gatherRows(this.ids, upload(idRows)));
      this.ids.dispose();
      this.ids = ids;
    });
    this.slots = prompts.map((p) =>
      Array.from({ length: newGroup }, (_, g) => {
        const slot = atWork[p]![g];
        return slot === undefined ? null : this.slots[p]![slot]!;
      }),
    );
    this.starts = prompts.map((p) => this.starts[p]!);
    return true;
  }

  private dispose(): void {
    for (const cache of this.caches) cache.dispose();
    this.mask?.dispose();
    this.ids.dispose();
  }
}
