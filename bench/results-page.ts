import { boundedMeanInterval, type MeanInterval, meanInterval, shareInterval } from "../src/algorithms/intervals.js";

/**
 * docs/results.md as text: one section per recipe, made from the reports of its runs. Pure; rewriting a section leaves
 * the others unchanged.
 */

export interface RunRecord {
  readonly seed: number;
  readonly engine: { readonly backend: string; readonly executor: string; readonly version: string };
  readonly model?: { readonly parameters: number; readonly trainedParameters?: number };
  readonly heldout: Record<
    string,
    Record<string, { readonly n: number; readonly correct: number; readonly unscored?: number }>
  >;
  readonly seconds: Record<string, number>;
  readonly steps: { readonly warmup: number; readonly rl: number };
  readonly memory?: { readonly enginePeakBytes: number | null; readonly controlPeakBytes: number };
  /** Seconds of the whole command, including data and start of the engine. */
  readonly wallSeconds?: number;
}

export interface Machine {
  readonly cores: number;
  readonly model: string;
}

const TITLE = "# Results\n";
export const ACCURACY =
  "Accuracy is the exact match of greedy answers to held-out tasks, in per cent: mean over seeds [95 % interval of the mean].";
export const INTERVALS = [
  "Intervals are Student's t over the seeds, for accuracies and gains on the logit scale, so that they stay within 0 to 100 and",
  "within −100 to 100 (`src/algorithms/intervals.ts`); where every seed has 0 or every seed 100 per cent, Wilson's of all tasks together.",
];

/** Scored and right answers of one evaluation. Throws where the run has no such evaluation. */
export function countsOf(run: RunRecord, stage: string, bucket: string): { correct: number; n: number } {
  const counts = run.heldout[stage]?.[bucket];
  if (!counts) throw new Error(`seed ${run.seed} has no result for ${stage}, ${bucket}`);
  return { correct: counts.correct, n: counts.n - (counts.unscored ?? 0) };
}

/** Held-out accuracy in per cent. Throws where the run has no such evaluation. */
export function accuracy(run: RunRecord, stage: string, bucket: string): number {
  const { correct, n } = countsOf(run, stage, bucket);
  return (100 * correct) / n;
}

export const written = ({ mean, low, high }: MeanInterval, digits: number, scale = 1) => {
  const text = (value: number) => (scale * value).toFixed(digits);
  return `${text(mean)} [${text(low)}, ${text(high)}]`;
};

/** `mean [low, high]` of values without bounds, with the 95 % t interval; a single value stands alone. */
export function spread(values: readonly number[], digits = 1): string {
  const [only] = values;
  if (values.length === 1 && only !== undefined) return only.toFixed(digits);
  return written(meanInterval(values), digits);
}

/** The same of differences of percentages, within −100 to 100. */
export function gainSpread(gains: readonly number[]): string {
  const [only] = gains;
  if (gains.length === 1 && only !== undefined) return only.toFixed(1);
  return written(boundedMeanInterval(gains, -100, 100), 1);
}

/** The same of accuracies, in per cent and within 0 to 100. */
export function stageSpread(runs: readonly RunRecord[], stage: string, bucket: string): string {
  const [only] = runs;
  if (runs.length === 1 && only) return accuracy(only, stage, bucket).toFixed(1);
  return written(shareInterval(runs.map((run) => countsOf(run, stage, bucket))), 1, 100);
}

/** A page in which the section of this heading is replaced, or added at the end; a section begins with its `## ` line. */
export function withSection(page: string, section: string): string {
  const heading = section.slice(0, section.indexOf("\n") + 1);
  const before = page.trim() === "" ? TITLE : page;
  const start = before.startsWith(heading) ? 0 : before.indexOf(`\n${heading}`) + 1;
  if (start === 0 && !before.startsWith(heading)) return `${before.trimEnd()}\n\n${section}`;
  const next = before.indexOf("\n## ", start);
  return `${before.slice(0, start)}${section}${next < 0 ? "" : before.slice(next)}`;
}

export const row = (...cells: readonly string[]) => `| ${cells.join(" | ")} |`;
export const head = (...cells: readonly string[]) => [row(...cells), `|${"---|".repeat(cells.length)}`];

export function bucketsOf(runs: readonly RunRecord[]): { first: RunRecord; buckets: string[]; longest: string } {
  const [first] = runs;
  if (!first) throw new Error("no run to write about");
  const buckets = Object.keys(first.heldout.sft ?? {});
  return { first, buckets, longest: buckets.at(-1) as string };
}

const gainOf = (run: RunRecord, bucket: string) => accuracy(run, "rl", bucket) - accuracy(run, "sft", bucket);

/** The section of the small demo: RL runs, and runs with as many more SFT steps instead, same seeds in the same order. */
export function smallSection(runs: readonly RunRecord[], controls: readonly RunRecord[], machine: Machine): string {
  const { first, buckets, longest } = bucketsOf(runs);
  const control = (i: number) => controls[i] as RunRecord;
  const controlGain = (bucket: string) =>
    runs.map((run, i) => accuracy(control(i), "sft", bucket) - accuracy(run, "sft", bucket));
  const bySeed = runs.map(
    (run, i) =>
      `seed ${run.seed}: ${accuracy(run, "sft", longest).toFixed(1)} → ${accuracy(run, "rl", longest).toFixed(1)} (more SFT: ${accuracy(control(i), "sft", longest).toFixed(1)})`,
  );
  return [
    "## The demo",
    "",
    `\`npm run results -- --seeds ${runs.map((run) => run.seed).join(",")}\` wrote this page: the demo with RL, and the same with as many more SFT steps instead of RL,`,
    `once per seed, on the ${first.engine.backend} backend (${first.engine.version}, ${first.engine.executor} executor), ${machine.cores} cores (${machine.model}).`,
    ACCURACY,
    ...INTERVALS,
    `Held-out tasks are about entities that no training task names; ${first.heldout.sft?.[longest]?.n} tasks per length bucket.`,
    "",
    ...head("prompt tokens", "before", "after SFT", "after RL", "gain by RL", "SFT instead of RL", "gain by more SFT"),
    ...buckets.map((bucket) =>
      row(
        bucket,
        ...["before", "sft", "rl"].map((stage) => stageSpread(runs, stage, bucket)),
        gainSpread(runs.map((run) => gainOf(run, bucket))),
        stageSpread(controls, "sft", bucket),
        gainSpread(controlGain(bucket)),
      ),
    ),
    "",
    `Longest bucket, by seed: ${bySeed.join("; ")}.`,
    "",
    `Seconds of the whole run (evaluations, warm-up, RL, checkpoints): ${spread(runs.map((run) => run.seconds.total ?? 0))}; ${first.steps.warmup} warm-up steps and ${first.steps.rl} RL steps.`,
    "",
    "Of the warm-up's demonstrations 70 % answer at once and 30 % quote the evidence first, all on the shortest documents.",
    "RL first learns that quoting is rewarded, then to quote at growing lengths; more SFT of the same kind does not improve accuracy.",
    "Phased RL is not compared with a single stage here.",
    "",
    "The shipped warm-start policy (`assets/warmstart`) is made by `weir warmstart assets/warmstart --seed 1` (2,800 steps of 8 rows, 7.9 M tokens).",
    "",
  ].join("\n");
}

const gib = (bytes: number | null | undefined) =>
  typeof bytes === "number" ? (bytes / 2 ** 30).toFixed(1) : "not known";
const secondsOf = (run: RunRecord) => run.wallSeconds ?? run.seconds.total ?? 0;
const secondsIn = (runs: readonly RunRecord[], activity: string) =>
  spread(
    runs.map((run) =>
      Object.entries(run.seconds).reduce((sum, [name, value]) => sum + (name.startsWith(activity) ? value : 0), 0),
    ),
    0,
  );

/** What a recipe of the pretrained model trains, by its name. */
export const SMOLLM2_ARMS: Readonly<Record<string, string>> = { smollm2: "adapters", "smollm2-full": "all weights" };

/** The runs of one recipe. */
export interface Arm {
  readonly recipe: string;
  readonly runs: readonly RunRecord[];
}

/** Recipes compared with each other, where more than one was run. */
function armTable(arms: readonly Arm[], longest: string): string[] {
  if (arms.length < 2) return [];
  const named = (arm: Arm) => SMOLLM2_ARMS[arm.recipe] ?? arm.recipe;
  return [
    `Adapters and all weights compared in the longest bucket (${longest} tokens); seconds say little where runs shared the machine:`,
    "",
    ...head("trained", "recipe", "seeds", "after SFT", "after RL", "gain by RL", "seconds", "trained parameters"),
    ...arms.map((arm) =>
      row(
        named(arm),
        `\`${arm.recipe}\``,
        arm.runs.map(({ seed }) => seed).join(", "),
        ...["sft", "rl"].map((stage) => stageSpread(arm.runs, stage, longest)),
        gainSpread(arm.runs.map((run) => gainOf(run, longest))),
        spread(arm.runs.map(secondsOf), 0),
        `${((arm.runs[0]?.model?.trainedParameters ?? arm.runs[0]?.model?.parameters ?? 0) / 1e6).toFixed(1)} M`,
      ),
    ),
    "",
  ];
}

/** The section of the pretrained model: the default recipe's runs first, then those of others to compare it with. */
export function smollm2Section(arms: readonly [Arm, ...Arm[]], machine: Machine): string {
  const [{ recipe, runs }] = arms;
  const { first, buckets, longest } = bucketsOf(runs);
  const size = first.model ? ` (${(first.model.parameters / 1e6).toFixed(1)} M parameters)` : "";
  const products = first.engine.executor === "compiled" ? ", large matrix products in bfloat16" : "";
  return [
    "## A pretrained model",
    "",
    `\`npm run results -- --recipe ${recipe} --seeds ${runs.map((run) => run.seed).join(",")}\` wrote this section: \`weir demo --recipe ${recipe}\` once per seed. SmolLM2-135M-Instruct${size}`,
    `in its own chat template, ${SMOLLM2_ARMS[recipe] ?? recipe} trained, on the ${first.engine.backend} backend (${first.engine.version}, ${first.engine.executor} executor${products}), ${machine.cores} cores (${machine.model}).`,
    ACCURACY,
    ...INTERVALS,
    `Held-out tasks are about entities that no training task names; ${first.heldout.sft?.[longest]?.n} tasks per length bucket.`,
    "",
    ...head("prompt tokens", "before", "after SFT", "after RL", "gain by RL"),
    ...buckets.map((bucket) =>
      row(
        bucket,
        ...["before", "sft", "rl"].map((stage) => stageSpread(runs, stage, bucket)),
        gainSpread(runs.map((run) => gainOf(run, bucket))),
      ),
    ),
    "",
    `The longest bucket (${longest} tokens) by seed:`,
    "",
    ...head("seed", "before", "after SFT", "after RL", "gain by RL", "seconds", "peak memory of the engine, GiB"),
    ...runs.map((run) =>
      row(
        String(run.seed),
        ...["before", "sft", "rl"].map((stage) => accuracy(run, stage, longest).toFixed(1)),
        gainOf(run, longest).toFixed(1),
        secondsOf(run).toFixed(0),
        gib(run.memory?.enginePeakBytes),
      ),
    ),
    "",
    `Seconds of the whole command: ${spread(runs.map(secondsOf), 0)}; of these ${secondsIn(runs, "warmup")} in ${first.steps.warmup} warm-up steps,`,
    `${secondsIn(runs, "training")} in ${first.steps.rl} RL steps, ${secondsIn(runs, "evaluation/")} in the three evaluations.`,
    "",
    "Of the warm-up's demonstrations 70 % answer at once and 30 % quote the evidence first, on prompts of up to 200 tokens.",
    "",
    ...armTable(arms, longest),
  ].join("\n");
}
