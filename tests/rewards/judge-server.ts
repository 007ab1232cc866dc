/** A local HTTP server that answers chat completions by script, and a clock whose timers fire only as told. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Clock } from "../../src/rewards/judge/clock.js";
import type { OpenAiJudgeOptions } from "../../src/rewards/judge/openai-judge.js";

/** Options of a judge client with everything optional off: no cache, no limits per minute, a breaker that never opens. */
export const plainOptions = (url: string): OpenAiJudgeOptions => ({
  ...{ url, model: "judge-1", mode: "paper", apiKeyEnv: null, template: null, seed: 1, environment: {} },
  ...{ maxPredictionChars: 8_000, maxReplyBytes: 1 << 20, maxTokens: null, timeoutMs: 30_000, groupTimeoutMs: 600_000 },
  ...{ retries: 4, hedgeAfterMs: null, concurrency: 4, requestsPerMinute: null, tokensPerMinute: null, cache: null },
  breaker: { window: 1, failures: 2, share: 1, openMs: 1_000 },
});

export interface SeenRequest {
  readonly url: string;
  readonly authorization: string | undefined;
  readonly body: { model: string; temperature: number; messages: { role: string; content: string }[] };
}

export type Reaction = (response: ServerResponse, request: SeenRequest) => void;

/** A completion with the text given. */
export const reply =
  (content: string): Reaction =>
  (response) => {
    response.setHeader("content-type", "application/json");
    response.end(JSON.stringify({ choices: [{ message: { role: "assistant", content } }] }));
  };

export const status =
  (code: number, headers: Record<string, string> = {}): Reaction =>
  (response) => {
    response.writeHead(code, headers);
    response.end("no");
  };

/** Breaks the connection without an answer. */
export const hangUp: Reaction = (response) => {
  response.destroy();
};

/** Never answers. */
export const silence: Reaction = () => {};

export class JudgeServer {
  readonly seen: SeenRequest[] = [];
  /** Requests that have come and not been answered, now and at most. */
  open = 0;
  mostOpen = 0;
  private readonly server: Server;
  private readonly arrivals: (() => void)[] = [];

  private constructor(reactions: readonly Reaction[]) {
    this.server = createServer((request, response) => {
      this.open++;
      this.mostOpen = Math.max(this.mostOpen, this.open);
      response.on("close", () => {
        this.open--;
      });
      void this.serve(request, response, reactions);
    });
  }

  /** Reactions are used in order of the requests; the last one repeats. */
  static async start(...reactions: Reaction[]): Promise<JudgeServer> {
    const judge = new JudgeServer(reactions);
    await new Promise<void>((resolve) => judge.server.listen(0, "127.0.0.1", resolve));
    return judge;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1`;
  }

  /** Resolves when `count` requests have come. */
  async received(count: number): Promise<void> {
    while (this.seen.length < count) await new Promise<void>((resolve) => this.arrivals.push(resolve));
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async serve(request: IncomingMessage, response: ServerResponse, reactions: readonly Reaction[]) {
    let text = "";
    for await (const chunk of request) text += chunk;
    const seen = { url: request.url ?? "", authorization: request.headers.authorization, body: JSON.parse(text) };
    this.seen.push(seen);
    for (const wake of this.arrivals.splice(0)) wake();
    reactions[Math.min(this.seen.length, reactions.length) - 1]?.(response, seen);
  }
}

/**
 * Timers of `heldMs` and longer wait until `fire()` has let their time pass; shorter ones (the back-off) fire at once, move the time
 * and are noted in `waits`.
 */
export class HeldClock implements Clock {
  readonly waits: number[] = [];
  private time = 0;
  private readonly held = new Map<() => void, number>();

  constructor(private readonly heldMs: number) {}

  now(): number {
    return this.time;
  }

  after(ms: number, callback: () => void): () => void {
    const own = () => callback();
    const at = this.time + ms;
    if (ms < this.heldMs) {
      this.waits.push(ms);
      const immediate = setImmediate(() => {
        this.time = Math.max(this.time, at);
        own();
      });
      return () => clearImmediate(immediate);
    }
    this.held.set(own, at);
    return () => this.held.delete(own);
  }

  /** Timers that wait. */
  get pending(): number {
    return this.held.size;
  }

  /** Lets time pass, and fires what is due by then. */
  fire(ms = this.heldMs): void {
    this.time += ms;
    for (const [callback, at] of [...this.held]) {
      if (at > this.time) continue;
      this.held.delete(callback);
      callback();
    }
  }
}
