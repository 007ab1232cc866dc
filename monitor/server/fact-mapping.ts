import { isRolledBack } from "../../src/contracts/actor-status.js";
import type { Alert } from "../../src/contracts/alert.js";
import type { Fact, FactData, FactType } from "../../src/contracts/fact.js";
import type { Initiator } from "../../src/contracts/knob.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { PartOrigin } from "../../src/contracts/part-origin.js";
import type { Json } from "../../src/contracts/task.js";
import type { ActorChange, GuardEvent, ListedTurn, LogLine, RunConfig, RunInfo } from "../protocol/records.js";
import type { MachineReading } from "./source.js";

/** Maps facts of the journal to the monitor's records, the same for live and for past runs. */

/** Where facts are shown. */
export interface FactTarget {
  readonly run: RunInfo | null;
  publishRun(patch: Partial<RunInfo>): void;
  publishMetric(record: MetricRecord): void;
  publishAlert(alert: Alert): void;
  publishGuard(event: GuardEvent): void;
  publishTurn(turn: ListedTurn): void;
  publishConfigChange(change: RunConfig["changes"][number]): void;
  publishLifecycle(reading: MachineReading): void;
  publishActorChange(change: Omit<ActorChange, "from">): void;
  publishLog(line: Omit<LogLine, "time"> & { readonly time?: number }): void;
  /** Whether an alert with this text has been shown. */
  showsAlert(text: string): boolean;
}

type Mapping<T extends FactType> = (hub: FactTarget, fact: Fact<T>, run: RunInfo) => void;

/** Null for a kind of fact that shows nothing. */
const MAPPINGS: { readonly [T in FactType]: Mapping<T> | null } = {
  "run.started": (hub, { data, time }) => {
    const { seed, model, engine, plannedSteps } = data;
    hub.publishRun({ status: "running", startedAt: time, seed, model, engine, plannedSteps });
  },

  // Steps after the checkpoint are repeated: their bands and marks are removed, and the page redraws the curve from there.
  "run.resumed": (hub, { data, time }, run) => {
    const { step, reason } = data;
    hub.publishRun({
      status: "running",
      endedAt: null,
      note: null,
      step,
      ...upTo(run, step),
      resumes: [...run.resumes, { step, time }],
    });
    hub.publishLog({ level: "warn", text: `resumed at step ${step}${reason ? `: ${reason}` : ""}`, time });
  },

  "run.finished": (hub, { data, time }) =>
    hub.publishRun({ status: data.status, endedAt: time, note: data.status === "failed" ? data.error : null }),

  "preflight.finished": (hub, { data, time }) => {
    const { rollouts, outcomes, rewardHistogram, truncatedShare, zeroVarianceShare, tasksPerPhase, memory } = data;
    const findings = data.findings.map((finding) => ({ ...finding }));
    hub.publishRun({
      preflight: {
        ...{ rollouts, outcomes, rewardHistogram, truncatedShare, zeroVarianceShare, memory, findings, time },
        tasksPerPhase: [...tasksPerPhase],
      },
    });
    for (const warning of data.warnings) hub.publishLog({ level: "warn", text: warning, time });
  },

  "actor.changed": (hub, { data, time }) => {
    const { actor, state, reason, restarts } = data;
    const back = isRolledBack(data);
    const level = state === "running" ? "info" : state === "failed" && !back ? "error" : "warn";
    const why = reason === null ? "" : `: ${reason}`;
    const what = back ? "was rolled back" : `is ${state} (restart ${restarts})`;
    hub.publishActorChange({ ...data, time });
    hub.publishLog({ level, text: `actor ${actor} ${what}${why}`, time });
  },

  "admission.held": (hub, { data, step, time }) =>
    hub.publishLog({
      level: "warn",
      text: `after step ${step} nothing is sampled or scored: the reward "${data.part}" takes no work (${data.code}): ${data.reason}`,
      time,
    }),

  "admission.resumed": (hub, { data, time }) =>
    hub.publishLog({
      level: "info",
      text: `the reward "${data.part}" takes work again after ${Math.round(data.heldSeconds)} s`,
      time,
    }),

  "lifecycle.changed": (hub, { data, time }, run) => {
    const { machine, value } = data;
    hub.publishLifecycle({ machine, value, since: time });
    if (machine !== "lifecycle") return;
    const status = statusOf(value);
    if (status !== null && status !== run.status) hub.publishRun({ status });
  },

  "phase.entered": (hub, { data, time }, run) => {
    const { k, fromStep } = data;
    const closed = run.phases
      .filter((band) => band.fromStep < fromStep)
      .map((band) => (band.toStep === null ? { ...band, toStep: Math.max(band.fromStep, fromStep - 1) } : band));
    hub.publishRun({ phase: k, phases: [...closed, { ...data, toStep: null }] });
    hub.publishLifecycle({ machine: "curriculum", value: "inPhase", since: time });
  },

  "phase.decided": (hub, { data, step, time }, run) => {
    const { action, phase, reason } = data;
    if (action === "finish") {
      hub.publishRun({
        phases: run.phases.map((band) => (band.toStep === null ? { ...band, toStep: step } : band)),
      });
      hub.publishLifecycle({ machine: "curriculum", value: "finished", since: time });
    }
    if (action !== "hold") hub.publishLog({ level: "info", text: `phase ${phase}: ${action} (${reason})`, time });
  },

  "metrics.recorded": (hub, { data, step, time }) =>
    hub.publishMetric({ step, phase: data.phase, time, values: data.values }),

  "alert.raised": (hub, { data: { alert }, step, time }) => {
    if (alert.rule === "preflight" && hub.showsAlert(alert.text)) return;
    hub.publishAlert(alert);
    const { id, rule, metric } = alert;
    const value = finite(alert.value);
    const at = alert.step;
    hub.publishGuard({
      ...{ kind: "alarm", step, time, id, state: "raised", rule, metric, value, worst: value },
      ...{ fromStep: at, toStep: at },
    });
  },

  "alert.updated": (hub, { data, step, time }) => {
    const { id, rule, metric, value, worst, steps } = data;
    const fromStep = Math.max(0, step - Math.max(0, steps - 1));
    hub.publishGuard({
      ...{ kind: "alarm", step, time, id, state: "updated", rule, metric, value, worst, fromStep, toStep: step },
    });
  },

  "alert.ended": (hub, { data, step, time }) => {
    const { rule, metric, fromStep, toStep } = data;
    hub.publishGuard({ kind: "alarm", step, time, state: "ended", value: null, ...data });
    const steps = fromStep === toStep ? `step ${fromStep}` : `steps ${fromStep}–${toStep}`;
    hub.publishLog({ level: "info", text: `alarm ${rule} on ${metric} has ended (${steps})`, time });
  },

  "batch.saved": (hub, { data, step, time }) => {
    hub.publishGuard({ kind: "batch", step, time, ...data });
    hub.publishLog({
      level: "warn",
      text: `a mini-batch of step ${step} was saved as ${data.path}: ${data.reason}`,
      time,
    });
  },

  "guard.prepared": (hub, { data, step, time }) => {
    hub.publishGuard({ kind: "prepared", step, time, ...data });
    hub.publishLog({ level: "info", text: `the guard changed step ${step}: ${data.reason}`, time });
  },

  "knob.turned": (hub, { data, step, time }) => {
    hub.publishGuard({ kind: "knob", step, time, ...data });
    hub.publishTurn({ ...data, step, time });
    const why = data.reason === null ? "" : `: ${data.reason}`;
    hub.publishLog({
      level: "info",
      text: `${data.path}: ${JSON.stringify(data.old)} is now ${JSON.stringify(data.new)} (${initiatorText(data.by)})${why}`,
      time,
    });
  },

  "phase.skipped": (hub, { data, step, time }) =>
    hub.publishLog({
      level: "info",
      text: `phase ${data.phase} was ended after step ${step} (${initiatorText(data.by)})${data.reason === null ? "" : `: ${data.reason}`}`,
      time,
    }),

  // The journal goes on; steps after the snapshot are trained again, so the page redraws the curve from there.
  "run.rolledBack": (hub, { data, step, time }, run) => {
    const { fromStep, toStep, reason, by } = data;
    const kept = upTo(run, toStep);
    hub.publishRun({
      ...kept,
      step: toStep,
      phase: kept.phases.at(-1)?.k ?? run.phase,
      rollbacks: [...(run.rollbacks ?? []), { fromStep, toStep, time }],
    });
    hub.publishGuard({ kind: "rollback", step, time, ...data });
    hub.publishLog({
      level: "warn",
      text: `went back from step ${fromStep} to the end of step ${toStep}: ${reason} (${initiatorText(by)})`,
      time,
    });
  },

  "checkpoint.written": (hub, { data, time }, run) => {
    const { step, path } = data;
    // Checkpoints come in order: only one that is written again has to be searched.
    const newest = (run.checkpoints.at(-1)?.step ?? -1) < step;
    const others = newest ? run.checkpoints : run.checkpoints.filter((mark) => mark.step !== step);
    hub.publishRun({ checkpoints: others.concat({ step, path, time }) });
  },

  "evaluation.finished": (hub, { data, step, time }, run) => {
    const { stage, buckets, benchmarks } = data;
    const others = run.evaluations.filter((evaluation) => evaluation.stage !== stage);
    hub.publishRun({ evaluations: [...others, { stage, step, buckets, ...(benchmarks && { benchmarks }) }] });
    const scores = Object.entries(benchmarks ?? {}).map(
      ([name, { scoreOverScored }]) =>
        `, ${name} ${scoreOverScored === null ? "without a score" : scoreOverScored.toFixed(3)}`,
    );
    hub.publishLog({ level: "info", text: `held-out evaluation "${stage}" at step ${step}${scores.join("")}`, time });
  },

  "warmup.finished": (hub, { data, time }) =>
    hub.publishLog({ level: "info", text: `warm-up finished after ${data.steps} steps`, time }),

  "config.changed": (hub, { data, step, time }) => {
    hub.publishConfigChange({ path: data.path, old: data.old, new: data.new, step, time });
    hub.publishLog({
      level: "info",
      text: `option ${data.path}: ${JSON.stringify(data.old)} is now ${JSON.stringify(data.new)}`,
      time,
    });
  },

  "trainer.called": null,
  "part.replaced": (hub, { data, step, time }) =>
    hub.publishLog({
      level: "info",
      text: `the ${data.kind} part ${partText(data.from)} was replaced by ${partText(data.to)} at step ${step}`,
      time,
    }),

  "guard.judged": (hub, { data, step, time }) => {
    const { verdict } = data;
    if (verdict === "commit") return;
    hub.publishGuard({ kind: "verdict", step, time, ...data, verdict });
    hub.publishLog({ level: "warn", text: verdictText(data, step), time });
  },

  // The step's metrics say all of it.
  "step.committed": null,
};

/** Shows a fact. Never throws. */
export function applyFact<T extends FactType>(hub: FactTarget, fact: Fact<T>): void {
  const mapping: Mapping<T> | null = MAPPINGS[fact.type];
  if (!mapping) return;
  if (!hub.run) hub.publishRun({ startedAt: fact.time });
  if (hub.run) mapping(hub, fact, hub.run);
}

/** The run's marks and bands up to a step that it goes on from. */
function upTo(run: RunInfo, step: number): Pick<RunInfo, "phases" | "checkpoints" | "evaluations"> {
  return {
    phases: run.phases
      // The next phase is entered at the end of the last step of the one before.
      .filter((band) => band.fromStep <= step + 1)
      .map((band) => (band.toStep !== null && band.toStep > step ? { ...band, toStep: null } : band)),
    checkpoints: run.checkpoints.filter((mark) => mark.step <= step),
    evaluations: run.evaluations.filter((evaluation) => evaluation.step <= step),
  };
}

/** JSON has no number that is not finite. */
const finite = (value: number): number | null => (Number.isFinite(value) ? value : null);

function partText({ kind, source, file }: PartOrigin): string {
  return `"${kind}"${file ? ` of ${file.file}` : source === "own" ? " of your own" : ""}`;
}

function initiatorText({ kind, name }: Initiator): string {
  return name === "" ? kind : `${kind} ${name}`;
}

function verdictText({ stage, miniBatch, verdict, reason }: FactData["guard.judged"], step: number): string {
  const where = `${stage === "warmup" ? "warm-up " : ""}step ${step}, mini-batch ${miniBatch}`;
  return `the guard's verdict on ${where}: ${verdict} (${reason})`;
}

/** The run's status that a lifecycle value stands for; null leaves it as it is. */
function statusOf(value: Json): RunInfo["status"] | null {
  const top = typeof value === "string" ? value : Object.keys((value ?? {}) as object)[0];
  switch (top) {
    case "operating":
    case "draining":
    case "recovering":
      return "running";
    case "paused":
    case "completed":
    case "stopped":
    case "failed":
      return top;
    default:
      return null;
  }
}
