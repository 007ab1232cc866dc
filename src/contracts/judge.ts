import type { Readiness } from "./readiness.js";
import type { ChatMessage } from "./task.js";

/** A question to the judge: are the two answers equivalent? The document is not sent. */
export interface JudgeQuery {
  readonly problem: string;
  readonly prediction: string;
  readonly gold: string;
}

/** What one question took. */
export interface JudgeUse {
  /** Requests sent, repetitions and hedges included; 0 where the answer came from the cache. */
  readonly requests: number;
  /** From the question to its end, waiting for a place included, s. */
  readonly seconds: number;
  /** Tokens as the server counts them, over all requests that were answered; null where it does not tell. */
  readonly promptTokens: number | null;
  readonly completionTokens: number | null;
  readonly cached: boolean;
}

type Fault =
  | { readonly kind: "timedOut"; readonly afterMs: number; readonly reason: string; readonly use?: JudgeUse }
  | { readonly kind: "failed"; readonly code: string; readonly reason: string; readonly use?: JudgeUse };

export type JudgeVerdict =
  | { readonly kind: "verdict"; readonly value: 0 | 1; readonly reply: string; readonly use?: JudgeUse }
  | Fault;

/** The answer to a conversation. */
export type JudgeReply = { readonly kind: "reply"; readonly text: string; readonly use?: JudgeUse } | Fault;

export interface JudgeOptions {
  readonly signal: AbortSignal;
  /** Names the questions that share one deadline (`reward.judge.groupTimeoutMs`), such as those of one rollout group. */
  readonly group?: string;
}

/** Decides equivalence (Eq. 13). Faults of the remote side are verdicts, never rejections. */
export interface Judge {
  readonly kind: string;
  readonly specificationVersion: 1;
  ask(query: JudgeQuery, options: JudgeOptions): Promise<JudgeVerdict>;
  /** The answer to messages of the caller's own at temperature 0: for scorers with a question of their own. */
  chat?(messages: readonly ChatMessage[], options: JudgeOptions & { readonly maxTokens: number }): Promise<JudgeReply>;
  /** Absent where it always takes questions. */
  readonly readiness?: Readiness;
  /** Makes ready what it needs, such as a model; called before anything else, and again after a loss. */
  connect?(options: { readonly signal: AbortSignal }): Promise<void>;
  dispose?(): Promise<void> | void;
}
