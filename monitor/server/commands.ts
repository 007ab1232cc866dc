import type { Json } from "../../src/contracts/task.js";
import { LIMITS } from "../protocol/limits.js";
import type { ServerMessage } from "../protocol/messages.js";
import type { MonitorHub } from "./hub.js";
import { inState, stateName } from "./machine.js";
import type { CommandAnswer, CommandEffect, MonitorCommand } from "./source.js";

type Ack = Extract<ServerMessage, { type: "ack" }>;
type Effect = Extract<ServerMessage, { type: "effect" }>;
type Reply = (message: Ack | Effect) => void;

interface Known {
  ack: Ack | null;
  effect: Effect | null;
  readonly replies: Set<Reply>;
}

/**
 * Passes commands to the training system, each id once: sending an id again gets the same ack and effect.
 * Every command and its outcome is a line of the `logs` channel.
 */
export class CommandDesk {
  private readonly known = new Map<string, Known>();

  constructor(
    private readonly hub: MonitorHub,
    private readonly timers: { setTimeout(run: () => void, ms: number): unknown; clearTimeout(timer: unknown): void },
  ) {}

  /** Answers through `reply`: an ack, and later an effect when it was accepted. Returns a function that stops the replies. */
  submit(command: MonitorCommand, expectedState: string | null, reply: Reply): () => void {
    const before = this.known.get(command.id);
    if (before) {
      if (before.ack) reply(before.ack);
      if (before.effect) reply(before.effect);
      if (!before.effect) before.replies.add(reply);
      return () => before.replies.delete(reply);
    }
    const known: Known = { ack: null, effect: null, replies: new Set([reply]) };
    this.known.set(command.id, known);
    this.forgetOldest();
    void this.carryOut(command, expectedState, known);
    return () => known.replies.delete(reply);
  }

  private async carryOut(command: MonitorCommand, expectedState: string | null, known: Known): Promise<void> {
    const answer = await this.ask(command, expectedState);
    const reason = answer.accepted ? null : (answer.reason ?? "the run refused it");
    const who = `${command.by.role} at ${command.by.address}`;
    this.log(
      answer.accepted ? "info" : "warn",
      `${command.name}: ${answer.accepted ? "accepted" : `refused, ${reason}`} (${who})`,
    );
    known.ack = { type: "ack", id: command.id, accepted: answer.accepted, reason };
    for (const reply of known.replies) reply(known.ack);
    if (!answer.accepted) {
      known.replies.clear();
      return;
    }
    const effect = await settled(answer.effect ?? { ok: true, text: `${command.name} was carried out` });
    this.log(effect.ok ? "info" : "error", `${command.name}: ${effect.text}`);
    const state: Json = effect.state ?? this.hub.lifecycle;
    known.effect = { type: "effect", id: command.id, ok: effect.ok, text: effect.text, state };
    for (const reply of known.replies) reply(known.effect);
    known.replies.clear();
  }

  private async ask(command: MonitorCommand, expectedState: string | null): Promise<CommandAnswer> {
    const handler = this.hub.commandHandler;
    if (!handler) return { accepted: false, reason: "no training system is attached; this run is only displayed" };
    const now = this.hub.lifecycle;
    if (expectedState !== null && !inState(now, expectedState))
      return { accepted: false, reason: `expected state ${expectedState}, the run is in ${stateName(now)}` };
    let timer: unknown;
    const late = new Promise<CommandAnswer>((resolve) => {
      timer = this.timers.setTimeout(
        () => resolve({ accepted: false, reason: `no answer within ${LIMITS.ackMs / 1_000} s` }),
        LIMITS.ackMs,
      );
    });
    try {
      return await Promise.race([Promise.resolve(handler(command)), late]);
    } catch (error) {
      return { accepted: false, reason: messageOf(error) };
    } finally {
      this.timers.clearTimeout(timer);
    }
  }

  private log(level: "info" | "warn" | "error", text: string): void {
    this.hub.publishLog({ level, text });
  }

  private forgetOldest(): void {
    for (const [id, known] of this.known) {
      if (this.known.size <= LIMITS.commands) return;
      if (known.replies.size === 0) this.known.delete(id);
    }
  }
}

async function settled(effect: CommandEffect | Promise<CommandEffect>): Promise<CommandEffect> {
  try {
    return await effect;
  } catch (error) {
    return { ok: false, text: messageOf(error) };
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
