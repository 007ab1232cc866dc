/**
 * Tells another program what a person would want to know of a run: alarms that begin and end, rollbacks, pauses and the end, each as one
 * POST with a JSON body. Invariants: a run never waits for it (I10); what waits is bounded, the oldest is given up first; every request
 * has a deadline and a bounded number of tries (I5); messages arrive in order, at most one request at a time.
 */
import { setTimeout as setTimeoutAsync } from "node:timers/promises";
import { ALERT_LEVELS, type Alert } from "../../src/contracts/alert.js";
import type { Fact } from "../../src/contracts/fact.js";
import type { Secrets } from "./secrets.js";

/** Messages that wait for a receiver that is slow or away. */
const MOST_WAITING = 100;
/** Wait before the first further try, ms; doubles with each. */
const FIRST_RETRY_MS = 500;
/** Time that the end of a run leaves for messages that still wait, ms. */
const LAST_MS = 5_000;

export interface WebhookOptions {
  readonly url: string;
  /** Sent as `authorization: Bearer …`. */
  readonly token?: string;
  /** Alarms below it are not told. */
  readonly minLevel: Alert["level"];
  /** Deadline of one request, ms. */
  readonly timeoutMs: number;
  /** Further tries after an answer of 429 or 5xx, none in time, or a broken connection. */
  readonly retries: number;
  /** Name of the run. */
  readonly run: string;
  readonly secrets: Secrets;
  /** Hears once of each message that is given up. */
  readonly lost: (event: string, reason: string) => void;
  readonly sleep?: (ms: number, signal: AbortSignal) => Promise<void>;
}

/** The body of a request. */
export interface WebhookMessage {
  readonly schema_version: 1;
  readonly event: "alarm.began" | "alarm.ended" | "run.rolledBack" | "run.paused" | "run.finished";
  readonly run: string;
  readonly level: Alert["level"];
  /** One sentence for people. */
  readonly text: string;
  readonly step: number;
  /** Wall clock, ms since 1970. */
  readonly time: number;
  /** What the journal says of it. */
  readonly data: unknown;
}

type Told = Pick<WebhookMessage, "event" | "level" | "text" | "data">;

export class Webhook {
  private readonly waiting: WebhookMessage[] = [];
  /** Levels of alarms whose beginning was told, by id. */
  private readonly open = new Map<string, Alert["level"]>();
  private readonly ending = new AbortController();
  private sending: Promise<void> | null = null;

  constructor(private readonly options: WebhookOptions) {}

  /** Takes what a fact says to the receiver, if anything. Never throws and never waits. */
  fact(fact: Fact): void {
    const told = this.told(fact);
    if (told === null) return;
    const { step, time } = fact;
    this.waiting.push({ schema_version: 1, ...told, run: this.options.run, step, time });
    if (this.waiting.length > MOST_WAITING) {
      const oldest = this.waiting.shift() as WebhookMessage;
      this.options.lost(oldest.event, `${MOST_WAITING} messages wait already`);
    }
    this.sending ??= this.sendAll().finally(() => {
      this.sending = null;
    });
  }

  /** Resolves once everything has been told, or the time for that is over. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.ending.abort(), LAST_MS);
    await this.sending;
    clearTimeout(timer);
    this.ending.abort();
  }

  private told(fact: Fact): Told | null {
    switch (fact.type) {
      case "alert.raised":
        return this.began(fact.data.alert);
      case "alert.ended": {
        const { id, rule, metric, fromStep, toStep } = fact.data;
        const level = this.open.get(id);
        if (level === undefined) return null;
        this.open.delete(id);
        const text = `the alarm ${rule} on ${metric} is over (steps ${fromStep} to ${toStep})`;
        return { event: "alarm.ended", level, text, data: fact.data };
      }
      case "run.rolledBack": {
        const { fromStep, toStep, reason } = fact.data;
        const text = `the run went back from step ${fromStep} to the end of step ${toStep}: ${reason}`;
        return { event: "run.rolledBack", level: "warn", text, data: fact.data };
      }
      case "lifecycle.changed":
        if (fact.data.machine !== "lifecycle" || fact.data.value !== "paused") return null;
        return { event: "run.paused", level: "warn", text: "the run is paused", data: fact.data };
      case "run.finished": {
        const { data } = fact;
        const failed = data.status === "failed";
        const text = failed ? `the run failed: ${data.error}` : `the run is ${data.status}`;
        return { event: "run.finished", level: failed ? "error" : "info", text, data };
      }
      default:
        return null;
    }
  }

  private began(alert: Alert): Told | null {
    const { minLevel } = this.options;
    if (ALERT_LEVELS.indexOf(alert.level) < ALERT_LEVELS.indexOf(minLevel)) return null;
    this.open.set(alert.id, alert.level);
    return { event: "alarm.began", level: alert.level, text: alert.text, data: alert };
  }

  private async sendAll(): Promise<void> {
    for (let next = this.waiting.shift(); next !== undefined; next = this.waiting.shift()) {
      const reason = await this.send(next);
      if (reason !== null) this.options.lost(next.event, reason);
    }
  }

  /** Null once it was received, else why it was not. */
  private async send(message: WebhookMessage): Promise<string | null> {
    const { retries, sleep = wait } = this.options;
    let reason = "the run has ended";
    for (let attempt = 0; attempt <= retries && !this.ending.signal.aborted; attempt++) {
      if (attempt > 0) await sleep(FIRST_RETRY_MS * 2 ** (attempt - 1), this.ending.signal);
      const answer = await this.post(message);
      if (answer === null) return null;
      reason = answer.reason;
      if (!answer.again) break;
    }
    return reason;
  }

  private async post(message: WebhookMessage): Promise<{ readonly reason: string; readonly again: boolean } | null> {
    const { url, token, timeoutMs, secrets } = this.options;
    const signal = AbortSignal.any([AbortSignal.timeout(timeoutMs), this.ending.signal]);
    try {
      const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json", ...(token ? { authorization: `Bearer ${token}` } : {}) },
        body: secrets.text(JSON.stringify(message)),
        redirect: "error",
        signal,
      });
      await response.body?.cancel();
      if (response.ok) return null;
      return {
        reason: `the receiver answered ${response.status}`,
        again: response.status === 429 || response.status >= 500,
      };
    } catch (error) {
      return { reason: error instanceof Error ? error.message : String(error), again: true };
    }
  }
}

/** Resolves after `ms`, or at once when the signal aborts. */
const wait = (ms: number, signal: AbortSignal): Promise<void> =>
  setTimeoutAsync(ms, undefined, { signal }).catch(() => undefined);
