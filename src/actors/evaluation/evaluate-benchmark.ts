/**
 * Asks a policy the questions of a benchmark and scores its responses. Invariants: items are read as they are needed, a call's worth at
 * a time; each response is recorded once, whatever became of it (I1: a failure is no number); what a response is depends on the
 * policy, the item and its own seed alone, not on order, calls or what was done before (I12).
 */
import { lastValueFrom } from "rxjs";
import { counterKey } from "../../algorithms/random.js";
import type { Benchmark, BenchmarkItem, BenchmarkRow, BenchmarkScore } from "../../contracts/benchmark.js";
import type { EvaluatedResponse, ResponseOutcome } from "../../contracts/evaluated-response.js";
import type { Judge } from "../../contracts/judge.js";
import type { Answer, Answers, Responder } from "../../contracts/responder.js";
import type { Json } from "../../contracts/task.js";
import { contentHash } from "../../data/canonical.js";
import { WeirError } from "../../errors.js";
import { BoundedQueue } from "../../streams/bounded-queue.js";
import { withDeadline } from "../../streams/deadline.js";
import { runWorkers } from "../../streams/workers.js";
import { realTime, type Timers } from "../../system/time.js";
import { whenReady } from "../../system/when-ready.js";

export interface BenchmarkRun {
  /** Name under which results are kept. */
  readonly name: string;
  readonly benchmark: Benchmark;
  /** Where rows come from, for messages. */
  readonly file: string;
  readonly rows: AsyncIterable<BenchmarkRow>;
  readonly responder: Responder;
  readonly judge: Judge | null;
  readonly requireThink: boolean;
  /** Responses per item. */
  readonly samples: number;
  readonly seed: number;
  /** Items at most, the first in file order; null takes all. */
  readonly limit: number | null;
  /** The same per length bucket; `bucketOf` names the bucket of a length. */
  readonly perBucket: number | null;
  readonly bucketOf: (tokens: number | null) => string;
  /** What became of a sample before; null where it has to be drawn. */
  readonly known: (item: string, sample: number) => ResponseOutcome["kind"] | null;
  /** That sample with its text. */
  readonly stored: (item: string, sample: number) => EvaluatedResponse | null;
  /** Whether something known is to be tried again: a missing response is drawn, a missing score is computed. */
  readonly retryFailed: boolean;
  readonly record: (response: EvaluatedResponse) => void;
  /** Deadline of one score, ms. */
  readonly scoreTimeoutMs: number;
  readonly scoreConcurrency: number;
  readonly timers?: Timers;
  /** Hears of a judge that is away and of its return. */
  readonly onWait?: (reason: string | null) => void;
}

/** An item with the samples that are still to be drawn or scored. */
interface Work {
  readonly item: BenchmarkItem;
  readonly row: number;
  readonly asked: string;
  readonly questionTokens: number | null;
  readonly draw: readonly number[];
  readonly rescore: readonly EvaluatedResponse[];
}

/** Errors: WEIR_E_DATA for a file without rows or an id that occurs twice, and of the benchmark's reader; those of the responder. */
export async function evaluateBenchmark(run: BenchmarkRun, signal: AbortSignal): Promise<void> {
  assertJudge(run.name, run.benchmark, run.judge);
  const { questionsPerCall, callsInFlight } = run.responder;
  const works = new WorkSource(run);
  const lanes = Array.from({ length: callsInFlight }, async () => {
    for (;;) {
      signal.throwIfAborted();
      const call = await works.take(questionsPerCall);
      if (call.length === 0) return;
      await answerAndScore(run, call, signal);
    }
  });
  await Promise.all(lanes).catch(async (error) => {
    works.end();
    // The others end by themselves: they find no more work, and what they drew is recorded.
    await Promise.allSettled(lanes);
    throw error;
  });
}

/** Errors: WEIR_E_ACTOR_MISSING where a benchmark cannot do without a judge and there is none. */
export function assertJudge(name: string, { needsJudge }: Benchmark, judge: Judge | null): void {
  if (needsJudge !== true || judge !== null) return;
  throw new WeirError(
    "WEIR_E_ACTOR_MISSING",
    `the benchmark "${name}" is scored by a judge and none is configured; set reward.judge.url and reward.judge.model, or name a judge part`,
    { benchmark: name },
  );
}

/** Items of the file in order, to whoever asks next. */
class WorkSource {
  private readonly iterator: AsyncIterator<Work>;
  private turn: Promise<unknown> = Promise.resolve();
  private ended = false;

  constructor(run: BenchmarkRun) {
    this.iterator = itemsToDo(run)[Symbol.asyncIterator]();
  }

  /** Up to `count` items; none at the end. */
  take(count: number): Promise<Work[]> {
    const taken = this.turn.then(async () => {
      const works: Work[] = [];
      while (works.length < count && !this.ended) {
        const next = await this.iterator.next();
        if (next.done) this.ended = true;
        else works.push(next.value);
      }
      return works;
    });
    this.turn = taken.catch(() => undefined);
    return taken;
  }

  end(): void {
    this.ended = true;
  }
}

async function* itemsToDo(run: BenchmarkRun): AsyncGenerator<Work> {
  const { name, benchmark, file, limit, perBucket, samples, known, retryFailed } = run;
  const ids = new Set<string>();
  const inBucket = new Map<string, number>();
  let row = -1;
  for await (const record of run.rows) {
    if (limit !== null && ids.size >= limit) return;
    row++;
    const item = readItem(benchmark, record, row, file);
    if (ids.has(item.id))
      throw new WeirError(
        "WEIR_E_DATA",
        `${file}, row ${row}: the id "${item.id}" occurs a second time in "${name}"; ids must be unique, or left out`,
        { file, row, id: item.id },
      );
    ids.add(item.id);
    const questionTokens = run.responder.measure(item.messages);
    if (perBucket !== null) {
      const bucket = run.bucketOf(questionTokens);
      const before = inBucket.get(bucket) ?? 0;
      if (before >= perBucket) continue;
      inBucket.set(bucket, before + 1);
    }
    const asked = contentHash(item.messages as unknown as Json).slice(0, HASH_DIGITS);
    const draw: number[] = [];
    const rescore: EvaluatedResponse[] = [];
    for (let sample = 0; sample < samples; sample++) {
      const before = known(item.id, sample);
      const there = retryFailed && before === "unscored" ? run.stored(item.id, sample) : null;
      if (there !== null) rescore.push(there);
      else if (before === null || (retryFailed && before === "unanswered")) draw.push(sample);
    }
    if (draw.length > 0 || rescore.length > 0) yield { item, row, asked, questionTokens, draw, rescore };
  }
  if (row < 0) throw new WeirError("WEIR_E_DATA", `${file}: expected at least one row, it holds none`, { file });
}

const HASH_DIGITS = 16;

/** Messages of a reader name the row; the file is known here. */
function readItem(benchmark: Benchmark, record: BenchmarkRow, row: number, file: string): BenchmarkItem {
  try {
    return benchmark.item(record, row);
  } catch (error) {
    if (!WeirError.isInstance(error) || error.code !== "WEIR_E_DATA") throw error;
    const reason = error.message.slice(error.code.length + 2);
    throw new WeirError("WEIR_E_DATA", `${file}: ${reason}`, { ...error.details, file }, { cause: error });
  }
}

/** The seed of a sample: the same whatever else is asked. */
export function sampleSeed(seed: number, benchmark: string, item: string, sample: number): number {
  return counterKey(seed, "benchmark", benchmark, item, sample);
}

async function answerAndScore(run: BenchmarkRun, call: readonly Work[], signal: AbortSignal): Promise<void> {
  const seedOf = ({ item }: Work, sample: number) => sampleSeed(run.seed, run.name, item.id, sample);
  const toDraw = call.filter(({ draw }) => draw.length > 0);
  const questions = toDraw.map((work) => ({
    id: `${run.name}/${work.item.id}`,
    messages: work.item.messages,
    seeds: work.draw.map((sample) => seedOf(work, sample)),
  }));
  const replies = questions.length === 0 ? [] : await run.responder.respond(questions, { signal });
  const drawn = toDraw.flatMap((work, i) =>
    work.draw.map((sample, g) => responseOf(run, work, sample, seedOf(work, sample), replies[i], g)),
  );
  const again = call.flatMap((work) => work.rescore.map((response) => ({ work, response })));
  const jobs = new BoundedQueue<Unscored>("benchmark scores", Math.max(1, drawn.length + again.length));
  for (const job of [...drawn, ...again]) await jobs.push(job);
  jobs.close();
  const score = async ({ work, response }: Unscored) => {
    run.record(response.response === null ? response : await scored(run, work.item, response, signal));
  };
  await lastValueFrom(runWorkers(jobs, run.scoreConcurrency, score), { defaultValue: undefined });
}

interface Unscored {
  readonly work: Work;
  readonly response: EvaluatedResponse;
}

/** A response that is not scored yet. */
function responseOf(
  { name }: BenchmarkRun,
  work: Work,
  sample: number,
  seed: number,
  reply: Answers | undefined,
  g: number,
): Unscored {
  const { item, row, asked } = work;
  const missing = { kind: "unanswered", code: "WEIR_E_PART", reason: "the policy gave no response" } as const;
  const answer: Answer = reply?.answers[g] ?? missing;
  const answered = answer.kind === "answered";
  const response: EvaluatedResponse = {
    ...{ benchmark: name, item: item.id, row, source: item.source, asked, sample, seed },
    questionTokens: reply?.questionTokens ?? work.questionTokens,
    promptTokens: reply?.promptTokens ?? null,
    response: answered ? answer.text : null,
    responseTokens: answered ? answer.tokens : null,
    finish: answered ? answer.finish : null,
    outcome: answered ? NOT_SCORED : answer,
  };
  return { work, response };
}

const NOT_SCORED: ResponseOutcome = { kind: "unscored", code: "WEIR_E_STATE", reason: "it has not been scored" };

async function scored(
  run: BenchmarkRun,
  item: BenchmarkItem,
  response: EvaluatedResponse,
  signal: AbortSignal,
): Promise<EvaluatedResponse> {
  const { benchmark, judge, requireThink, scoreTimeoutMs, timers = realTime } = run;
  if (judge?.readiness) await whenReady(judge.readiness, signal, run.onWait);
  const result = await withDeadline(
    (options) =>
      benchmark.score(item, response.response ?? "", { ...options, judge, requireThink, signal: options.signal }),
    scoreTimeoutMs,
    signal,
    timers,
  );
  if (result.kind === "value") return { ...response, outcome: result.value };
  if (result.kind === "timedOut")
    return { ...response, outcome: unscored("timedOut", `the scorer gave no score within ${scoreTimeoutMs} ms`) };
  const { error } = result;
  // A scorer whose answer is no score is broken for every response.
  if (WeirError.isInstance(error) && error.code === "WEIR_E_PART") throw error;
  const code = WeirError.isInstance(error) ? error.code : "error";
  return { ...response, outcome: unscored(code, error instanceof Error ? error.message : String(error)) };
}

const unscored = (code: string, reason: string): BenchmarkScore => ({ kind: "unscored", code, reason });
