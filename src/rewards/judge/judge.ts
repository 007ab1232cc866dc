/**
 * A judge over whatever answers its conversations: prompt, cache, sharing of equal questions, deadline and reading of the reply. Invariants: every
 * fault of the other side is a verdict or reply of its own kind, never a number and never a rejection (I1); a reply that was cut, or that
 * holds no verdict, is a failure and is not kept; only the caller's own cancelling ends a question without an answer.
 */
import { createHash } from "node:crypto";
import type { Judge, JudgeOptions, JudgeReply, JudgeUse, JudgeVerdict } from "../../contracts/judge.js";
import type { RewardMode } from "../../contracts/reward.js";
import type { ChatMessage } from "../../contracts/task.js";
import { type ChatBackend, type Completion, Meter } from "./chat-backend.js";
import { type Clock, systemClock } from "./clock.js";
import { GroupDeadlines } from "./group-deadlines.js";
import type { JudgePrompt } from "./prompt.js";
import { parseJudgeReply } from "./reply.js";
import type { CachedReply, ReplyCache } from "./reply-cache.js";
import { SharedCalls } from "./shared-calls.js";

export interface JudgeSettings {
  readonly mode: RewardMode;
  readonly prompt: JudgePrompt;
  /** Null asks every question anew. */
  readonly cache: ReplyCache | null;
  /** Deadline of a question, and of all questions of a group that are open at the same time, ms. */
  readonly groupTimeoutMs: number;
  /** Most tokens of a verdict with its explanation; null leaves it to the backend. */
  readonly maxTokens: number | null;
  readonly clock?: Clock;
}

/** Longest piece of a reply that goes into a reason. */
const EXCERPT = 200;
const CODE = "WEIR_E_JUDGE";

type Fault = Exclude<Completion, { readonly kind: "text" }>;
type Answer = { readonly kind: "answer"; readonly reply: CachedReply } | Fault;

interface Question {
  readonly key: string;
  readonly messages: readonly ChatMessage[];
  readonly maxTokens: number | null;
  /** What a whole reply says, or why it says nothing. */
  read(text: string): CachedReply | Fault;
}

export function createJudge(backend: ChatBackend, settings: JudgeSettings): Judge {
  const { mode, prompt, cache, groupTimeoutMs, clock = systemClock } = settings;
  const deadlines = new GroupDeadlines(groupTimeoutMs, clock);
  const shared = new SharedCalls<Answer>();

  const fresh = async (question: Question, meter: Meter, signal: AbortSignal): Promise<Answer> => {
    const { messages, maxTokens } = question;
    const completion = await backend.complete(messages, { signal, maxTokens, meter });
    if (completion.kind !== "text") return completion;
    const reply = question.read(completion.text);
    if ("kind" in reply) return reply;
    if (completion.cut && reply.value !== null) return failed("the judge's reply was cut at its greatest length");
    cache?.put(question.key, reply);
    return { kind: "answer", reply };
  };

  const answer = async (question: Question, options: JudgeOptions) => {
    const started = clock.now();
    const meter = new Meter();
    const use = (cached: boolean): JudgeUse => {
      const { requests, promptTokens, completionTokens } = meter;
      return { requests, seconds: (clock.now() - started) / 1000, promptTokens, completionTokens, cached };
    };
    const kept = options.signal.aborted ? null : ((await cache?.get(question.key)) ?? null);
    if (kept !== null) return { answer: { kind: "answer", reply: kept } as const, use: use(true) };
    const allowance = deadlines.enter(options.signal, options.group);
    try {
      const { signal } = allowance;
      const joined = cache !== null && shared.has(question.key);
      const work = (inner: AbortSignal) => fresh(question, meter, inner);
      const key = cache === null ? Symbol() : question.key;
      const ended = await shared.join(key, signal, work);
      if (ended !== null && !signal.aborted) return { answer: ended, use: use(joined && ended.kind === "answer") };
      const afterMs = Math.round(clock.now() - started);
      const fault: Fault = allowance.expired
        ? { kind: "timedOut", afterMs, reason: lateReason(groupTimeoutMs, meter) }
        : failed("the question was cancelled");
      return { answer: fault, use: use(false) };
    } finally {
      allowance.leave();
    }
  };

  return {
    kind: backend.kind,
    specificationVersion: 1,
    async ask(query, options): Promise<JudgeVerdict> {
      const { problem, prediction, gold } = query;
      const question: Question = {
        key: keyOf("verdict", backend.model, mode, prompt.version, settings.maxTokens, problem, prediction, gold),
        messages: prompt.messages(query),
        maxTokens: settings.maxTokens,
        read: (text) => verdictIn(text, mode, backend),
      };
      const ended = await answer(question, options);
      if (ended.answer.kind !== "answer") return faultOf(ended.answer, ended.use);
      const { value, reply } = ended.answer.reply;
      return value === null
        ? faultOf(failed("the judge's kept reply holds no verdict"), ended.use)
        : { kind: "verdict", value, reply, use: ended.use };
    },
    async chat(messages, options): Promise<JudgeReply> {
      const { maxTokens } = options;
      const question: Question = {
        key: keyOf("chat", backend.model, messages, maxTokens),
        messages,
        maxTokens,
        read: (text) => ({ value: null, reply: backend.redact(text) }),
      };
      const ended = await answer(question, options);
      if (ended.answer.kind !== "answer") return faultOf(ended.answer, ended.use);
      return { kind: "reply", text: ended.answer.reply.reply, use: ended.use };
    },
    ...(backend.readiness === undefined ? {} : { readiness: backend.readiness }),
    async dispose() {
      await backend.dispose?.();
      await cache?.close();
    },
  };
}

function verdictIn(text: string, mode: RewardMode, backend: ChatBackend): CachedReply | Fault {
  const value = parseJudgeReply(text, mode);
  // Read first: a key that is an ordinary word would take the verdict with it.
  const reply = backend.redact(text);
  if (value !== null) return { value, reply };
  const end = JSON.stringify(reply.slice(-EXCERPT).replace(/\s+/g, " "));
  return failed(`the judge's reply does not end with either of [[YES]] and [[NO]] alone: ${end}`);
}

function lateReason(ms: number, { requests, lastFault }: Meter): string {
  const late = `the judge gave no verdict within ${ms} ms (reward.judge.groupTimeoutMs)`;
  return lastFault === null ? late : `${late}; ${requests} requests were sent, and of the last one ${lastFault}`;
}

function keyOf(...parts: readonly unknown[]): string {
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
}

function failed(reason: string): Fault {
  return { kind: "failed", reason };
}

function faultOf(fault: Fault, use: JudgeUse): Extract<JudgeVerdict & JudgeReply, { kind: string }> {
  return fault.kind === "timedOut" ? { ...fault, use } : { ...fault, code: CODE, use };
}
