/**
 * `weir warmstart`: trains the demo's base model from nothing on generated documents, on weir's own engine.
 * The folder is written every few steps with its optimiser, so a run that was cut off goes on with the same command.
 */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import type { Engine } from "../../contracts/engine.js";
import type { SftRow } from "../../contracts/trainer.js";
import { Draws } from "../../data/synthetic/draws.js";
import {
  planBatches,
  WARMSTART_PLAN,
  WarmstartCorpus,
  type WarmstartPlan,
  warmstartRate,
} from "../../data/synthetic/index.js";
import { WeirError } from "../../errors.js";
import { isMissing } from "../../model/io/json.js";
import { loadTokenizer, type Tokenizer } from "../../model/io/tokenizer.js";
import { wholeNumber } from "../arguments.js";
import { type ExitCode, note, progress } from "../output.js";
import { writeUntrainedPolicy } from "../warmstart-folder.js";
import { withEngine } from "../with-engine.js";

export interface WarmstartCommandOptions {
  readonly seed: string;
  readonly backend?: string;
  readonly steps?: string;
}

const STAGES = WARMSTART_PLAN.rounds.flatMap((round) => round.stages);
const STATE_FILE = "warmstart-state.json";
/** Some minutes of work at most are lost when the command is cut off. */
const SAVE_EVERY_STEPS = 100;
const MICRO_BATCH_TOKENS = 16_384;

interface WarmstartState {
  readonly seed: number;
  readonly step: number;
  readonly tokens: number;
}

export async function warmstartCommand(directory: string, options: WarmstartCommandOptions): Promise<ExitCode> {
  const seed = wholeNumber("seed", options.seed);
  const work = `${directory}.work`;
  let state = await readState(work);
  if (state === null) {
    await writeUntrainedPolicy(work, seed);
    state = { seed, step: 0, tokens: 0 };
    await writeState(work, state);
  } else if (state.seed !== seed) {
    throw new WeirError("WEIR_E_USAGE", `${work} was begun with --seed ${state.seed}; give the same, or remove it`);
  }
  const tokenizer = await loadTokenizer(work);
  const corpus = new TokenisedCorpus(tokenizer, seed);
  const plan = corpus.steps(WARMSTART_PLAN);
  const steps = Math.min(plan.length, options.steps ? wholeNumber("steps", options.steps) : plan.length);
  const begun = state;
  await withEngine(work, options.backend, async (engine, signal) => {
    await train(engine, { plan, steps, begun, corpus, work, signal });
  });
  if (steps < plan.length) {
    note(`stopped after ${steps} of ${plan.length} steps; the same command without --steps goes on`);
    return 0;
  }
  for (const name of [STATE_FILE, "engine-state.json", "optimizer.safetensors"])
    await rm(join(work, name), { force: true });
  await rename(work, directory);
  note(`the base model is in ${directory}`);
  return 0;
}

interface TrainInput {
  readonly plan: readonly WarmstartStep[];
  readonly steps: number;
  readonly begun: WarmstartState;
  readonly corpus: TokenisedCorpus;
  readonly work: string;
  readonly signal: AbortSignal;
}

async function train(engine: Engine, input: TrainInput): Promise<void> {
  const { signal, begun } = input;
  const line = progress();
  const started = performance.now();
  let tokens = begun.tokens;
  let loss = Number.NaN;
  for (let step = begun.step; step < input.steps; step++) {
    const { rows: keys, learningRate } = input.plan[step] as WarmstartStep;
    const rows = keys.map((key) => input.corpus.row(key));
    const metrics = await engine.trainer.sftForwardBackward(
      { rows, aggregation: "token-mean", microBatchTokens: MICRO_BATCH_TOKENS },
      { signal },
    );
    await engine.trainer.optimStep(
      {
        learningRate,
        betas: WARMSTART_PLAN.betas,
        epsilon: 1e-8,
        weightDecay: WARMSTART_PLAN.weightDecay,
        decayScope: "matrices",
        maxGradNorm: 1,
      },
      { signal },
    );
    tokens += rows.reduce((sum, row) => sum + row.tokenIds.length, 0);
    loss = Number.isNaN(loss) ? metrics.loss : 0.95 * loss + 0.05 * metrics.loss;
    const seconds = (performance.now() - started) / 1000;
    const rate = Math.round((tokens - begun.tokens) / seconds);
    line.update(
      `step ${step + 1}/${input.plan.length}  loss ${loss.toFixed(4)}  ${(tokens / 1e6).toFixed(2)} M tokens  ${rate} tokens/s`,
    );
    if ((step + 1) % SAVE_EVERY_STEPS === 0 || step + 1 === input.steps) {
      await engine.trainer.saveState(input.work, { signal });
      await writeState(input.work, { seed: begun.seed, step: step + 1, tokens });
    }
  }
  line.done(`trained on ${(tokens / 1e6).toFixed(2)} M tokens, last loss ${loss.toFixed(4)}`);
}

interface WarmstartStep {
  readonly rows: readonly SftRowKey[];
  readonly learningRate: number;
}

interface SftRowKey {
  readonly stage: number;
  readonly row: number;
}

/** The plan's rows as token ids. Words repeat, so each distinct piece of text is encoded once. */
class TokenisedCorpus {
  private readonly corpus = new WarmstartCorpus();
  private readonly known = new Map<string, readonly number[]>();
  private readonly tokenizer: Tokenizer;
  private readonly seed: number;

  constructor(tokenizer: Tokenizer, seed: number) {
    this.tokenizer = tokenizer;
    this.seed = seed;
  }

  /** The steps of the plan in order: each with its rows and its learning rate. */
  steps(plan: WarmstartPlan): WarmstartStep[] {
    let stage = -1;
    return plan.rounds.flatMap((round) => {
      const batches = round.stages.flatMap((own) => {
        stage += 1;
        const at = stage;
        const lengthOf = (row: number): number => this.row({ stage: at, row }).tokenIds.length;
        const shuffle = <T>(items: readonly T[], chunk: number): T[] =>
          new Draws(this.seed, "warmstart-batches", at, chunk).shuffle(items);
        return planBatches(own, plan.batchRows, lengthOf, shuffle).map((rows) =>
          rows.map((row) => ({ stage: at, row })),
        );
      });
      return batches.map((rows, step) => ({ rows, learningRate: warmstartRate(plan, round, step, batches.length) }));
    });
  }

  row(key: SftRowKey): SftRow {
    const stage = STAGES[key.stage];
    if (!stage) throw new WeirError("WEIR_E_DATA", `the plan has no stage ${key.stage}`);
    const tokenIds: number[] = [];
    const lossMask: number[] = [];
    const options = { ...stage.corpus, seed: new Draws(this.seed, "warmstart-stage", key.stage).integer(0, 2 ** 30) };
    for (const { text, weight } of this.corpus.row(key.row, options)) {
      for (const word of text.split(/(?=[ <])|(?<!\n)(?=\n)/)) {
        for (const id of this.encode(word)) {
          tokenIds.push(id);
          lossMask.push(weight);
        }
      }
    }
    return { tokenIds, lossMask };
  }

  private encode(word: string): readonly number[] {
    let ids = this.known.get(word);
    if (!ids) {
      ids = this.tokenizer.encode(word, { addSpecialTokens: false });
      this.known.set(word, ids);
    }
    return ids;
  }
}

async function readState(work: string): Promise<WarmstartState | null> {
  try {
    return JSON.parse(await readFile(join(work, STATE_FILE), "utf8")) as WarmstartState;
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

async function writeState(work: string, state: WarmstartState): Promise<void> {
  await writeFile(join(work, STATE_FILE), `${JSON.stringify(state)}\n`);
}

export function register(program: Command): void {
  program
    .command("warmstart")
    .description("train the demo's small base model from nothing (resumes when cut off)")
    .argument("<dir>", "folder to write; must not exist yet")
    .option("--seed <n>", "seed of weights and corpus (assets/warmstart has 1)", "1")
    .option("--steps <n>", "stop after this many steps in all")
    .option("--backend <name>", "auto, tensorflow, wasm or cpu", "auto")
    .action(async (directory: string, options: WarmstartCommandOptions) => {
      process.exitCode = await warmstartCommand(directory, options);
    });
}
