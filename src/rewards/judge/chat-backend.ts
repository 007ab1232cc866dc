/** What answers the judge's questions: a server, or a model on this machine. The prompt, the cache and the deadlines are the same over both. */
import type { Readiness } from "../../contracts/readiness.js";
import type { ChatMessage } from "../../contracts/task.js";

/** Counts what one question costs while it is being answered. */
export class Meter {
  requests = 0;
  promptTokens: number | null = null;
  completionTokens: number | null = null;
  /** What went wrong with the last request that failed. */
  lastFault: string | null = null;

  /** Adds the tokens of an answered request; null where the server does not count them. */
  add(prompt: number | null, completion: number | null): void {
    if (prompt !== null) this.promptTokens = (this.promptTokens ?? 0) + prompt;
    if (completion !== null) this.completionTokens = (this.completionTokens ?? 0) + completion;
  }
}

export interface CompletionOptions {
  /** Ends the work, on every path within moments. */
  readonly signal: AbortSignal;
  /** Most tokens of the reply; null leaves it to the backend. */
  readonly maxTokens: number | null;
  readonly meter: Meter;
}

export type Completion =
  | {
      readonly kind: "text";
      readonly text: string;
      /** The reply was cut at its greatest length. */
      readonly cut: boolean;
    }
  | { readonly kind: "timedOut"; readonly afterMs: number; readonly reason: string }
  | { readonly kind: "failed"; readonly reason: string };

/** Answers a conversation at temperature 0. Faults are completions, never rejections. */
export interface ChatBackend {
  readonly kind: string;
  /** Names what answers, in the keys of the cache: a model's name or the hash of its files. */
  readonly model: string;
  complete(messages: readonly ChatMessage[], options: CompletionOptions): Promise<Completion>;
  /** Takes secrets out of a text that is kept or shown. */
  redact(text: string): string;
  readonly readiness?: Readiness;
  dispose?(): Promise<void> | void;
}
