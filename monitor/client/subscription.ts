import type { ServerMessage } from "../protocol/messages.js";
import type { MetricBlock } from "../protocol/records.js";
import { type ChannelEvent, fromBlock } from "./events.js";

type DataMessage = Extract<ServerMessage, { type: "subscribed" | "snapshot" | "delta" | "gap" }>;

/**
 * A channel as the client holds it: the sequence number it has seen, and the parts of a snapshot in transfer.
 * Invariant: subscribers see every item exactly once and in order, or receive a gap; an item that would leave an
 * unannounced hole makes `receive` answer `resync`, and nothing is passed on.
 */
export class ChannelCursor {
  /** The last sequence number passed on; null before the first whole snapshot. */
  seq: number | null = null;
  private parts: unknown[] = [];
  private nextPart = 0;
  /** True between a subscription and its first whole state. */
  waiting = true;

  constructor(
    readonly channel: string,
    private readonly deliver: (event: ChannelEvent<string>) => void,
  ) {}

  receive(message: DataMessage): "ok" | "resync" {
    switch (message.type) {
      case "subscribed":
        this.waiting = !message.recovered;
        return "ok";
      case "snapshot":
        return this.snapshot(message);
      case "gap":
        if (this.waiting || this.seq === null || message.seq <= this.seq) return "ok";
        if (message.after > this.seq) return "resync";
        this.seq = message.seq;
        this.deliver({ kind: "gap", seq: message.seq, dropped: message.dropped, reason: message.reason });
        return "ok";
      case "delta":
        return this.delta(message);
    }
  }

  private snapshot(message: Extract<DataMessage, { type: "snapshot" }>): "ok" | "resync" {
    if (message.part === 0) this.parts = [];
    else if (message.part !== this.nextPart) return "resync";
    this.nextPart = message.part + 1;
    this.parts.push(...message.items.map((item) => item.data));
    if (!message.last) return "ok";
    const parts = this.parts;
    this.parts = [];
    this.seq = message.seq;
    this.waiting = false;
    const items = this.channel === "metrics" ? (parts as MetricBlock[]).flatMap(fromBlock) : parts;
    this.deliver({ kind: "snapshot", seq: message.seq, items });
    return "ok";
  }

  private delta(message: Extract<DataMessage, { type: "delta" }>): "ok" | "resync" {
    // Messages from before a new subscription are contained in the coming snapshot.
    if (this.waiting) return "ok";
    const seen = this.seq;
    if (seen === null || message.after > seen) return "resync";
    if (message.seq <= seen) return "ok";
    this.seq = message.seq;
    const items = message.items.filter((item) => item.seq > seen).map((item) => item.data);
    this.deliver({ kind: "delta", seq: message.seq, items });
    return "ok";
  }
}
