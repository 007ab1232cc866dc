/** A judge's server of which nine in ten answers are faulty, and a caller that asks it many questions. */
import { uniform } from "../../src/algorithms/random.js";
import type { Judge, JudgeVerdict } from "../../src/contracts/judge.js";
import { createOpenAiJudge, type OpenAiJudgeOptions } from "../../src/rewards/judge/openai-judge.js";
import { whenReady } from "../../src/system/when-ready.js";
import { hangUp, JudgeServer, plainOptions, type Reaction, reply, silence, status } from "./judge-server.js";

export const ORDEAL_KEY = "sk-7f3kQz9aV0pL2x";
export const CONCURRENCY = 20;
/** Callers at the same time, as many as a run has rewards in flight. */
const CALLERS = 32;

export const FAULTS = ["timeout", "tooMany", "error", "reset", "drip", "endless", "garbage", "format", "key"] as const;

const opposite = (right: number) => (right === 1 ? "[[NO]]" : "[[YES]]");
const completion = (content: unknown, finish = "stop") =>
  JSON.stringify({ choices: [{ message: { role: "assistant", content }, finish_reason: finish }] });
const body =
  (text: string, code = 200): Reaction =>
  (response) => {
    response.writeHead(code, { "content-type": "application/json" });
    response.end(text);
  };

const drip: Reaction = (response) => {
  response.writeHead(200);
  const timer = setInterval(() => response.write(" "), 10);
  response.on("close", () => clearInterval(timer));
};

const endless: Reaction = (response) => {
  const chunk = Buffer.alloc(1 << 16, 32);
  const write = () => {
    while (!response.destroyed && response.write(chunk));
    if (!response.destroyed) response.once("drain", write);
  };
  response.writeHead(200);
  write();
};

/** The forms that a fault takes, by a number in [0, 1). What could be read as a number would be the wrong one. */
function faultOf(fault: (typeof FAULTS)[number], right: number, which: number): Reaction {
  const wrong = opposite(right);
  const pick = (...reactions: Reaction[]) => reactions[Math.floor(which * reactions.length)] as Reaction;
  switch (fault) {
    case "timeout":
      return silence;
    case "tooMany":
      return pick(status(429, { "retry-after": "0.05" }), status(429));
    case "error":
      return pick(status(500), status(503, { "retry-after": "0.02" }));
    case "reset":
      return pick(hangUp, (response) => {
        response.writeHead(200, { "content-length": "500" });
        response.write(`{"choices":[{"message":{"content":"${wrong}`);
        setImmediate(() => response.destroy());
      });
    case "drip":
      return drip;
    case "endless":
      return endless;
    case "garbage":
      return pick(
        body(`<html>${wrong}</html>`),
        body(completion(null)),
        body(completion(wrong).slice(0, -3)),
        body(""),
      );
    case "format":
      return pick(
        body(completion(wrong === "[[YES]]" ? "YES" : "NO")),
        body(completion(`${wrong} is what it wants me to write.`)),
        body(completion("[[YES]] or [[NO]]")),
        body(completion(wrong, "length")),
        body(completion("")),
      );
    case "key":
      return pick(
        body(completion(`${ORDEAL_KEY}: ${right === 1 ? "[[YES]]" : "[[NO]]"}`)),
        body(`{"error":"${ORDEAL_KEY}"}`, 400),
      );
  }
}

export interface Ordeal {
  readonly verdicts: readonly JudgeVerdict[];
  /** Verdicts whose number is not the right one. */
  readonly wrong: number;
  readonly requests: number;
  readonly mostOpen: number;
  readonly seconds: number;
  /** Changes of the judge's readiness. */
  readonly changes: readonly boolean[];
}

/** A server that answers question n rightly (1 where n is even) in one of ten tries, and not at all while `state.away`. */
export async function startFaultyServer(): Promise<{
  readonly server: JudgeServer;
  readonly state: { away: boolean };
}> {
  const state = { away: false };
  const tries = new Map<number, number>();
  const server = await JudgeServer.start((response, request) => {
    const text = request.body.messages.at(-1)?.content ?? "";
    if (state.away) return hangUp(response, request);
    const n = Number(/answer (\d+)\n/.exec(text)?.[1] ?? -1);
    const right = n % 2 === 0 ? 1 : 0;
    const attempt = tries.get(n) ?? 0;
    tries.set(n, attempt + 1);
    const fault = FAULTS[Math.floor(uniform(n + 1, attempt) * 10)];
    const reaction =
      fault === undefined
        ? reply(right === 1 ? "[[YES]]" : "[[NO]]")
        : faultOf(fault, right, uniform(n + 1, attempt + 1_000));
    reaction(response, request);
  });
  return { server, state };
}

export function ordealJudge(url: string, options: Partial<OpenAiJudgeOptions> = {}): Judge {
  return createOpenAiJudge({
    ...plainOptions(url),
    ...{ apiKeyEnv: "KEY", environment: { KEY: ORDEAL_KEY }, concurrency: CONCURRENCY },
    ...{ timeoutMs: 800, groupTimeoutMs: 20_000, maxReplyBytes: 1 << 18, backoff: { baseMs: 5, capMs: 200 } },
    breaker: { window: 60, failures: 30, share: 0.95, openMs: 500 },
    ...options,
  });
}

export const ordealQuery = (n: number) => ({ problem: "Which city?", prediction: `answer ${n}`, gold: "Paris" });

/** Asks `count` questions as a run does: a bounded number at a time, none while the judge says that it is not ready. */
export async function askThrough(
  judge: Judge,
  server: JudgeServer,
  count: number,
  onAsked: (n: number) => void = () => {},
): Promise<Ordeal> {
  const started = performance.now();
  const { signal } = new AbortController();
  const verdicts: JudgeVerdict[] = [];
  const changes: boolean[] = [];
  const forget = judge.readiness?.onChange(({ ready }) => void changes.push(ready));
  let next = 0;
  const caller = async () => {
    while (next < count) {
      if (judge.readiness) await whenReady(judge.readiness, signal);
      const n = next++;
      if (n >= count) return;
      onAsked(n);
      verdicts[n] = await judge.ask(ordealQuery(n), { signal, group: `group ${Math.floor(n / 8)}` });
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  forget?.();
  const wrong = verdicts.filter(
    (verdict, n) => verdict.kind === "verdict" && verdict.value !== (n % 2 === 0 ? 1 : 0),
  ).length;
  const seconds = (performance.now() - started) / 1000;
  return { verdicts, wrong, requests: server.seen.length, mostOpen: server.mostOpen, seconds, changes };
}

/** How often each kind of verdict came. */
export function kindsOf(verdicts: readonly JudgeVerdict[]): Readonly<Record<JudgeVerdict["kind"], number>> {
  const counts = { verdict: 0, timedOut: 0, failed: 0 };
  for (const { kind } of verdicts) counts[kind]++;
  return counts;
}
