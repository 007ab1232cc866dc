import { join } from "node:path";
import { createActor } from "xstate";
import { learningRateMultiplier } from "../../algorithms/schedules.js";
import type { Alert } from "../../contracts/alert.js";
import type { CurriculumSetup } from "../../contracts/curriculum.js";
import type { PolicyVersion } from "../../contracts/policy-version.js";
import type { Json } from "../../contracts/task.js";
import type { WeirError } from "../../errors.js";
import { withEndOfTurn } from "../../model/io/tokenizer/end-of-turn.js";
import type { MetricDraft } from "../../streams/telemetry/metrics.js";
import { klOfStep } from "../../streams/telemetry/step-kl.js";
import { curriculumMachine } from "../curriculum/machine.js";
import { evaluateHeldout, heldoutMetrics } from "../evaluation/evaluate.js";
import type { JudgedUpdate } from "../guard/guard.js";
import { RECORDED, recordedOrigins } from "../parts/part-origins.js";
import { culpritsOf, observationOf, tellAlarms, tellGuardState } from "./alarms.js";
import { writeExport } from "./export-model.js";
import { leftOutAlerts } from "./gold-check.js";
import { knobsAt, turnBack } from "./knobs.js";
import { nothingTrained, WARMUP_IDLE } from "./nothing-trained.js";
import { skipOr } from "./orders.js";
import { assertMayTrain, preflight, preflightFact } from "./preflight.js";
import { findingText } from "./preflight-findings.js";
import {
  addSeconds,
  cameFurther,
  evaluates,
  evaluationDue,
  freshProgress,
  PLAIN_STEP,
  type Progress,
  restoredProgress,
  STAGES,
} from "./progress.js";
import { runReport } from "./report.js";
import { changesOf, rolloutSampling, runRlStep, type StepResult } from "./rl-step.js";
import { runAlert } from "./run-alert.js";
import { benchmarkMetrics, evaluateBenchmarks } from "./run-benchmarks.js";
import { freezesReference, type RunContext } from "./run-context.js";
import type { RunStore } from "./run-store.js";
import { samplerCalls, sampleTimeoutMs } from "./sampler-engines.js";
import { adoptSnapshots, checkpointNames, MODEL_FOLDER, takeSnapshot } from "./snapshots.js";
import { tracesOf, tracesToShow } from "./traces.js";
import { type WarmupResult, warmupPadding, warmupRows, warmupStep, warmupSteps } from "./warmup.js";

/**
 * The pieces of work that the lifecycle machine invokes. Each advances `context.progress` only after everything it
 * stands for has been done, so that a checkpoint between two pieces is a consistent whole (I3).
 */

/** Data that the run goes on without, as alerts. */
function raiseLeftOut({ leftOut, policies, taps, time }: RunContext): void {
  for (const alert of leftOutAlerts(leftOut, policies.version.n, time.now())) taps.alert(alert);
}

export async function doPreflight(context: RunContext, signal: AbortSignal): Promise<void> {
  const report = await preflight(context, signal);
  context.taps.fact("preflight.finished", context.progress.step, preflightFact(report));
  context.log.info({ actor: "preflight" }, report.memory);
  const { neverIssuedShare, compared } = report;
  const values: MetricDraft = {};
  if (neverIssuedShare > 0) values["data/never_issued_share"] = neverIssuedShare;
  const { truncated } = context.workload.tasks;
  if (truncated > 0) values["data/truncated_share"] = truncated / context.tasks.size;
  if (compared !== null) values.mismatch_abs = compared.mean;
  if (Object.keys(values).length > 0) context.taps.metrics({ step: 0, phase: 0, time: context.time.now(), values });
  for (const [i, finding] of report.findings.entries()) {
    const { level, metric, value, threshold } = finding;
    const about = { id: `${context.progress.step}-preflight-${i + 1}`, rule: "preflight", text: findingText(finding) };
    context.taps.alert(runAlert(context, { ...about, level, metric, value, threshold, phase: 1 }));
  }
  raiseLeftOut(context);
  if (context.config.run.preflight === "refuse") assertMayTrain(report);
  context.progress = { ...context.progress, preflightDone: true };
}

export async function doEvaluate(context: RunContext, signal: AbortSignal): Promise<void> {
  const { config, progress } = context;
  const { sampler, trainer, reward } = context.parts;
  const stage = evaluationDue(progress, context.workload) ?? STAGES.rl;
  const started = context.time.now();
  const policy = await context.policies.current(signal);
  const endLease = context.policies.lease(policy.n);
  const heldout = evaluateHeldout(
    sampler,
    reward,
    context.heldout,
    {
      seed: config.run.seed,
      buckets: context.phases,
      tasksPerBucket: config.evaluation.tasksPerBucket,
      promptsPerCall: config.rollout.promptsPerCall * config.rollout.groupSize,
      sampling: {
        ...rolloutSampling(config, withEndOfTurn(trainer.model.stopIds, context.tokenizer.endOfTurn)),
        temperature: config.evaluation.temperature,
        ...(config.evaluation.temperature === 0 ? { topP: 1, topK: 0 } : {}),
      },
      policy: policy.n,
      samplerCalls: samplerCalls(config),
      sampleTimeoutMs: sampleTimeoutMs(config),
      rewardConcurrency: config.reward.concurrency,
      rewardTimeoutMs: config.reward.timeoutMs,
      correctAt: config.reward.correctAt,
      decode: (ids) => context.tokenizer.decode(ids, { skipSpecialTokens: false }),
      time: context.time,
      gate: context.pipeline.gate,
    },
    signal,
  );
  const [buckets, benchmarks] = await heldout
    .then(async (found) => [found, await evaluateBenchmarks(context, stage, policy.n, signal)] as const)
    .finally(endLease);
  const evaluated = Object.keys(benchmarks).length > 0;
  const next = addSeconds(
    {
      ...progress,
      heldout: { ...progress.heldout, [stage]: buckets },
      ...(evaluated ? { benchmarks: { ...progress.benchmarks, [stage]: benchmarks } } : {}),
      dueEvaluation: null,
    },
    `evaluation/${stage}`,
    (context.time.now() - started) / 1000,
  );
  context.taps.metrics({
    step: progress.step,
    phase: context.curriculumMachine.getSnapshot().context.phase,
    time: context.time.now(),
    values: { ...heldoutMetrics(buckets, context.phases), ...benchmarkMetrics(benchmarks) },
  });
  context.taps.fact("evaluation.finished", progress.step, { stage, buckets, ...(evaluated ? { benchmarks } : {}) });
  context.progress = next;
}

/** One optimiser step of the warm-up. */
export async function doWarmup(context: RunContext, signal: AbortSignal): Promise<void> {
  const { config, parts, policies } = context;
  const { warmup } = config;
  await takeSnapshot(context, "warmup", () => runState(context), signal);
  const { progress } = context;
  const started = context.time.now();
  const { rows, total, learningRate } = warmupPlan(context);
  const done = progress.warmupStep + 1;
  const result = await warmupStep(
    parts.trainer,
    rows,
    {
      step: done,
      policy: policies.version,
      guard: parts.guard,
      aggregation: warmup.aggregation,
      microBatchTokens: config.update.microBatchTokens,
      optimiser: {
        learningRate,
        betas: [config.optimiser.beta1, warmup.beta2],
        epsilon: config.optimiser.epsilon,
        weightDecay: warmup.weightDecay,
        decayScope: config.optimiser.decayScope,
        maxGradNorm: config.optimiser.maxGradNorm,
      },
    },
    signal,
  );
  if (result.applied) policies.markChanged();
  const last = done >= total;
  const seconds = (context.time.now() - started) / 1000;
  reportWarmup(context, result, { rows, done, total, seconds });
  const warmupUpdates = progress.warmupUpdates + changesOf([result], learningRate);
  const every = config.checkpoint.warmupEverySteps;
  const checkpointDue = last || (every > 0 && done % every === 0);
  const next = cameFurther({ ...progress, warmupStep: done, warmupUpdates, checkpointDue });
  context.progress = addSeconds(next, "warmup", seconds);
  if (last && warmupUpdates === 0) context.taps.alert(warmupIdle(context, total));
  // RL starts with fresh moments: the warm-up's belong to another loss.
  if (last) await parts.trainer.resetOptimiser({ signal });
}

/** The rows of the warm-up step at hand, its learning rate, and how many steps there are. */
function warmupPlan({ config, progress, sftRows }: RunContext) {
  const { warmup } = config;
  const { batchRows, epochs } = warmup;
  const plan = { rows: sftRows.length, batchRows, epochs, seed: config.run.seed };
  const total = warmupSteps(plan);
  const rows = warmupRows(plan, progress.warmupStep).map((index) => sftRows[index] as (typeof sftRows)[number]);
  const rising = Math.floor(warmup.warmupShare * total);
  const multiplier = learningRateMultiplier(progress.warmupStep + (rising > 0 ? 1 : 0), {
    kind: warmup.schedule,
    warmupSteps: rising,
    totalSteps: total + 1,
  });
  return { rows, total, learningRate: warmup.learningRate * multiplier };
}

interface WarmupPlace {
  readonly rows: RunContext["sftRows"];
  readonly done: number;
  readonly total: number;
  readonly seconds: number;
}

function reportWarmup(
  context: RunContext,
  { metrics, gradNorm, applied, judged }: WarmupResult,
  { rows, done, total, seconds }: WarmupPlace,
): void {
  const { progress, taps, log } = context;
  tellJudged(context, judged);
  taps.metrics({
    step: done,
    phase: 0,
    time: context.time.now(),
    values: {
      ...(metrics === null
        ? {}
        : { "loss/sft": metrics.loss, "padding/share": warmupPadding(rows, metrics.paddedTokens) }),
      ...(Number.isFinite(gradNorm) ? { "gradient/norm": gradNorm } : {}),
      "gradient/applied": applied ? 1 : 0,
      "time/step_seconds": seconds,
    },
  });
  log.info({ actor: "warmup", step: done, of: total, loss: metrics?.loss ?? null }, "warm-up step");
  if (done >= total) taps.fact("warmup.finished", progress.step, { steps: total, loss: metrics?.loss ?? null });
}

/** Journals verdicts other than commit. */
export function tellJudged({ taps, log, progress }: RunContext, judged: readonly JudgedUpdate[]): void {
  for (const { evidence, verdict } of judged) {
    const { stage, step, miniBatch, gradNorm, loss } = evidence;
    const { action, reason, rule = null } = verdict;
    taps.fact("guard.judged", stage === "warmup" ? progress.step : step, {
      ...{ stage, miniBatch, verdict: action, reason, rule, gradNorm, loss },
      scale: action === "shrink" ? verdict.scale : null,
      kl: evidence.trial?.k3 ?? null,
    });
    log.warn({ actor: "guard", stage, step, miniBatch, verdict: action }, reason);
  }
}

/** How the guard had a step trained, where that is not as in the step before. */
function tellPrepared(context: RunContext, { step, update }: StepResult): void {
  const { taps, progress } = context;
  const { maskNegatives, entropyCoefficient, reason } = update.prepared ?? PLAIN_STEP;
  const before = progress.prepared;
  if (maskNegatives === before.maskNegatives && entropyCoefficient === before.entropyCoefficient) return;
  const why = reason ?? "as the configuration says";
  taps.fact("guard.prepared", step, { maskNegatives, entropyCoefficient, reason: why });
  context.progress = { ...progress, prepared: { maskNegatives, entropyCoefficient } };
}

function warmupIdle(context: RunContext, total: number): Alert {
  return runAlert(context, {
    id: "warmup-no_update-update/applied",
    level: "error",
    rule: "no_update",
    metric: "update/applied",
    value: 0,
    threshold: 0,
    phase: 1,
    text: `none of the warm-up's ${total} steps changed the policy: ${WARMUP_IDLE}`,
  });
}

/** One RL step with all that follows from it. */
export async function doStep(context: RunContext, signal: AbortSignal): Promise<void> {
  const { config, curriculumMachine: machine } = context;
  // Before anything is begun, so that a step that waits for room can be tried again as a whole.
  await context.policies.assertRoom();
  const snapshotSeconds = await takeSnapshot(context, "rl", () => runState(context), signal);
  if (context.progress.step === 0) await beginTraining(context, signal);
  const before = machine.getSnapshot().context.phase;
  const result = await runRlStep(context, snapshotSeconds, signal);
  await reportStep(context, result, context.policies.version);
  const decided = context.parts.curriculum.decide({
    step: result.step,
    phase: result.phase,
    meanReward: result.values["reward/unshaped_mean"] ?? null,
    accuracy: result.values["accuracy/mean"] ?? null,
    kl: klOfStep(result.values) ?? null,
    entropy: result.values["entropy/mean"] ?? null,
  });
  await context.orders.endPhase(signal);
  const decision = skipOr(context, result.step, decided);
  machine.send({ type: "DECIDED", step: result.step, decision });
  const snapshot = machine.getSnapshot();
  const finished = snapshot.status === "done";
  const moved = !finished && snapshot.context.phase !== before;
  if (moved || finished) {
    context.taps.fact("phase.decided", result.step, { ...decision, evidence: { ...decision.evidence } });
    if (moved) enterPhase(context, snapshot.context.phase, result.step + 1);
    if (moved) context.pipeline.enterPhase(snapshot.context.phase);
    if (moved && config.optimiser.resetAtPhase) await context.parts.trainer.resetOptimiser({ signal });
    if (finished) await context.pipeline.halt("training_ended");
  }
  const every = config.evaluation.everySteps;
  const evaluationDueNow = (every > 0 && result.step % every === 0) || (moved && config.evaluation.atPhaseEnd);
  const checkpointDue =
    moved || finished || (config.checkpoint.everySteps > 0 && result.step % config.checkpoint.everySteps === 0);
  context.progress = addSeconds(
    cameFurther({
      ...context.progress,
      step: result.step,
      sequence: context.pipeline.sequence,
      updates: context.progress.updates + result.applied,
      idleSteps: result.idleSteps,
      idleCause: result.idleCause,
      trainingDone: finished,
      dueEvaluation: evaluationDueNow && !finished && evaluates(context.workload) ? `step-${result.step}` : null,
      checkpointDue,
      phaseEnded: moved || finished,
      skipBatch: null,
    }),
    "training",
    result.seconds,
  );
  turnBack(context);
  context.taps.changed();
}

async function beginTraining(context: RunContext, signal: AbortSignal): Promise<void> {
  if (freezesReference(context)) {
    const { trainer } = context.parts;
    await context.store.reference(async (folder) => {
      await trainer.publish({ signal, as: "checkpoint", folder });
    });
    await trainer.freezeReference({ signal });
  }
  context.curriculumMachine.send({ type: "BEGIN", step: 1 });
  enterPhase(context, context.curriculumMachine.getSnapshot().context.phase, 1);
}

function enterPhase(context: RunContext, k: number, fromStep: number): void {
  const phase = context.phases[k - 1];
  context.taps.fact("phase.entered", fromStep, {
    k,
    minTokens: phase?.minTokens ?? 0,
    maxTokens: phase?.maxTokens ?? 0,
    fromStep,
  });
  context.taps.changed();
}

/** Metrics, alerts, traces and files of a step. */
async function reportStep(context: RunContext, result: StepResult, version: PolicyVersion): Promise<void> {
  const { config, store, taps } = context;
  const time = context.time.now();
  taps.metrics({ step: result.step, phase: result.phase, time, values: result.values });
  store.scalars(result.step, result.values);
  tellJudged(context, result.update.judged);
  tellPrepared(context, result);
  tellGuardState(context, result.step);
  const alarms = context.detector.observe(observationOf(context, result, version));
  tellAlarms(context, alarms, result.step);
  const traces = tracesOf(context, result);
  await store.rollouts(result.step, traces);
  for (const trace of tracesToShow(traces, config.monitor.tracesPerStep, culpritsOf(alarms))) taps.trace(trace);
  taps.fact("step.committed", result.step, {
    phase: result.phase,
    policyVersion: version.n,
    sha256: version.sha256,
    groups: result.groups.length,
    kept: result.kept.length,
    exhausted: result.exhausted,
  });
  const { log } = context;
  log.info(
    {
      actor: "update",
      step: result.step,
      policyVersion: version.n,
      phase: result.phase,
      reward: result.values["reward/mean"],
      accuracy: result.values["accuracy/mean"],
      kl: klOfStep(result.values),
      seconds: result.seconds,
    },
    "step committed",
  );
  if (result.exhausted)
    log.warn(
      { actor: "rollout", step: result.step, kept: result.kept.length },
      "dynamic sampling met its bound of rounds",
    );
}

/** The JSON state of a checkpoint. */
export function runState(context: RunContext): Json {
  return {
    schema_version: 1,
    progress: { ...context.progress, checkpointDue: false } as unknown as Json,
    curriculum: context.parts.curriculum.snapshot(),
    guard: context.parts.guard.snapshot?.() ?? null,
    curriculumMachine: context.curriculumMachine.getPersistedSnapshot() as unknown as Json,
    detector: context.detector.snapshot(),
    policy: { ...context.policies.version },
    pipeline: context.pipeline.snapshot(),
    orders: context.orders.snapshot(),
  };
}

/** Ends what is in flight in order, and writes a last checkpoint that has it issued again. */
export async function doDrain(context: RunContext, signal: AbortSignal): Promise<void> {
  await context.pipeline.park();
  await doCheckpoint(context, signal);
}

export async function doCheckpoint(context: RunContext, signal: AbortSignal): Promise<void> {
  const { progress, store, parts, taps } = context;
  const started = context.time.now();
  // With overlap groups have been issued since the step.
  context.progress = { ...progress, checkpointDue: false, sequence: context.pipeline.sequence };
  const directory = await store.checkpoint(
    progress.step,
    async (folder) => {
      await parts.trainer.saveState(join(folder, MODEL_FOLDER), { signal });
    },
    runState(context),
    progress.phaseEnded ? ["phase-end"] : [],
  );
  await checkpointNames(context);
  context.progress = addSeconds(context.progress, "checkpoint", (context.time.now() - started) / 1000);
  taps.fact("checkpoint.written", progress.step, { step: progress.step, path: directory });
  context.log.info({ actor: "checkpoint", step: progress.step, directory }, "checkpoint written");
}

/**
 * Exports the final policy and writes the report. A run that trained nothing (I14) gets its report with the reason, and no
 * `model/`: a copy of what it started from would look like a result.
 * Errors: WEIR_E_NOTHING_TRAINED.
 */
export async function doFinish(context: RunContext, signal: AbortSignal): Promise<void> {
  const failure = nothingTrained(context.progress, context.workload);
  if (failure !== null) {
    await finishReport(context, failure);
    throw failure;
  }
  await context.policies.current(signal);
  const model = join(context.store.directory, MODEL_FOLDER);
  await writeExport(context, model, signal);
  context.progress = { ...context.progress, finished: true };
  await context.store.keepSnapshots(new Set());
  await finishReport(context);
}

/** `report.json`: what was reached, in which time, on what. */
export async function finishReport(context: RunContext, failure: WeirError | null = null): Promise<Json> {
  const report = await runReport(context, failure);
  await context.store.writeReport(report);
  return report;
}

/** Why a run is brought back, and from where. */
export interface Restoring {
  readonly reason: string;
  /** An embedded engine has just been started from the configured model, so that without a checkpoint it is at the beginning. */
  readonly freshEngine: boolean;
}

export interface CheckpointState {
  readonly progress: Partial<Progress> & Pick<Progress, "step">;
  readonly curriculum: Json;
  readonly curriculumMachine: unknown;
  readonly detector: Json;
  /** Checkpoints of earlier builds have none. */
  readonly guard?: Json;
  /** Groups that were in flight; checkpoints of earlier builds, and of runs without lag, have none. */
  readonly pipeline?: Json;
  /** Checkpoints of earlier builds have none. */
  readonly orders?: Json;
}

/**
 * Brings a context back to its latest whole checkpoint, or to the beginning: journal, ledger, weights, optimiser, curriculum,
 * detector, guard, progress.
 */
export async function restoreRun(context: RunContext, restoring: Restoring, signal: AbortSignal): Promise<void> {
  const latest = await context.store.latest();
  const state = latest?.state as CheckpointState | undefined;
  await context.pipeline.forget();
  await context.store.rollBack(latest?.state ?? null);
  const knobs = knobsAt(state?.progress.knobs ?? {}, context.store.changesAfter(latest?.state ?? null));
  // The pipeline begins with the options that the knobs give.
  context.progress = { ...context.progress, knobs };
  // At once: also where nothing else can be restored, what was open at the checkpoint has ended.
  context.pipeline.restore(state?.pipeline ?? null, state?.progress.sequence ?? 0);
  const { guard, trainer } = context.parts;
  if (latest && state) {
    const folder = join(latest.directory, MODEL_FOLDER);
    context.policies.reset(await restoreWeights(context, folder, state.progress.step, signal));
    restoreCurriculum(context, state);
    context.detector.restore(state.detector);
    if (restoring.freshEngine && state.guard != null) guard.restore?.(state.guard);
    context.progress = restoredProgress(state.progress, context.store.ledgerCounts().trained ?? 0);
  } else {
    // Only the embedded engine's own trainer begins anew with its process.
    const { trainer: origin } = context.origins();
    const begun = restoring.freshEngine && origin?.source === "built-in" && origin.kind === "engine";
    context.policies.reset(begun ? null : await trainer.loadState(context.config.model.path, { signal }));
    context.detector.restore(context.fresh.detector);
    if (restoring.freshEngine && context.fresh.guard !== null) guard.restore?.(context.fresh.guard);
    restoreCurriculum(context, null);
    context.progress = freshProgress;
  }
  context.progress = { ...context.progress, knobs };
  context.orders.restore(state?.orders ?? null);
  await adoptSnapshots(context);
  context.guardState = guard.state?.() ?? null;
  tellResumed(context, latest, restoring.reason);
  await context.orders.catchUp(signal);
}

async function restoreWeights(
  context: RunContext,
  model: string,
  step: number,
  signal: AbortSignal,
): Promise<PolicyVersion> {
  const { trainer } = context.parts;
  if (freezesReference(context) && step > 0) {
    await trainer.loadState(await context.store.referenceDirectory(), { signal });
    await trainer.freezeReference({ signal });
  }
  return trainer.loadState(model, { signal });
}

function tellResumed(context: RunContext, latest: Awaited<ReturnType<RunStore["latest"]>>, reason: string): void {
  const { step } = context.progress;
  // The fact of a checkpoint stands behind the checkpoint's own mark, so rolling back has cut it off.
  if (latest) context.taps.fact("checkpoint.written", latest.step, { step: latest.step, path: latest.directory });
  const remarks = context.store.takeRemarks();
  for (const remark of remarks) context.log.warn({ actor: "store", step }, remark);
  context.taps.fact("run.resumed", step, {
    reason,
    checkpoint: latest?.directory ?? null,
    step,
    remarks,
  });
  // Rolling back has cut off the facts of changes that came after the checkpoint, too.
  for (const change of context.store.changesAfter(latest?.state ?? null))
    context.taps.fact("config.changed", step, { ...change });
  tellReplaced(context);
  context.taps.changed();
}

/** The same for parts that were replaced after the checkpoint: the journal names those that the run goes on with. */
function tellReplaced({ store, origins, taps, progress }: RunContext): void {
  const then = recordedOrigins(store.facts());
  if (then === null) return;
  const now = origins();
  for (const kind of [...RECORDED, "judge"] as const) {
    const [from, to] = [then[kind], now[kind]];
    if (from === undefined || to === undefined || (from.kind === to.kind && from.source === to.source)) continue;
    taps.fact("part.replaced", progress.step, { kind, from, to });
  }
}

/** Puts the curriculum and the statechart of its phases back to what a checkpoint or snapshot says; null: to the beginning. */
export function restoreCurriculum(
  context: RunContext,
  state: Pick<CheckpointState, "curriculum" | "curriculumMachine"> | null,
): void {
  const { phases, parts } = context;
  context.curriculumMachine.stop();
  setUpCurriculum(context);
  if (state !== null) parts.curriculum.restore(state.curriculum);
  context.curriculumMachine = createActor(curriculumMachine, {
    input: { phases: phases.length },
    // Later phases may have been added or left out since.
    ...(state === null ? {} : { snapshot: withPhases(state.curriculumMachine, phases.length) as never }),
  });
  context.curriculumMachine.start();
}

/** A persisted snapshot of the curriculum's statechart with another number of phases. */
function withPhases(snapshot: unknown, phases: number): unknown {
  const { context, ...rest } = snapshot as { readonly context: object };
  return { ...rest, context: { ...context, phases } };
}

/** Tells the curriculum its tasks; it forgets whatever it knew. */
export function setUpCurriculum(context: RunContext): void {
  context.parts.curriculum.setup(curriculumSetup(context));
}

/** What a curriculum is told of a run. */
export function curriculumSetup({ tasks, phases, config }: RunContext): CurriculumSetup {
  return {
    tasks: [...tasks.values()].map(({ task }) => ({ id: task.id, promptTokens: task.promptTokens })),
    phases,
    seed: config.run.seed,
  };
}
