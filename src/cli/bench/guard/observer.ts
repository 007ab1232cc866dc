/** What the facts of one run say of a fault: when it was found, by which rule, what was done, and whom the alarm named. Pure. */
import type { Fact } from "../../../contracts/fact.js";
import type { FaultWindow } from "./fault-window.js";

/** What found the fault first. */
export interface Detection {
  /** A verdict of the guard, or an alarm. */
  readonly by: "verdict" | "alarm";
  readonly rule: string;
  /** Attempts at a step that ended with the fault before it was found; 0: it was found in the first. */
  readonly steps: number;
  /** Optimiser steps of the fault that had changed the weights by then. */
  readonly updates: number;
}

export interface Observation {
  readonly detection: Detection | null;
  /** Verdicts other than commit from the fault's begin on, by action. */
  readonly verdicts: Readonly<Record<string, number>>;
  readonly rollbacks: number;
  /** Rules of the alarms that were raised from the fault's begin on, in order. */
  readonly alarms: readonly string[];
  /** The first alarm with culprits names a spoilt rollout first; null where none was raised. */
  readonly culprit: boolean | null;
  /** Alarms and verdicts before the fault, or in a run without one, as rule and metric. */
  readonly early: readonly string[];
}

/** Rules of remarks on data and configuration, which say nothing of the training. */
const REMARKS: ReadonlySet<string> = new Set(["preflight", "left_out", "paused"]);
/** Attempts after the fault in which it still counts as found: what it did shows in the next step at the latest. */
const GRACE_ATTEMPTS = 1;

export interface ObservedFault {
  readonly window: Pick<FaultWindow, "begun" | "done">;
  /** Attempts that the fault lasts. */
  readonly attempts: number;
  readonly spoilt: ReadonlySet<string>;
}

/** Hears the facts of a run, each before the fault's window hears it. Without a fault everything is early. */
export class FaultObserver {
  private detection: Detection | null = null;
  private readonly verdicts: Record<string, number> = {};
  private rollbacks = 0;
  private readonly alarms: string[] = [];
  private culprit: boolean | null = null;
  private readonly early: string[] = [];
  /** Optimiser steps with the fault that changed weights: of steps before, and of this one. */
  private updates = { before: 0, now: 0 };

  constructor(private readonly fault: ObservedFault | null) {}

  hear(fact: Fact): void {
    switch (fact.type) {
      case "metrics.recorded":
        if (this.fault?.window.begun) this.updates.now = fact.data.values["update/applied"] ?? 0;
        return;
      case "guard.judged": {
        const { stage, verdict, rule, reason } = fact.data;
        if (stage === "rl") this.found("verdict", rule ?? reason, verdict);
        return;
      }
      case "alert.raised": {
        const { rule, metric, level, culprits } = fact.data.alert;
        if (level === "info" || REMARKS.has(rule)) return;
        this.found("alarm", `${rule} ${metric}`, null);
        const [first] = culprits;
        if (this.fault?.window.begun && first) this.culprit ??= this.fault.spoilt.has(first.rolloutId);
        return;
      }
      case "run.rolledBack":
        if (this.fault?.window.begun) this.rollbacks++;
        this.updates.now = 0;
        return;
      case "step.committed":
        this.updates = { before: this.updates.before + this.updates.now, now: 0 };
        return;
    }
  }

  get observation(): Observation {
    const { detection, verdicts, rollbacks, alarms, culprit, early } = this;
    return { detection, verdicts: { ...verdicts }, rollbacks, alarms: [...alarms], culprit, early: [...early] };
  }

  private found(by: Detection["by"], rule: string, verdict: string | null): void {
    if (!this.fault?.window.begun) {
      this.early.push(rule);
      return;
    }
    if (verdict === null) this.alarms.push(rule);
    else this.verdicts[verdict] = (this.verdicts[verdict] ?? 0) + 1;
    const { window, attempts } = this.fault;
    if (this.detection !== null || window.done > attempts + GRACE_ATTEMPTS - 1) return;
    const { before, now } = this.updates;
    // An alarm tells of a step whose updates are applied; a verdict comes before that of its own.
    this.detection = { by, rule, steps: window.done, updates: by === "verdict" ? before : before + now };
  }
}
