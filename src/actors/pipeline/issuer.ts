import type { CurriculumPick } from "../../contracts/curriculum.js";
import { type AdmissionState, admissible } from "../../streams/admission.js";
import type { IssuedTask } from "../../streams/rollout-stages.js";

/** Issues tasks when admission lets it, in calls of a few tasks. Holds the tasks that have to be issued again. */

/** A pick of the curriculum, and which try with it this is. */
export type Visit = Pick<IssuedTask, "task" | "promptIds" | "phase" | "visit" | "carried" | "attempt">;

/** A pick of the curriculum that is not issued. */
export interface SkippedVisit {
  readonly phase: number;
  readonly taskId: string;
  readonly visit: number;
}

/** What rollbacks have left behind for what is issued from now on. */
export interface IssueMarks {
  /** Attempt of new picks: their responses are others than those that a rollback undid. */
  readonly attemptFloor: number;
  /** Highest attempt issued so far; −1 before anything is. */
  readonly highestAttempt: number;
  /** Picks to pass over, once each. */
  readonly skip: readonly SkippedVisit[];
}

export const FRESH_MARKS: IssueMarks = { attemptFloor: 0, highestAttempt: -1, skip: [] };

export interface IssuerOptions {
  readonly promptsPerCall: number;
  /** The groups that are issued together are judged together by the filter. */
  readonly wholeRounds: boolean;
}

export interface IssuerHost {
  /** The numbers that admission decides by; null where nothing is to be issued at all. */
  admission(): AdmissionState | null;
  /** The curriculum's next choice. */
  next(): CurriculumPick & { readonly phase: number };
  task(taskId: string): Pick<IssuedTask, "task" | "promptIds">;
  /** RL step that is under way or next. */
  step(): number;
  issued(task: IssuedTask): void;
}

export class Issuer {
  /** Order-of-issue counter. */
  sequence: number;
  private calls: (readonly IssuedTask[])[] = [];
  private again: Visit[];
  private rounds = 0;
  private highestAttempt: number;
  private readonly attemptFloor: number;
  private skip: readonly SkippedVisit[];

  /** `visits` are issued before anything else. */
  constructor(
    private readonly host: IssuerHost,
    private readonly options: IssuerOptions,
    begin: { readonly sequence: number; readonly visits: readonly Visit[]; readonly marks: IssueMarks },
  ) {
    this.sequence = begin.sequence;
    this.again = [...begin.visits];
    this.highestAttempt = begin.marks.highestAttempt;
    this.attemptFloor = begin.marks.attemptFloor;
    this.skip = begin.marks.skip;
  }

  get marks(): IssueMarks {
    const { attemptFloor, highestAttempt, skip } = this;
    return { attemptFloor, highestAttempt, skip };
  }

  /** Has a task issued once more. */
  repeat(visit: Visit): void {
    this.again.push(visit);
  }

  /** Tasks that wait to be issued once more. */
  get waiting(): readonly Visit[] {
    return this.again;
  }

  /** Forgets tasks that were picked for another phase. */
  keepPhase(phase: number): void {
    this.again = this.again.filter((visit) => visit.phase === phase);
  }

  /** The tasks of the next sampler call; null where nothing may be issued now. */
  call(): readonly IssuedTask[] | null {
    const ready = this.calls.shift();
    if (ready) return ready;
    const state = this.host.admission();
    if (state === null) return null;
    const { promptsPerCall } = this.options;
    const room = admissible(state);
    if (room === 0) return null;
    const { wholeRounds } = this.options;
    // A call that is not full costs nearly as much as a full one, so it waits for more room while others are in flight.
    const worth = Math.min(promptsPerCall, state.perStep);
    if (!wholeRounds && state.inFlight > 0 && room < worth) return null;
    const count = wholeRounds ? room : Math.min(room, promptsPerCall);
    const together = this.rounds;
    const issued = Array.from({ length: count }, () =>
      this.issue(wholeRounds ? { id: together, size: count } : { id: this.rounds++, size: 1 }),
    );
    if (wholeRounds) this.rounds++;
    for (let start = 0; start < count; start += promptsPerCall)
      this.calls.push(issued.slice(start, start + promptsPerCall));
    return this.calls.shift() ?? null;
  }

  private issue(round: IssuedTask["round"]): IssuedTask {
    const { host } = this;
    const again = this.again.shift();
    const step = host.step();
    const task: IssuedTask = again
      ? { ...again, step, sequence: this.sequence++, round }
      : { ...this.pick(), step, sequence: this.sequence++, attempt: this.attemptFloor, round };
    this.highestAttempt = Math.max(this.highestAttempt, task.attempt);
    host.issued(task);
    return task;
  }

  private pick(): Pick<IssuedTask, "task" | "promptIds" | "phase" | "visit" | "carried"> {
    for (;;) {
      const { taskId, visit, carried, phase } = this.host.next();
      const passed = this.skip.find((one) => one.taskId === taskId && one.visit === visit && one.phase === phase);
      if (passed === undefined) {
        const { task, promptIds } = this.host.task(taskId);
        return { task, promptIds, phase, visit, carried };
      }
      this.skip = this.skip.filter((one) => one !== passed);
    }
  }
}
