/**
 * Owns the check of what curricula give: tasks that exist, decisions that can be followed, snapshots that survive JSON.
 * A coded error of the curriculum itself, such as WEIR_E_EMPTY_PHASE, goes through.
 */
import type {
  CurriculumActor,
  CurriculumDecision,
  CurriculumPick,
  CurriculumSetup,
} from "../../contracts/curriculum.js";
import { callPart, faced, isFiniteNumber, isRecord, type PartLabel, partError, shown } from "./part-errors.js";

const PICK = "next(phase) returns { taskId: the id of a task given to setup(), carried: boolean, visit: 0, 1, 2 … }";
const DECISION =
  'decide(evidence) returns { action: "hold" | "advance" | "fallback" | "finish", phase: the one that was given, nextPhase: a ' +
  "phase of the run to move to, null for hold and finish, reason: string, evidence: { name: finite number } }";
const SNAPSHOT =
  "snapshot() returns JSON: null, booleans, finite numbers, strings, and arrays and plain objects of these, nothing undefined";

function pickFault(pick: unknown, ids: ReadonlySet<string>, phase: number): string | null {
  if (!isRecord(pick)) return `gave ${shown(pick)} as the next task of phase ${phase}`;
  if (typeof pick.taskId !== "string" || !ids.has(pick.taskId))
    return `picked the task ${shown(pick.taskId)} in phase ${phase}, which is none of the ${ids.size} tasks`;
  if (typeof pick.carried !== "boolean") return `picked ${shown(pick.taskId)} with carried = ${shown(pick.carried)}`;
  const { visit } = pick;
  if (!Number.isInteger(visit) || (visit as number) < 0)
    return `picked ${shown(pick.taskId)} with visit = ${shown(visit)}`;
  return null;
}

function decisionFault(decision: unknown, phase: number, phases: readonly number[]): string | null {
  if (!isRecord(decision)) return `gave ${shown(decision)} as its decision`;
  const { action, nextPhase } = decision;
  if (decision.phase !== phase) return `decided for phase ${shown(decision.phase)} when asked about phase ${phase}`;
  if (action === "hold" || action === "finish") {
    if (nextPhase !== null) return `decided "${action}" with nextPhase ${shown(nextPhase)}`;
  } else if (action === "advance" || action === "fallback") {
    if (!phases.includes(nextPhase as number))
      return `decided "${action}" from phase ${phase} to phase ${shown(nextPhase)} of ${phases.length}`;
  } else return `decided on the unknown action ${shown(action)}`;
  if (typeof decision.reason !== "string") return `gave a decision with the reason ${shown(decision.reason)}`;
  if (!isRecord(decision.evidence)) return `gave a decision with the evidence ${shown(decision.evidence)}`;
  for (const [name, value] of Object.entries(decision.evidence))
    if (!isFiniteNumber(value)) return `gave a decision with the evidence "${name}" = ${shown(value)}`;
  return null;
}

/** Where a value is not JSON, as `path = value`, or null. */
function jsonFault(value: unknown, path: string): string | null {
  if (value === null || typeof value === "string" || typeof value === "boolean" || isFiniteNumber(value)) return null;
  const plain = isRecord(value) && [Object.prototype, null].includes(Object.getPrototypeOf(value));
  if (!plain && !Array.isArray(value))
    return `${path} = ${typeof value === "object" ? value.constructor.name : shown(value)}`;
  for (const [key, inner] of Object.entries(value)) {
    const fault = jsonFault(inner, `${path}.${key}`);
    if (fault !== null) return fault;
  }
  return null;
}

export function checkedCurriculum(actor: CurriculumActor, label: PartLabel): CurriculumActor {
  let ids: ReadonlySet<string> = new Set();
  let phases: readonly number[] = [];
  const call = <T>(name: string, contract: string, work: () => T): T => callPart(label, `${name}()`, contract, work);
  const refuse = (fault: string | null, contract: string) => {
    if (fault !== null) throw partError(label, fault, contract);
  };
  return faced(actor, {
    setup(setup: CurriculumSetup) {
      ids = new Set(setup.tasks.map((task) => task.id));
      phases = setup.phases.map((phase) => phase.k);
      call("setup", "setup(tasks, phases, seed) takes any tasks and phases", () => actor.setup(setup));
    },
    next(phase): CurriculumPick {
      const pick = call("next", PICK, () => actor.next(phase));
      refuse(pickFault(pick, ids, phase), PICK);
      return pick;
    },
    observe(observation) {
      call("observe", "observe(group) takes any observation, one without rewards too", () =>
        actor.observe(observation),
      );
    },
    decide(evidence): CurriculumDecision {
      const decision = call("decide", DECISION, () => actor.decide(evidence));
      refuse(decisionFault(decision, evidence.phase, phases), DECISION);
      return decision;
    },
    snapshot() {
      const snapshot = call("snapshot", SNAPSHOT, () => actor.snapshot());
      const fault = jsonFault(snapshot, "snapshot");
      refuse(fault === null ? null : `gave a snapshot with ${fault}`, SNAPSHOT);
      return snapshot;
    },
    restore(snapshot) {
      call("restore", "restore(snapshot) takes what snapshot() gave", () => actor.restore(snapshot));
    },
  });
}
