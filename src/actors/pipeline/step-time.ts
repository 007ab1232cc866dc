import { CoveredTime } from "../../system/covered-time.js";

/** Where the time of a step's rollouts went, s. */
export interface RolloutSeconds {
  /** In which at least one sampler call was under way. */
  readonly sample: number;
  /** Of all sampler calls, which may run at once. */
  readonly sampleCalls: number;
  /** Of all rewards, which run side by side. */
  readonly reward: number;
}

/** Counts the time of sampler calls and rewards from step to step. */
export class StepTime {
  private readonly sampling = new CoveredTime();
  private sampleCalls = 0;
  private reward = 0;

  /** A sampler call or a reward that took `seconds` has ended now, at `atMs`. */
  spent(what: "sample" | "reward", seconds: number, atMs: number): void {
    if (what === "reward") this.reward += seconds;
    else {
      this.sampleCalls += seconds;
      this.sampling.ended(seconds, atMs / 1000);
    }
  }

  /** What was counted since the last call; begins anew. */
  take(): RolloutSeconds {
    const { sampleCalls, reward } = this;
    this.sampleCalls = 0;
    this.reward = 0;
    return { sample: this.sampling.take(), sampleCalls, reward };
  }
}
