import type { Trace, TraceToken } from "../../src/contracts/trace.js";
import type { GroupMember, TracePart, TraceSummary } from "../protocol/records.js";

/** Whole traces, newest kept, bounded by count and bytes; and their forms for the wire. */

/** Traces kept whole: as many as the list shows. */
const MAX_TRACES = 1_000;
/** A thousand traces of 60,000-token prompts would be hundreds of megabytes; the control process must stay small. */
const MAX_BYTES = 64 << 20;
/** Rough size in memory of one token's record. */
const TOKEN_BYTES = 144;
/** Characters of a page of prompt text. */
const PROMPT_PAGE = 48_000;
/** Tokens of a page of token data: ten columns, well below the size of a message. */
const TOKEN_PAGE = 1_000;
/** Characters of the excerpts in the list; the question and the answer stand at the ends. */
const EXCERPT = 320;

export class TraceStore {
  private readonly traces = new Map<string, { readonly trace: Trace; readonly bytes: number }>();
  private bytes = 0;

  constructor(
    private readonly maxTraces = MAX_TRACES,
    private readonly maxBytes = MAX_BYTES,
  ) {}

  add(trace: Trace): void {
    const bytes = 2 * (trace.prompt.length + trace.completion.length) + trace.tokens.length * TOKEN_BYTES;
    this.remove(trace.id);
    this.traces.set(trace.id, { trace, bytes });
    this.bytes += bytes;
    for (const id of this.traces.keys()) {
      if (this.traces.size <= this.maxTraces && (this.bytes <= this.maxBytes || this.traces.size === 1)) break;
      this.remove(id);
    }
  }

  get(id: string): Trace | null {
    return this.traces.get(id)?.trace ?? null;
  }

  /** Newest last. */
  all(): readonly Trace[] {
    return [...this.traces.values()].map(({ trace }) => trace);
  }

  private remove(id: string): void {
    const known = this.traces.get(id);
    if (!known) return;
    this.traces.delete(id);
    this.bytes -= known.bytes;
  }
}

/** The trace as the list shows it. */
export function summarise(trace: Trace): TraceSummary {
  const { tokens } = trace;
  const mean = (values: readonly number[]) =>
    values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
  return {
    id: trace.id,
    groupId: trace.groupId,
    taskId: trace.taskId,
    source: trace.source,
    step: trace.step,
    phase: trace.phase,
    sampleIndex: trace.sampleIndex,
    carried: trace.carried,
    policyVersion: trace.policyVersion,
    outcome: trace.outcome.kind,
    reward: trace.reward,
    advantage: trace.advantage,
    promptTokens: trace.promptTokens,
    completionTokens: tokens.length,
    meanLogprob: mean(tokens.map(({ logprob }) => logprob)),
    meanEntropy: mean(tokens.flatMap(({ entropy }) => entropy ?? [])),
    finish: trace.finish,
    goldAnswer: trace.goldAnswer.slice(0, EXCERPT),
    promptExcerpt: trace.prompt.slice(-EXCERPT),
    excerpt: trace.completion.slice(-EXCERPT),
    time: trace.time,
  };
}

/** The trace as a member of its group. */
export const memberOf = ({ id, sampleIndex, outcome, reward, advantage }: Trace): GroupMember => ({
  id,
  sampleIndex,
  outcome: outcome.kind,
  reward,
  advantage,
});

/** The whole trace in pages, each made when it is asked for. */
export function* traceParts(trace: Trace, group: readonly GroupMember[]): Generator<TracePart, void, void> {
  const { prompt, tokens, ...head } = trace;
  yield { part: "head", trace: head, group: [...group] };
  for (let offset = 0; offset < prompt.length; offset += PROMPT_PAGE)
    yield { part: "prompt", offset, text: prompt.slice(offset, offset + PROMPT_PAGE) };
  for (let offset = 0; offset < tokens.length; offset += TOKEN_PAGE) {
    const page = tokens.slice(offset, offset + TOKEN_PAGE);
    yield {
      part: "tokens",
      offset,
      ids: page.map((token) => token.id),
      texts: page.map((token) => token.text),
      logprobs: page.map((token) => rounded(token.logprob)),
      entropies: page.flatMap(({ entropy }) => (entropy === null ? [] : rounded(entropy))),
      weights: column(page, "weight"),
      advantages: column(page, "advantage"),
      ratios: column(page, "ratio"),
      klOld: column(page, "klOld"),
      klRef: column(page, "klRef"),
      lossShares: column(page, "lossShare"),
    };
  }
}

type Measured = "weight" | "advantage" | "ratio" | "klOld" | "klRef" | "lossShare";

/** A value of each token; nothing where it is known of none. */
function column(page: readonly TraceToken[], name: Measured): (number | null)[] {
  if (page.every((token) => token[name] === null)) return [];
  return page.map(({ [name]: value }) => (value === null || !Number.isFinite(value) ? null : significant(value)));
}

/** The pages as items of a snapshot. */
export function* traceItems(trace: Trace, group: readonly GroupMember[]): Generator<string, void, void> {
  for (const part of traceParts(trace, group)) yield `{"seq":1,"data":${JSON.stringify(part)}}`;
}

/** Five decimals: more than a colour or a tooltip shows. */
const rounded = (value: number): number => Math.round(value * 1e5) / 1e5;
/** Five significant digits: a loss share of a long batch is far below the fifth decimal. */
const significant = (value: number): number => Number(value.toPrecision(5));
