/**
 * Facts as a journal holds them, checked where they are read. Invariants: what comes out is a `Fact` with every field that its
 * type says; fields that an earlier build did not write have the value that stands for "not known"; fields that a newer one
 * added are left out.
 */
import { z } from "zod";
import { currentFact, OLD_NAMES, type OldNames } from "../config/old-names.js";
import { ACTOR_STATES } from "../contracts/actor-status.js";
import type { Fact, FactData, FactType } from "../contracts/fact.js";
import type { MetricName, MetricValues } from "../contracts/metrics.js";
import type { Json } from "../contracts/task.js";

const count = z.number().int().nonnegative();
const text = z.string();
const json = z.custom<Json>((value) => value !== undefined);
const number = z.number();
/** A number that was not finite is null in JSON. */
const perhaps = z.number().nullable();

/** Checked by hand: they are most of a long journal. Names that only a newer build knows stay. */
const metrics = z.custom<MetricValues>((values) => {
  if (typeof values !== "object" || values === null || Array.isArray(values)) return false;
  return Object.values(values).every((value) => typeof value === "number");
}, "expected numbers by name");

const partsFile = z.object({ file: text, sha256: text });
const partOrigin = z.object({
  kind: text,
  source: z.enum(["built-in", "own"]),
  file: partsFile.exactOptional(),
});
const parts = z.object({
  advantage: partOrigin,
  reward: partOrigin,
  curriculum: partOrigin,
  loss: partOrigin.exactOptional(),
  sampler: partOrigin.exactOptional(),
  trainer: partOrigin.exactOptional(),
  policyStore: partOrigin.exactOptional(),
  workQueue: partOrigin.exactOptional(),
  filter: partOrigin.exactOptional(),
  guard: partOrigin.exactOptional(),
  judge: partOrigin.exactOptional(),
  files: z.array(partsFile).default([]),
});

const initiator = z.object({ kind: z.enum(["program", "operator", "guard", "rollback"]), name: text });

const bucket = z.object({ n: count, correct: number, unscored: count.default(0), meanReward: perhaps.default(null) });

const benchmark = z.object({
  ...{ items: count, responses: count, scored: count, scoreOverAll: number, scoreOverScored: perhaps },
  passAt: z.array(z.object({ k: count, value: number })),
});

const alert = z.object({
  id: text,
  level: z.enum(["info", "warn", "error"]),
  rule: text,
  // A metric of a newer build stays what it is: the page shows alerts of metrics that it does not draw.
  metric: z.string() as z.ZodType<MetricName>,
  value: perhaps.transform((value) => value ?? Number.NaN),
  threshold: number,
  z: perhaps,
  step: count,
  phase: count,
  policyVersion: count,
  text,
  culprits: z.array(
    z.object({ rolloutId: text, contribution: perhaps.transform((value) => value ?? Number.NaN), tokenIndex: count }),
  ),
  time: number,
});

const SCHEMAS: { readonly [T in FactType]: z.ZodType<FactData[T]> } = {
  "actor.changed": z.object({ actor: text, state: z.enum(ACTOR_STATES), reason: text.nullable(), restarts: count }),
  "admission.held": z.object({ part: text, code: text, reason: text }),
  "admission.resumed": z.object({ part: text, heldSeconds: number }),
  "alert.ended": z.object({ id: text, rule: text, metric: text, fromStep: count, toStep: count, worst: perhaps }),
  "alert.raised": z.object({ alert }),
  "alert.updated": z.object({ id: text, rule: text, metric: text, value: perhaps, worst: perhaps, steps: count }),
  "batch.saved": z.object({ path: text, miniBatch: count, reason: text, replayable: z.boolean() }),
  "checkpoint.written": z.object({ step: count, path: text }),
  "config.changed": z.object({ path: text, old: json, new: json }),
  "evaluation.finished": z.object({
    stage: text,
    buckets: z.record(text, bucket),
    benchmarks: z.record(text, benchmark).exactOptional(),
  }),
  "guard.judged": z.object({
    stage: z.enum(["warmup", "rl"]),
    miniBatch: count,
    verdict: z.enum(["commit", "shrink", "skip", "rollback"]),
    reason: text,
    rule: text.nullable().default(null),
    scale: perhaps.default(null),
    kl: perhaps.default(null),
    gradNorm: perhaps,
    loss: perhaps,
  }),
  "guard.prepared": z.object({ maskNegatives: z.boolean(), entropyCoefficient: perhaps, reason: text }),
  "knob.turned": z.object({ path: text, old: json, new: json, by: initiator, reason: text.nullable() }),
  "lifecycle.changed": z.object({ machine: text, value: json }),
  "metrics.recorded": z.object({ phase: count, values: metrics }),
  "trainer.called": z.object({ model: text, number: count, call: text, sha256: text }),
  "part.replaced": z.object({ kind: text, from: partOrigin, to: partOrigin }),
  "phase.decided": z.object({
    action: z.enum(["hold", "advance", "fallback", "finish"]),
    phase: count,
    nextPhase: count.nullable(),
    reason: text,
    evidence: z.record(text, perhaps),
  }),
  "phase.entered": z.object({ k: count, minTokens: count, maxTokens: count, fromStep: count }),
  "phase.skipped": z.object({ phase: count, by: initiator, reason: text.nullable() }),
  "preflight.finished": z.object({
    rollouts: count,
    truncatedShare: number,
    zeroVarianceShare: number,
    rewardHistogram: z.record(text, number),
    outcomes: z.record(text, number).default({}),
    tasksPerPhase: z.array(count),
    neverIssuedShare: number.default(0),
    memory: text.default(""),
    warnings: z.array(text),
    findings: z.array(z.object({ cause: text, refuses: z.boolean(), what: text, remedy: text })).default([]),
  }),
  "run.finished": z.discriminatedUnion("status", [
    z.object({ status: z.enum(["completed", "stopped"]) }),
    z.object({ status: z.literal("failed"), error: text }),
  ]),
  "run.resumed": z.object({
    reason: text,
    checkpoint: text.nullable().default(null),
    step: count,
    remarks: z.array(text).default([]),
  }),
  "run.rolledBack": z.object({
    fromStep: count,
    toStep: count,
    reason: text,
    rule: text.nullable(),
    by: initiator,
    undone: count,
    count,
  }),
  "run.started": z.object({
    seed: number,
    model: text,
    engine: text,
    plannedSteps: count,
    tasks: count,
    heldoutTasks: count,
    sftRows: count,
    parts: parts.nullable().default(null),
  }),
  "step.committed": z.object({
    phase: count,
    policyVersion: count,
    sha256: text,
    groups: count,
    kept: count,
    exhausted: z.boolean(),
  }),
  "warmup.finished": z.object({ steps: count, loss: perhaps }),
};

/** A line of a journal. */
export type FactLine =
  /** A fact; null for one whose kind only a newer weir knows: it is passed over. */
  | { readonly whole: true; readonly seq: number; readonly fact: Fact | null }
  /** `legible` where the line is a fact whose data are not what its kind says. */
  | { readonly whole: false; readonly legible: boolean; readonly reason: string };

const DAMAGED: FactLine = { whole: false, legible: false, reason: "it is not a fact" };

/** Checks a line. The envelope is checked by hand: a long run has hundreds of thousands. */
export function readFactLine(line: string, names: OldNames = OLD_NAMES): FactLine {
  let found: Readonly<Record<keyof Fact, unknown>> | null;
  try {
    found = JSON.parse(line);
  } catch {
    return DAMAGED;
  }
  if (typeof found !== "object" || found?.schema_version !== 1) return DAMAGED;
  const { seq, type: written, step, time, data: said } = found;
  if (!isCount(seq) || seq === 0 || typeof written !== "string" || written === "") return DAMAGED;
  if (!isCount(step) || typeof time !== "number" || typeof said !== "object" || said === null || Array.isArray(said))
    return DAMAGED;
  const { type, data } = currentFact(written, said as Readonly<Record<string, unknown>>, names);
  if (!isFactType(type)) return { whole: true, seq, fact: null };
  const result = SCHEMAS[type].safeParse(data);
  if (!result.success) {
    const [issue] = result.error.issues;
    const where = ["data", ...(issue?.path ?? [])].join(".");
    return { whole: false, legible: true, reason: `it is no whole fact "${type}": ${where}: ${issue?.message}` };
  }
  return { whole: true, seq, fact: { schema_version: 1, seq, type, step, time, data: result.data } as Fact };
}

function isFactType(type: string): type is FactType {
  return Object.hasOwn(SCHEMAS, type);
}

function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0;
}
