import type { ChatMessage } from "./task.js";

/** A conversation to be answered once per seed. */
export interface Question {
  /** Names it in messages. */
  readonly id: string;
  readonly messages: readonly ChatMessage[];
  /** 32-bit keys, one per response (I12). */
  readonly seeds: readonly number[];
}

export type Answer =
  | {
      readonly kind: "answered";
      /** Without the token that ended it; a server's separate reasoning stands before `</think>`. */
      readonly text: string;
      /** Null where a server does not tell. */
      readonly tokens: number | null;
      readonly finish: "stop" | "length";
    }
  /** The policy gave no response: a time-out, a refusal, a prompt that cannot be made to fit. */
  | { readonly kind: "unanswered"; readonly code: string; readonly reason: string };

export interface Answers {
  /** Templated prompt before it was cut, tokens; null where they cannot be counted. */
  readonly questionTokens: number | null;
  /** What the policy was given. */
  readonly promptTokens: number | null;
  /** One per seed. */
  readonly answers: readonly Answer[];
}

/** A policy that answers questions: a model folder, a server, a run's sampler. */
export interface Responder {
  readonly kind: string;
  /** Questions that are best given in one call, and calls at the same time: one more than it works on, where it queues them. */
  readonly questionsPerCall: number;
  readonly callsInFlight: number;
  /** Tokens of the whole templated prompt; null where they cannot be counted before it is sent. */
  measure(messages: readonly ChatMessage[]): number | null;
  /**
   * Faults of single questions are answers. Errors: what ends an evaluation, such as WEIR_E_UNREACHABLE or an engine that is gone;
   * the reason of the signal.
   */
  respond(questions: readonly Question[], options: { readonly signal: AbortSignal }): Promise<readonly Answers[]>;
  dispose?(): Promise<void> | void;
}
