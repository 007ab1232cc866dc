/**
 * The knobs of a run that is under way: what can be turned, and what a turn does. Invariant: each turn is a fact of the journal.
 */
import { assertKnob, KNOB_PATHS, type Knobs, knobStates, optionAt, refused, withKnobs } from "../../config/knobs.js";
import type { Config } from "../../config/schema.js";
import type { Initiator, KnobTurn } from "../../contracts/knob.js";
import type { LossName, LossSettings } from "../../contracts/loss.js";
import { builtInLoss } from "../../losses/built-in.js";
import { policyLossNamed } from "../../losses/index.js";
import { lossSettings } from "../../losses/settings.js";
import { isOfStep } from "../guard/judgement.js";
import { assertCanTrain } from "./can-train.js";
import { assertCapabilities } from "./capabilities.js";
import { stepsDone } from "./progress.js";
import type { RunContext } from "./run-context.js";

/** Options of which rollouts are drawn: what was drawn under other options is not trained on. */
export const DRAWN_WITH: readonly string[] = ["rollout.groupSize", "rollout.temperature"];
/** Tightest clip bound that a rollback sets: the least that the knob takes. */
const NEAREST_CLIP = 1e-6;
/** Knobs that only some of the built-in losses read. */
const CLIPS = { "loss.clipLow": "clipLow", "loss.clipHigh": "clipHigh" } as const;

/** The configuration as the knobs are set; the same object until one is turned. */
export function liveConfig(configured: Config, knobs: () => Knobs): () => Config {
  let last: { readonly knobs: Knobs; readonly config: Config } | null = null;
  return () => {
    const now = knobs();
    if (last?.knobs !== now) last = { knobs: now, config: withKnobs(configured, now) };
    return last.config;
  };
}

/** The knobs of a run as they are set. */
export function knobsOfRun({ configured, progress, parts }: Pick<RunContext, "configured" | "progress" | "parts">) {
  return knobStates(configured, progress.knobs).filter(({ path }) => clipRefusal(path, parts) === null);
}

/**
 * Turns a knob now, and journals it; does nothing where it has that value. For callers between two pieces of work whose own record
 * has the turn done again after a kill: such as a rollback. Errors: WEIR_E_KNOB; WEIR_E_CONFIG, WEIR_E_CAPABILITY where the parts of
 * the run do not allow it.
 */
export function turnKnob(
  context: RunContext,
  path: string,
  value: number | null,
  by: Initiator,
  reason: string | null,
) {
  assertTurn(context, path, value);
  const old = optionAt(context.config, path);
  if (old === value) return;
  const { [path]: _, ...others } = context.progress.knobs;
  const asConfigured = value === optionAt(context.configured, path);
  const knobs: Knobs = asConfigured ? others : { ...others, [path]: value };
  context.progress = { ...context.progress, knobs };
  tellTurn(context, { path, old, new: value, by, reason });
}

/** Journals what a rollback has undone of the knobs; `before` is the configuration as it was. */
export function tellRestored(context: RunContext, before: Config, reason: string | null): void {
  for (const path of KNOB_PATHS) {
    const [old, now] = [optionAt(before, path), optionAt(context.config, path)];
    if (old !== now) tellTurn(context, { path, old, new: now, by: { kind: "rollback", name: "" }, reason });
  }
}

/**
 * What `guard.afterRollback` says after `inARow` rollbacks in a row that the guard asked for: lower learning rate and tighter clip bounds
 * where the rule, which is the name of `by`, is about the step; less lag. Errors: as `turnKnob`.
 */
export function turnAfterRollback(context: RunContext, inARow: number, by: Initiator, reason: string): void {
  const { config, parts, progress } = context;
  const { learningRate, clip, maxLag } = config.guard.afterRollback;
  const turn = (path: string, value: number) => turnDown(context, path, value, by, reason);
  if (isOfStep(by.name)) turn("optimiser.learningRate", config.optimiser.learningRate * learningRate ** inARow);
  const lag = Math.max(1, maxLag ?? config.async.maxLag);
  if (config.async.maxLag > lag) turn("async.maxLag", lag);
  const builtIn = builtInLoss(parts.loss);
  if (clip === 1 || builtIn === null || !isOfStep(by.name)) return;
  const settings = { ...builtIn.settings, ...turnedClips(builtIn.name, progress.knobs) };
  for (const [path, setting] of Object.entries(CLIPS))
    if (clipRefusal(path, parts) === null) turn(path, Math.max(NEAREST_CLIP, settings[setting] * clip ** inARow));
}

/** As `turnKnob`, remembering the value that `turnBack` goes back to. */
function turnDown(context: RunContext, path: string, to: number, by: Initiator, reason: string): void {
  const { turnedDown } = context.progress.rollbacks;
  const known = turnedDown[path];
  const now = optionAt(context.config, path);
  const from = known?.to === now ? known.from : now;
  turnKnob(context, path, to, by, reason);
  const { progress } = context;
  const rollbacks = { ...progress.rollbacks, turnedDown: { ...turnedDown, [path]: { from, to } } };
  context.progress = { ...progress, rollbacks };
}

/**
 * Turns knobs back that rollbacks have turned down, once the run has come `guard.afterRollback.recoverSteps` steps past the one that led
 * to the last of them; those that somebody has turned since stay.
 */
export function turnBack(context: RunContext): void {
  const { progress, config } = context;
  const { turnedDown, furthest } = progress.rollbacks;
  const { recoverSteps } = config.guard.afterRollback;
  if (recoverSteps === null || stepsDone(progress) < furthest + recoverSteps) return;
  for (const [path, { from, to }] of Object.entries(turnedDown))
    if (optionAt(context.config, path) === to)
      turnKnob(
        context,
        path,
        from,
        { kind: "guard", name: "recovered" },
        `${recoverSteps} steps since the last rollback`,
      );
  if (Object.keys(turnedDown).length > 0)
    context.progress = { ...context.progress, rollbacks: { ...context.progress.rollbacks, turnedDown: {} } };
}

function tellTurn({ taps, log, progress }: RunContext, turn: KnobTurn): void {
  taps.fact("knob.turned", progress.step, turn);
  log.info({ actor: "knobs", knob: turn.path, old: turn.old, new: turn.new, by: turn.by }, "a knob was turned");
}

/** Errors: as `turnKnob`. */
export function assertTurn(context: RunContext, path: string, value: unknown): asserts value is number | null {
  const { configured, progress, parts } = context;
  assertKnob(configured, path, value);
  const clip = value === null ? null : clipRefusal(path, parts);
  if (clip !== null) throw refused(path, clip);
  const config = withKnobs(configured, { ...progress.knobs, [path]: value });
  assertCapabilities(config, parts);
  // A learning rate of 0 is refused at the start only: a person may want to watch the policy stand still.
  assertCanTrain({ ...config, optimiser: configured.optimiser }, parts.advantage);
}

/** Why the loss in use has no such bound; null where it has, or the path is another knob's. */
function clipRefusal(path: string, { loss }: Pick<RunContext["parts"], "loss">): string | null {
  const setting = (CLIPS as Readonly<Record<string, (typeof CLIPS)[keyof typeof CLIPS]>>)[path];
  if (setting === undefined) return null;
  const name = builtInLoss(loss)?.name;
  if (name !== undefined && policyLossNamed(name).defaults[setting] !== undefined) return null;
  return `the loss "${loss.kind}" does not read it`;
}

/** Clip bounds of a built-in loss that were turned; null takes the loss's own. */
export function turnedClips(loss: LossName, knobs: Knobs): Partial<LossSettings> {
  const own = lossSettings(loss);
  const turned = Object.entries(CLIPS).filter(([path]) => knobs[path] !== undefined);
  return Object.fromEntries(turned.map(([path, setting]) => [setting, knobs[path] ?? own[setting]]));
}

/** Knobs of a checkpoint, without those whose options were changed when the run was resumed since. */
export function knobsAt(saved: Knobs, changed: readonly { readonly path: string }[]): Knobs {
  return Object.fromEntries(Object.entries(saved).filter(([path]) => !changed.some((change) => change.path === path)));
}
