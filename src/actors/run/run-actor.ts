import type { ActorState, ActorStatus } from "../../contracts/actor-status.js";

/** The run as the root of the supervision tree: what the lifecycle's states mean for an actor. */

const STATE_OF: Readonly<Record<string, ActorState>> = {
  created: "starting",
  paused: "waitingForInput",
  recovering: "restarting",
  rollingBack: "restarting",
  draining: "draining",
  completed: "stopped",
  stopped: "stopped",
  failed: "failed",
};

/** States in which the run works on nothing. */
const IDLE: readonly ActorState[] = ["starting", "waitingForInput", "stopped", "failed"];

export class RunActor {
  private state: ActorState = "starting";
  private restarts = 0;
  private detail: string | null = null;

  /** Takes a state of the lifecycle, such as `training`; `error` is what led to a recovery, a rollback or the failure. */
  enter(lifecycle: string, error: unknown): void {
    // Every other state of the lifecycle is a piece of work.
    this.state = STATE_OF[lifecycle] ?? "running";
    const troubled = this.state === "restarting" || this.state === "failed";
    this.detail = !troubled ? null : error instanceof Error ? error.message : String(error);
    if (this.state === "restarting") this.restarts++;
  }

  /** `steps`: RL steps committed. */
  status(steps: number): ActorStatus {
    return {
      name: "run",
      parent: null,
      state: this.state,
      workers: 1,
      busy: IDLE.includes(this.state) ? 0 : 1,
      handled: steps,
      dropped: 0,
      restarts: this.restarts,
      queue: null,
      policyVersion: null,
      detail: this.detail,
    };
  }
}
