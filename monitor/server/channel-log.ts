import type { ChannelPolicy, StreamChannel } from "../protocol/limits.js";
import { LIMITS } from "../protocol/limits.js";

/**
 * One channel's history: entries numbered 1, 2, 3 … without gaps, bounded by count and bytes.
 * Readers hold a cursor (the last number they have seen) and ask for what came after: a slow reader costs nothing here,
 * and no entry is lost between reading the history and following it. Each entry is serialised once, at its first reading.
 * Conflated channels keep the newest entry per key, all others the newest entries.
 */

export interface Entry {
  readonly seq: number;
  readonly key: string | null;
  readonly time: number;
  readonly data: unknown;
  /** `{"seq":…,"data":…}` */
  readonly json: string;
  readonly bytes: number;
}

/** A message for the wire, with what it says about the reader's cursor. */
export interface Page {
  readonly buffer: Buffer;
  readonly seq: number;
}

/** Distinct cursors whose delta is cached until the next entry: live readers share one, a few lag behind. */
const CACHED_DELTAS = 8;
/** The list is compacted when this many dropped entries precede its first. */
const COMPACT_AT = 1_024;

export class ChannelLog {
  private list: Entry[] = [];
  private start = 0;
  private readonly byKey = new Map<string, Entry>();
  private bytes = 0;
  private last = 0;
  private readonly deltas = new Map<number, Page>();

  constructor(
    readonly name: StreamChannel,
    readonly policy: ChannelPolicy,
  ) {}

  /** Number of the newest entry; 0 before the first. */
  get seq(): number {
    return this.last;
  }

  /** Appends a value; `key` is its identity in a conflated channel. Throws when `data` cannot be serialised. */
  append(data: unknown, key: string | null, time: number): Entry {
    const seq = this.last + 1;
    const json = `{"seq":${seq},"data":${JSON.stringify(data)}}`;
    const entry: Entry = { seq, key, time, data, json, bytes: Buffer.byteLength(json) };
    this.last = seq;
    this.deltas.clear();
    this.bytes += entry.bytes;
    if (this.policy.overflow === "conflate") {
      const id = key ?? "";
      const before = this.byKey.get(id);
      if (before) this.bytes -= before.bytes;
      this.byKey.delete(id);
      this.byKey.set(id, entry);
      while (this.byKey.size > this.policy.historyCount) this.evictKey();
    } else {
      this.list.push(entry);
      while (this.size > this.policy.historyCount || (this.bytes > this.policy.historyBytes && this.size > 1))
        this.evictFirst();
    }
    return entry;
  }

  /**
   * Skips a number while the log is empty: connected readers then get the following entries as a whole snapshot, where a
   * delta of a sampled channel would drop most of them.
   */
  startAnew(): void {
    if (this.size === 0) this.last++;
  }

  /** Entries held, oldest first. */
  entries(): readonly Entry[] {
    return this.policy.overflow === "conflate" ? [...this.byKey.values()] : this.list.slice(this.start);
  }

  /** Bytes of serialised history held. */
  get heldBytes(): number {
    return this.bytes;
  }

  /** Entries after a cursor, oldest first; null when the history no longer reaches back that far (or never did). */
  after(cursor: number): readonly Entry[] | null {
    if (cursor > this.last || cursor < 0) return null;
    if (this.policy.overflow === "conflate") return [...this.byKey.values()].filter((entry) => entry.seq > cursor);
    const first = this.list[this.start]?.seq ?? this.last + 1;
    if (cursor < first - 1) return null;
    return this.list.slice(this.start + cursor - first + 1);
  }

  /**
   * The next delta after a cursor, at most `LIMITS.messageBytes` long unless a single entry is longer; null when there is
   * nothing new. Call only where `after(cursor)` is not null. Shared between readers at the same cursor.
   */
  deltaAfter(cursor: number): Page | null {
    if (cursor >= this.last) return null;
    const cached = this.deltas.get(cursor);
    if (cached) return cached;
    const entries = this.after(cursor) ?? [];
    const items: string[] = [];
    let bytes = 0;
    let seq = this.last;
    for (const entry of entries) {
      if (items.length > 0 && bytes + entry.bytes > LIMITS.messageBytes) break;
      items.push(entry.json);
      bytes += entry.bytes + 1;
      seq = entry.seq;
    }
    if (items.length === entries.length) seq = this.last;
    const head = `{"type":"delta","channel":"${this.name}","after":${cursor},"seq":${seq},"items":[`;
    const page = { buffer: Buffer.from(`${head}${items.join(",")}]}`), seq };
    if (this.deltas.size < CACHED_DELTAS) this.deltas.set(cursor, page);
    return page;
  }

  /** Serialised items of the whole state, oldest first. */
  snapshotItems(): readonly string[] {
    return this.entries().map((entry) => entry.json);
  }

  private get size(): number {
    return this.list.length - this.start;
  }

  private evictFirst(): void {
    this.bytes -= this.list[this.start]?.bytes ?? 0;
    this.start++;
    if (this.start >= COMPACT_AT && this.start * 2 >= this.list.length) {
      this.list = this.list.slice(this.start);
      this.start = 0;
    }
  }

  private evictKey(): void {
    const oldest = this.byKey.entries().next().value;
    if (!oldest) return;
    this.byKey.delete(oldest[0]);
    this.bytes -= oldest[1].bytes;
  }
}

/**
 * Splits serialised items into snapshot messages of bounded size; at least one, even when there is nothing. Items are taken
 * as pages are requested, one beyond the current page.
 */
export function* snapshotPages(channel: string, seq: number, items: Iterable<string>): Generator<Buffer, void, void> {
  let part = 0;
  let held: string[] = [];
  let bytes = 0;
  const page = (last: boolean): Buffer => {
    const head = `{"type":"snapshot","channel":${JSON.stringify(channel)},"seq":${seq},"part":${part},"last":${last},"items":[`;
    const buffer = Buffer.from(`${head}${held.join(",")}]}`);
    part++;
    held = [];
    bytes = 0;
    return buffer;
  };
  for (const item of items) {
    const size = Buffer.byteLength(item) + 1;
    if (held.length > 0 && bytes + size > LIMITS.messageBytes) yield page(false);
    held.push(item);
    bytes += size;
  }
  yield page(true);
}
