/** What a journal tells of the guard: verdicts, alarms from begin to end, rollbacks, knobs, in order. Pure. */
import { GUARD_MACHINE, type GuardMove, replayGuard } from "../actors/guard/guard-replay.js";
import type { Fact, FactData } from "../contracts/fact.js";

export interface StoryLine {
  readonly step: number;
  readonly what: string;
  readonly text: string;
}

export interface GuardStory {
  readonly lines: readonly StoryLine[];
  /** Counts of what is told. */
  readonly counts: {
    readonly verdicts: number;
    readonly alarms: number;
    readonly open: number;
    readonly rollbacks: number;
  };
  /** States of the statechart as the journal holds them, and as its verdicts give them; null for a guard without one. */
  readonly states: { readonly told: readonly GuardMove[]; readonly replayed: readonly GuardMove[] } | null;
  /** The two are the same. */
  readonly replayable: boolean;
}

export function guardStory(facts: readonly Fact[], maxRollbacks: number): GuardStory {
  const { told, replayed } = replayGuard(facts, maxRollbacks);
  const of = (type: Fact["type"]) => facts.filter((fact) => fact.type === type).length;
  const alarms = of("alert.raised");
  return {
    lines: facts.flatMap((fact) => lineOf(fact) ?? []),
    counts: {
      verdicts: of("guard.judged"),
      alarms,
      open: alarms - of("alert.ended"),
      rollbacks: of("run.rolledBack"),
    },
    states: told.length === 0 ? null : { told, replayed },
    replayable: JSON.stringify(told) === JSON.stringify(replayed),
  };
}

function lineOf(fact: Fact): StoryLine | null {
  const line = (what: string, text: string) => ({ step: fact.step, what, text });
  switch (fact.type) {
    case "guard.judged":
      return line(fact.data.verdict, judgedText(fact.data));
    case "guard.prepared":
      return line("prepare", fact.data.reason);
    case "alert.raised":
      return line("alarm", `${fact.data.alert.level} ${fact.data.alert.rule}: ${fact.data.alert.text}`);
    case "alert.updated":
      return line(
        "lasts",
        `${fact.data.rule} on ${fact.data.metric} for ${fact.data.steps} steps, worst ${shown(fact.data.worst)}`,
      );
    case "alert.ended":
      return line(
        "ends",
        `${fact.data.rule} on ${fact.data.metric}: steps ${fact.data.fromStep} to ${fact.data.toStep}, worst ${shown(fact.data.worst)}`,
      );
    case "run.rolledBack":
      return line("rollback", rolledBackText(fact.data));
    case "knob.turned":
      return line(
        "knob",
        `${fact.data.path}: ${JSON.stringify(fact.data.old)} to ${JSON.stringify(fact.data.new)} by ${fact.data.by.kind}${fact.data.reason === null ? "" : `: ${fact.data.reason}`}`,
      );
    case "phase.skipped":
      return line("phase", `phase ${fact.data.phase} ended by ${fact.data.by.kind}`);
    case "batch.saved":
      return line(
        "saved",
        `${fact.data.path}${fact.data.replayable ? ", with weights and moments (weir replay)" : ""}`,
      );
    case "lifecycle.changed":
      return fact.data.machine === GUARD_MACHINE ? line("guard", String(fact.data.value)) : null;
    default:
      return null;
  }
}

const shown = (value: number | null): string => (value === null ? "not finite" : String(Number(value.toPrecision(4))));

function judgedText({ stage, miniBatch, rule, reason, scale, kl, gradNorm }: FactData["guard.judged"]): string {
  const where = stage === "warmup" ? "warm-up" : `optimiser step ${miniBatch + 1}`;
  const numbers = [
    ...(scale === null ? [] : [`share ${shown(scale)}`]),
    ...(kl === null ? [] : [`KL ${shown(kl)} nats`]),
    ...(gradNorm === null ? [] : [`gradient norm ${shown(gradNorm)}`]),
  ];
  return `${where}, ${rule === null ? "" : `${rule}: `}${reason}${numbers.length === 0 ? "" : ` (${numbers.join(", ")})`}`;
}

function rolledBackText({ fromStep, toStep, rule, reason, by, undone, count }: FactData["run.rolledBack"]): string {
  const why = rule === null ? reason : `${rule}: ${reason}`;
  return `from step ${fromStep} to the end of step ${toStep}, asked for by ${by.kind}; ${undone} rollouts undone; number ${count}; ${why}`;
}
