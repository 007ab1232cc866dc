import type { Alert } from "../../src/contracts/alert.js";
import type { Fact, FactType } from "../../src/contracts/fact.js";
import type { MetricRecord } from "../../src/contracts/metrics.js";
import type { Json } from "../../src/contracts/task.js";
import type { Evaluation, LogLine, RunInfo } from "../protocol/records.js";
import type { MachineReading } from "./source.js";

/**
 * Maps facts of the journal to the monitor's records, the same for live and for past runs.
 * Facts of unknown type are ignored; facts of a known type but with missing fields show what they have.
 */

/** Where facts are shown. */
export interface FactTarget {
  readonly run: RunInfo | null;
  publishRun(patch: Partial<RunInfo>): void;
  publishMetric(record: MetricRecord): void;
  publishAlert(alert: Alert): void;
  publishLifecycle(reading: MachineReading): void;
  publishLog(line: Omit<LogLine, "time"> & { readonly time?: number }): void;
  /** Whether an alert with this text has been shown. */
  showsAlert(text: string): boolean;
}

type Mapping = (hub: FactTarget, fact: Fact, run: RunInfo) => void;

const MAPPINGS: { readonly [T in FactType]?: Mapping } = {
  "run.started": (hub, { data, time }) =>
    hub.publishRun({
      status: "running",
      startedAt: time,
      ...(typeof data.id === "string" ? { id: data.id } : {}),
      ...(typeof data.seed === "number" ? { seed: data.seed } : {}),
      ...(typeof data.model === "string" ? { model: data.model } : {}),
      ...(typeof data.engine === "string" ? { engine: data.engine } : {}),
      ...(typeof data.configDigest === "string" ? { configDigest: data.configDigest } : {}),
      ...(typeof data.plannedSteps === "number" ? { plannedSteps: data.plannedSteps } : {}),
    }),

  // Steps after the checkpoint are repeated: their bands and marks are removed, and the page redraws the curve from there.
  "run.resumed": (hub, { data, step, time }, run) => {
    const at = number(data.step) ?? step;
    hub.publishRun({
      status: "running",
      endedAt: null,
      note: null,
      step: at,
      phases: run.phases
        .filter((band) => band.fromStep <= Math.max(1, at))
        .map((band) => (band.toStep !== null && band.toStep > at ? { ...band, toStep: null } : band)),
      checkpoints: run.checkpoints.filter((mark) => mark.step <= at),
      evaluations: run.evaluations.filter((evaluation) => evaluation.step <= at),
      resumes: [...run.resumes, { step: at, time }],
    });
    const reason = text(data.reason);
    hub.publishLog({ level: "warn", text: `resumed at step ${at}${reason ? `: ${reason}` : ""}`, time });
  },

  "run.finished": (hub, { data, time }) => {
    const status = text(data.status);
    hub.publishRun({
      status: status === "failed" || status === "stopped" ? status : "completed",
      endedAt: time,
      note: ending(data),
    });
  },

  "preflight.finished": (hub, { data, time }) => {
    const warnings = Array.isArray(data.warnings) ? data.warnings : [];
    for (const warning of warnings)
      if (typeof warning === "string") hub.publishLog({ level: "warn", text: warning, time });
  },

  "lifecycle.changed": (hub, { data, time }, run) => {
    const machine = text(data.machine) ?? "lifecycle";
    hub.publishLifecycle({ machine, value: data.value ?? null, since: time });
    if (machine !== "lifecycle") return;
    const status = statusOf(data.value ?? null);
    if (status !== null && status !== run.status) hub.publishRun({ status });
  },

  "phase.entered": (hub, { data, step, time }, run) => {
    const k = number(data.k);
    if (k === null) return;
    const fromStep = number(data.fromStep) ?? step;
    const closed = run.phases
      .filter((band) => band.fromStep < fromStep)
      .map((band) => (band.toStep === null ? { ...band, toStep: Math.max(band.fromStep, fromStep - 1) } : band));
    const band = { k, minTokens: number(data.minTokens) ?? 0, maxTokens: number(data.maxTokens) ?? 0, fromStep };
    hub.publishRun({ phase: k, phases: [...closed, { ...band, toStep: null }] });
    hub.publishLifecycle({ machine: "curriculum", value: "inPhase", since: time });
  },

  "phase.decided": (hub, { data, step, time }, run) => {
    const action = text(data.action);
    if (action === "finish") {
      hub.publishRun({
        phases: run.phases.map((band) => (band.toStep === null ? { ...band, toStep: step } : band)),
      });
      hub.publishLifecycle({ machine: "curriculum", value: "finished", since: time });
    }
    if (action !== "hold") {
      const where = number(data.phase);
      const reason = text(data.reason);
      hub.publishLog({ level: "info", text: `phase ${where ?? "?"}: ${action ?? "decided"} (${reason ?? ""})`, time });
    }
  },

  "metrics.recorded": (hub, { data, step, time }) => {
    const values = data.values;
    if (typeof values !== "object" || values === null || Array.isArray(values)) return;
    const numbers = Object.entries(values).filter((pair): pair is [string, number] => typeof pair[1] === "number");
    hub.publishMetric({ step, phase: number(data.phase) ?? 0, time, values: Object.fromEntries(numbers) });
  },

  "alert.raised": (hub, { data }) => {
    if (typeof data.alert !== "object" || data.alert === null) return;
    const alert = data.alert as unknown as Alert;
    if (alert.rule === "preflight" && hub.showsAlert(alert.text)) return;
    hub.publishAlert(alert);
  },

  "checkpoint.written": (hub, { data, step, time }, run) => {
    const at = number(data.step) ?? step;
    const checkpoint = { step: at, path: text(data.path) ?? "", time };
    // Checkpoints come in order: only one that is written again has to be searched.
    const newest = (run.checkpoints.at(-1)?.step ?? -1) < at;
    const others = newest ? run.checkpoints : run.checkpoints.filter((mark) => mark.step !== at);
    hub.publishRun({ checkpoints: others.concat(checkpoint) });
  },

  "evaluation.finished": (hub, { data, step, time }, run) => {
    const stage = text(data.stage) ?? `step-${step}`;
    const buckets: Evaluation["buckets"] = {};
    for (const [name, value] of Object.entries((data.buckets ?? {}) as Record<string, Json>)) {
      const { n, correct, unscored, meanReward } = (value ?? {}) as Readonly<Record<string, Json | undefined>>;
      buckets[name] = {
        n: number(n) ?? 0,
        correct: number(correct) ?? 0,
        unscored: number(unscored) ?? 0,
        meanReward: number(meanReward) ?? null,
      };
    }
    const others = run.evaluations.filter((evaluation) => evaluation.stage !== stage);
    hub.publishRun({ evaluations: [...others, { stage, step, buckets }] });
    hub.publishLog({ level: "info", text: `held-out evaluation "${stage}" at step ${step}`, time });
  },

  "warmup.finished": (hub, { data, time }) =>
    hub.publishLog({ level: "info", text: `warm-up finished after ${number(data.steps) ?? "?"} steps`, time }),
};

/** Shows a fact. Never throws. */
export function applyFact(hub: FactTarget, fact: Fact): void {
  const mapping = MAPPINGS[fact.type];
  if (!mapping) return;
  if (!hub.run) hub.publishRun({ startedAt: fact.time });
  if (hub.run) mapping(hub, fact, hub.run);
}

/** Why a run ended, with the error's code in front where the text does not name it. */
function ending(data: Fact["data"]): string | null {
  const reason = text(data.reason) ?? text(data.error);
  const code = text(data.code);
  if (reason === null || code === null) return reason ?? code;
  return reason.includes(code) ? reason : `${code}: ${reason}`;
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

function number(value: Json | undefined): number | null {
  return typeof value === "number" ? value : null;
}

function text(value: Json | undefined): string | null {
  return typeof value === "string" ? value : null;
}
