/**
 * `weir bench length`: time and memory of one optimiser step as the prompt doubles. Each length has an engine process of
 * its own, whose peak memory is therefore that length's; the second step is the one reported, the first compiles.
 */
import type { EngineOptions } from "../../contracts/engine.js";
import type { PolicyBatch } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import { wholeNumber } from "../arguments.js";
import { type ExitCode, exitCodeOf, note, progress } from "../output.js";
import { withEngineOptions } from "../with-engine.js";
import { withBenchModel } from "./model.js";
import { commit, RL_OPTIMISER } from "./optimiser.js";
import { type EngineChoice, engineOptions } from "./options.js";
import { randomIds } from "./random-ids.js";
import { policyBatch } from "./rl-step.js";
import { gigabytes, rounded } from "./statistics.js";

export interface LengthOptions extends EngineChoice {
  readonly model?: string;
  readonly from: string;
  readonly to: string;
  readonly group: string;
  readonly completion: string;
  readonly microBatchTokens?: string;
}

export interface LengthRow {
  /** Tokens of the prompt. */
  readonly length: number;
  readonly seconds: number;
  readonly max_rss_gb: number;
  /** Peak that the memory plan of this pass gives. */
  readonly planned_gb: number;
  readonly tok_per_s: number;
  readonly first_s: number;
  readonly micro_batches: number;
  readonly executor: string;
}

export interface LengthResult {
  readonly rows: readonly LengthRow[];
  readonly group: number;
  readonly completion: number;
  readonly memory_gib: number | null;
  /** The first length that could not be done, and why; the ones after it are not tried. */
  readonly failed: { readonly length: number; readonly reason: string } | null;
}

/** from, 2·from, 4·from … up to `to`. Errors: WEIR_E_USAGE where there is none. */
export function doublings(from: number, to: number): number[] {
  const lengths: number[] = [];
  for (let length = from; length <= to; length *= 2) lengths.push(length);
  if (lengths.length === 0)
    throw new WeirError("WEIR_E_USAGE", `--to: expected at least --from ${from}, got ${to}`, { from, to });
  return lengths;
}

interface LengthWork {
  readonly length: number;
  readonly group: number;
  readonly completion: number;
  /** Null: the prompt and its whole group in one pass. */
  readonly microBatchTokens: number | null;
}

/** One prompt and its group, with alternating advantages and the log-probs of a uniform policy. */
function lengthBatch(vocabulary: number, step: number, work: LengthWork): PolicyBatch {
  const uniform = -Math.log(vocabulary);
  const completions = Array.from({ length: work.group }, (_, g) => {
    const tokenIds = randomIds(vocabulary, work.completion, "bench-completion", step, work.length, g);
    const advantage = g % 2 === 0 ? 1 : -1;
    return {
      tokenIds,
      advantages: tokenIds.map(() => advantage),
      oldLogprobs: tokenIds.map(() => uniform),
      refLogprobs: null,
    };
  });
  const promptIds = randomIds(vocabulary, work.length, "bench-prompt", step, work.length);
  // Lengths are rounded up where passes are planned, by a quarter at most.
  const whole = Math.ceil(1.25 * (work.length + work.group * work.completion));
  return policyBatch([{ promptIds, completions }], work.microBatchTokens ?? whole);
}

function measureLength(modelDir: string, options: EngineOptions, work: LengthWork): Promise<LengthRow> {
  return withEngineOptions({ modelDir, options }, async (engine, signal) => {
    const step = async (index: number) => {
      const batch = lengthBatch(engine.model.vocabSize, index, work);
      const started = performance.now();
      const { microBatches } = await engine.trainer.forwardBackward(batch, { signal });
      await commit(engine.trainer, RL_OPTIMISER, signal);
      return { seconds: (performance.now() - started) / 1000, microBatches };
    };
    const first = await step(0);
    const second = await step(1);
    const { peakRssBytes } = await engine.stats({ signal });
    const rowTokens = work.group * work.completion;
    const plan = await engine.planMemory({ prefixTokens: work.length, rowTokens, targets: rowTokens }, { signal });
    return {
      length: work.length,
      seconds: rounded(second.seconds),
      max_rss_gb: gigabytes(peakRssBytes),
      planned_gb: gigabytes(plan.peakBytes),
      tok_per_s: rounded((work.length + work.group * work.completion) / second.seconds),
      first_s: rounded(first.seconds),
      micro_batches: second.microBatches,
      executor: engine.info.executor,
    };
  });
}

/** Rows up to the first length that fails; the exit code is then that of its error. */
export async function benchLength(options: LengthOptions): Promise<{ result: LengthResult; exitCode: ExitCode }> {
  const lengths = doublings(wholeNumber("from", options.from, 1), wholeNumber("to", options.to, 1));
  const group = wholeNumber("group", options.group, 1);
  const completion = wholeNumber("completion", options.completion, 1);
  const microBatchTokens =
    options.microBatchTokens === undefined ? null : wholeNumber("micro-batch-tokens", options.microBatchTokens, 1);
  const settings = engineOptions(options);
  return withBenchModel(options.model, async ({ directory }) => {
    const line = progress();
    const rows: LengthRow[] = [];
    const done = (failed: LengthResult["failed"], exitCode: ExitCode) => {
      line.done();
      return { result: { rows, group, completion, memory_gib: settings.memoryGiB, failed }, exitCode };
    };
    for (const length of lengths) {
      line.update(`prompt of ${length} tokens`);
      try {
        rows.push(await measureLength(directory, settings, { length, group, completion, microBatchTokens }));
      } catch (error) {
        if (!WeirError.isInstance(error)) throw error;
        note(`a prompt of ${length} tokens: ${error.message}`);
        return done({ length, reason: error.message }, exitCodeOf(error));
      }
    }
    return done(null, 0);
  });
}
