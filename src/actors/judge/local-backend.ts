/**
 * Conversations with a model in an engine process: greedy, through the folder's own chat template, those that wait together in one call of the
 * engine. Invariants: faults are completions, never rejections; a conversation whose caller has left is answered at once, and the engine
 * stops once all of a call have left; one that was in work when the process died is tried once more, and no further.
 */
import type { Engine } from "../../contracts/engine.js";
import type { SampledSequence } from "../../contracts/sampler.js";
import type { ChatMessage } from "../../contracts/task.js";
import { WeirError } from "../../errors.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import type { Tokenizer } from "../../model/io/tokenizer.js";
import type { ChatBackend, Completion, CompletionOptions, Meter } from "../../rewards/judge/chat-backend.js";
import { whenAborted } from "../../system/when-aborted.js";
import type { JudgeEngine } from "./judge-engine.js";

export interface LocalBackendOptions {
  /** Hash of the model's files. */
  readonly model: string;
  readonly tokenizer: Tokenizer;
  readonly engine: JudgeEngine;
  /** Conversations in one call of the engine at most. */
  readonly rows: number;
  /** Deadline of a call, ms. */
  readonly timeoutMs: number;
}

/** Longest reply where the caller sets no bound: a comparison of two answers takes one or two sentences. */
const REPLY_TOKENS = 512;
/** Calls in which a conversation may be when the process dies. */
const MAX_CRASHES = 2;
const CANCELLED: Completion = { kind: "failed", reason: "the question was cancelled" };

interface Talk {
  readonly ids: readonly number[];
  readonly maxTokens: number;
  readonly meter: Meter;
  crashes: number;
  /** Settles the conversation; false where it is settled already. */
  end(completion: Completion): boolean;
  isOver(): boolean;
}

export class LocalBackend implements ChatBackend {
  readonly kind = "local";
  readonly model: string;
  readonly readiness: JudgeEngine;
  private readonly waiting: Talk[] = [];
  private serving = false;
  private calls = 0;
  /** The call that is under way: its conversations, and what ends it. */
  private call: { readonly talks: readonly Talk[]; readonly controller: AbortController } | null = null;

  constructor(private readonly options: LocalBackendOptions) {
    this.model = options.model;
    this.readiness = options.engine;
  }

  /** Nothing here is secret. */
  redact(text: string): string {
    return text;
  }

  complete(messages: readonly ChatMessage[], { signal, maxTokens, meter }: CompletionOptions): Promise<Completion> {
    if (signal.aborted) return Promise.resolve(CANCELLED);
    let ids: readonly number[];
    try {
      ids = this.prompt(messages);
    } catch (error) {
      return Promise.resolve({ kind: "failed", reason: textOf(error) });
    }
    return new Promise((resolve) => {
      let over = false;
      const forget = whenAborted(signal, () => {
        talk.end(CANCELLED);
        this.left(talk);
      });
      const talk: Talk = {
        ids,
        maxTokens: maxTokens ?? REPLY_TOKENS,
        meter,
        crashes: 0,
        isOver: () => over,
        end: (completion) => {
          if (over) return false;
          over = true;
          forget();
          resolve(completion);
          return true;
        },
      };
      this.waiting.push(talk);
      if (!this.serving) void this.serve();
    });
  }

  /** Templates that know no system message get its text at the head of the user's. */
  private prompt(messages: readonly ChatMessage[]): readonly number[] {
    const { tokenizer } = this.options;
    const options = { addGenerationPrompt: true };
    const [first, second, ...rest] = messages;
    try {
      return tokenizer.applyChatTemplate(messages, options).ids;
    } catch (error) {
      if (first?.role !== "system" || second?.role !== "user") throw error;
      const content = `${first.content ?? ""}\n\n${second.content ?? ""}`;
      return tokenizer.applyChatTemplate([{ ...second, content }, ...rest], options).ids;
    }
  }

  private left(talk: Talk): void {
    const at = this.waiting.indexOf(talk);
    if (at >= 0) this.waiting.splice(at, 1);
    if (this.call?.talks.every((one) => one.isOver())) this.call.controller.abort();
  }

  private async serve(): Promise<void> {
    this.serving = true;
    // Questions of one rollout group come within one turn of the event loop.
    await new Promise(setImmediate);
    while (this.waiting.length > 0) {
      const { maxTokens } = this.waiting[0] as Talk;
      const talks = this.waiting.filter((talk) => talk.maxTokens === maxTokens).slice(0, this.options.rows);
      const controller = new AbortController();
      this.call = { talks, controller };
      await this.answer(talks, maxTokens, controller.signal);
      this.call = null;
    }
    this.serving = false;
  }

  /** Settles the talks, or leaves those that are to be tried again where they wait. */
  private async answer(talks: readonly Talk[], maxTokens: number, signal: AbortSignal): Promise<void> {
    const settle = (talk: Talk, completion: Completion) => {
      talk.end(completion);
      this.left(talk);
    };
    let engine: Engine | null = null;
    try {
      engine = await this.options.engine.engine(signal);
      if (engine === null) {
        for (const talk of talks) settle(talk, CANCELLED);
        return;
      }
      const { maxPositions } = engine.model;
      const fitting = talks.filter(({ ids }) => ids.length + maxTokens <= maxPositions);
      for (const talk of talks) if (!fitting.includes(talk)) settle(talk, tooLong(talk, maxPositions));
      if (fitting.length === 0) return;
      const sequences = await this.draw(engine, fitting, maxTokens, signal);
      for (const [at, talk] of fitting.entries()) settle(talk, this.reply(talk, sequences[at] as SampledSequence));
    } catch (error) {
      const code = WeirError.isInstance(error) ? error.code : "";
      // Otherwise the next call could go to the process that is gone.
      if (code === "WEIR_E_ENGINE_CRASHED") await engine?.exited;
      for (const talk of talks) {
        if (code === "WEIR_E_ENGINE_CRASHED" && ++talk.crashes < MAX_CRASHES) continue;
        settle(talk, this.fault(error, code));
      }
    }
  }

  private async draw(engine: Engine, talks: readonly Talk[], maxTokens: number, signal: AbortSignal) {
    const { tokenizer, timeoutMs } = this.options;
    const stopIds = withEndOfTurn(engine.model.stopIds, tokenizer.endOfTurn);
    for (const { meter } of talks) meter.requests++;
    const { sequences } = await engine.sampler.sample(
      {
        id: `judge-${++this.calls}`,
        prompts: talks.map(({ ids }) => ({ promptIds: ids, seeds: [0] })),
        params: { temperature: 0, topP: 1, topK: 0, maxTokens, stopIds },
        policy: null,
        purpose: "evaluation",
        deadlineMs: timeoutMs,
      },
      { signal },
    );
    return sequences.map((group) => group[0]);
  }

  private reply({ ids, meter }: Talk, { tokenIds, finish }: SampledSequence): Completion {
    meter.add(ids.length, tokenIds.length);
    const text = this.options.tokenizer.decode(tokenIds, { skipSpecialTokens: true });
    return { kind: "text", text, cut: finish === "length" };
  }

  private fault(error: unknown, code: string): Completion {
    const { timeoutMs } = this.options;
    if (code === "WEIR_E_ENGINE_TIMEOUT") {
      const reason = `the local judge gave no answer within ${timeoutMs} ms (reward.judge.timeoutMs)`;
      return { kind: "timedOut", afterMs: timeoutMs, reason };
    }
    return { kind: "failed", reason: textOf(error) };
  }
}

function tooLong({ ids, maxTokens }: Talk, maxPositions: number): Completion {
  return {
    kind: "failed",
    reason: `the question has ${ids.length} tokens and the reply may have ${maxTokens}, the judge's model has ${maxPositions} positions; lower reward.judge.maxPredictionChars or reward.judge.maxTokens`,
  };
}

const textOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
