/**
 * Byte-pair encoding of one word: characters become symbols, neighbours merge in order of rank (Sennrich et al. 2016),
 * with the settings and the order of steps of the Rust library. Pure but for a cache.
 */
import { isRecord, type JsonRecord } from "../json.js";
import { unsupportedSetting } from "./fault.js";

/** Long words are rarely seen again, and the cache is emptied when full. */
const CACHED_LENGTH = 256;
const CACHE_ENTRIES = 100_000;
/** Heap keys are rank × this + position; a word must be shorter, and ranks below 2^21 keep the product exact. */
const POSITIONS = 2 ** 32;

/** Positions that may merge, the smallest rank first, of equal ranks the leftmost. */
class Queue {
  readonly #keys: number[] = [];

  push(rank: number, position: number): void {
    const keys = this.#keys;
    const key = rank * POSITIONS + position;
    let at = keys.length;
    keys.push(key);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (keys[parent]! <= key) break;
      keys[at] = keys[parent]!;
      at = parent;
    }
    keys[at] = key;
  }

  /** The first key, or -1 when there is none. */
  pop(): number {
    const keys = this.#keys;
    const first = keys[0];
    if (first === undefined) return -1;
    const moved = keys.pop()!;
    const size = keys.length;
    if (size === 0) return first;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && keys[child + 1]! < keys[child]!) child += 1;
      if (keys[child]! >= moved) break;
      keys[at] = keys[child]!;
      at = child;
    }
    keys[at] = moved;
    return first;
  }
}

/** Pairs of a merges list, which holds pairs or, in older files, texts with one space. */
function readMerge(merge: unknown): readonly [string, string] {
  const parts = typeof merge === "string" ? merge.split(" ") : merge;
  if (!Array.isArray(parts) || parts.length !== 2 || parts.some((part) => typeof part !== "string"))
    throw unsupportedSetting("model.merges", merge, "pairs of texts");
  return parts as unknown as readonly [string, string];
}

function readText(model: JsonRecord, key: string): string | null {
  const value = model[key] ?? null;
  if (value !== null && typeof value !== "string") throw unsupportedSetting(`model.${key}`, value, "a text or null");
  return value;
}

export class BytePairModel {
  readonly vocabulary: ReadonlyMap<string, number>;
  /** Rank of a pair of ids, keyed by left × width + right. */
  readonly #ranks = new Map<number, number>();
  readonly #merged: number[] = [];
  readonly #width: number;
  readonly #prefix: string;
  readonly #suffix: string;
  readonly #unknown: string | null;
  readonly #fuses: boolean;
  readonly #fallsBack: boolean;
  readonly #ignoresMerges: boolean;
  readonly #cache = new Map<string, readonly number[]>();

  /** Throws WEIR_E_TOKENIZER when merges name tokens that the vocabulary lacks. */
  constructor(model: JsonRecord) {
    const vocabulary = new Map<string, number>();
    let largest = 0;
    for (const [token, id] of Object.entries(model.vocab as JsonRecord)) {
      if (typeof id !== "number" || !Number.isInteger(id) || id < 0)
        throw unsupportedSetting("model.vocab", { [token]: id }, "ids that are whole numbers from 0 on");
      vocabulary.set(token, id);
      largest = Math.max(largest, id);
    }
    this.vocabulary = vocabulary;
    this.#width = largest + 1;
    this.#prefix = readText(model, "continuing_subword_prefix") ?? "";
    this.#suffix = readText(model, "end_of_word_suffix") ?? "";
    this.#unknown = readText(model, "unk_token");
    this.#fuses = model.fuse_unk === true;
    this.#fallsBack = model.byte_fallback === true;
    this.#ignoresMerges = model.ignore_merges === true;
    for (const merge of model.merges as readonly unknown[]) {
      const [left, right] = readMerge(merge);
      const ids = [left, right, left + right.slice(this.#prefix.length)].map((token) => vocabulary.get(token));
      if (ids.includes(undefined))
        throw unsupportedSetting("model.merges", merge, "pairs whose parts and result are in model.vocab");
      const [a = 0, b = 0, whole = 0] = ids;
      this.#ranks.set(a * this.#width + b, this.#merged.length);
      this.#merged.push(whole);
    }
  }

  /** Ids of a word. `spell` turns it into the alphabet of the vocabulary; null leaves it. */
  encode(word: string, spell: ((word: string) => string) | null): readonly number[] {
    const known = this.#cache.get(word);
    if (known !== undefined) return known;
    const ids = this.#encode(spell === null ? word : spell(word));
    if (word.length <= CACHED_LENGTH) {
      if (this.#cache.size >= CACHE_ENTRIES) this.#cache.clear();
      this.#cache.set(word, ids);
    }
    return ids;
  }

  #encode(word: string): readonly number[] {
    if (this.#ignoresMerges) {
      const id = this.vocabulary.get(word);
      if (id !== undefined) return [id];
    }
    return this.#merge(this.#symbols(word));
  }

  /** Characters as ids. An unknown one waits until the next known one, also while bytes stand in for others. */
  #symbols(word: string): number[] {
    const ids: number[] = [];
    let waiting: number | null = null;
    const { length } = word;
    for (let at = 0; at < length; ) {
      const size = word.codePointAt(at)! > 0xffff ? 2 : 1;
      let symbol = size === 1 ? word[at]! : word.slice(at, at + 2);
      if (at > 0) symbol = this.#prefix + symbol;
      at += size;
      if (at === length) symbol += this.#suffix;
      const id = this.vocabulary.get(symbol);
      if (id !== undefined) {
        if (waiting !== null) ids.push(waiting);
        waiting = null;
        ids.push(id);
        continue;
      }
      const bytes = this.#fallsBack ? this.#bytes(symbol) : null;
      if (bytes !== null) ids.push(...bytes);
      else if (this.#unknown !== null) {
        if (waiting !== null && !this.#fuses) ids.push(waiting);
        waiting ??= this.#unknownId();
      }
    }
    if (waiting !== null) ids.push(waiting);
    return ids;
  }

  #bytes(symbol: string): number[] | null {
    const ids: number[] = [];
    for (const byte of Buffer.from(symbol, "utf8")) {
      const id = this.vocabulary.get(`<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`);
      if (id === undefined) return null;
      ids.push(id);
    }
    return ids;
  }

  #unknownId(): number {
    const id = this.#unknown === null ? undefined : this.vocabulary.get(this.#unknown);
    if (id === undefined) throw unsupportedSetting("model.unk_token", this.#unknown, "a token of model.vocab");
    return id;
  }

  /** Merges neighbours in order of rank. `ids` is used up. */
  #merge(ids: number[]): number[] {
    const count = ids.length;
    if (count < 2) return ids;
    const width = this.#width;
    const next = Int32Array.from({ length: count }, (_, i) => (i + 1 < count ? i + 1 : -1));
    const previous = Int32Array.from({ length: count }, (_, i) => i - 1);
    const queue = new Queue();
    const offer = (at: number, right: number) => {
      const rank = this.#ranks.get(ids[at]! * width + ids[right]!);
      if (rank !== undefined) queue.push(rank, at);
    };
    for (let i = 0; i + 1 < count; i += 1) offer(i, i + 1);
    for (let key = queue.pop(); key >= 0; key = queue.pop()) {
      const at = key % POSITIONS;
      const right = next[at]!;
      if (ids[at] === -1 || right === -1) continue;
      // An entry whose symbols have changed since counts only if they still merge to the same token.
      const whole = this.#merged[Math.floor(key / POSITIONS)]!;
      const current = this.#ranks.get(ids[at]! * width + ids[right]!);
      if (current === undefined || this.#merged[current] !== whole) continue;
      ids[at] = whole;
      ids[right] = -1;
      const after = next[right]!;
      next[at] = after;
      if (after !== -1) {
        previous[after] = at;
        offer(at, after);
      }
      if (previous[at]! >= 0) offer(previous[at]!, at);
    }
    return ids.filter((id) => id !== -1);
  }
}

/** Reads the `model` section. Throws WEIR_E_TOKENIZER for other models than BPE, damage, and random encoding. */
export function createModel(model: unknown): BytePairModel {
  if (!isRecord(model)) throw unsupportedSetting("model", model ?? null, "a section of the type BPE");
  if (model.type !== "BPE" && !(model.type === undefined && Array.isArray(model.merges)))
    throw unsupportedSetting("model.type", model.type ?? null, "BPE, as in Qwen and Llama tokenizers");
  if (!isRecord(model.vocab)) throw unsupportedSetting("model.vocab", typeof model.vocab, "an object of ids by token");
  if (!Array.isArray(model.merges)) throw unsupportedSetting("model.merges", typeof model.merges, "a list of pairs");
  if (typeof model.dropout === "number" && model.dropout > 0)
    throw unsupportedSetting("model.dropout", model.dropout, "null; with dropout, encoding is random");
  return new BytePairModel(model);
}
