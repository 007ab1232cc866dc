import type { RewardOutcome } from "./reward.js";
import type { PolicyWanted, SampledSequence, SamplingParams } from "./sampler.js";
import type { Task } from "./task.js";

/** What a worker is asked for: the completions of one task, each with its reward outcome. */
export interface GroupTask {
  readonly groupId: string;
  readonly task: Task;
  readonly promptIds: readonly number[]; // [P]
  /** One random key per wanted completion, as in a SamplePrompt. */
  readonly seeds: readonly number[]; // [G]
  readonly sampling: SamplingParams;
  readonly policy: PolicyWanted;
  /** Deadline of the sampler call, ms. */
  readonly sampleTimeoutMs: number;
  /** Deadline of each reward, ms. */
  readonly rewardTimeoutMs: number;
}

/** What a worker made of a task. */
export interface GroupResult {
  /** Names the worker in logs. */
  readonly worker: string;
  /** Deliveries of the task, this one included. */
  readonly attempt: number;
  readonly sequences: readonly SampledSequence[]; // [G]
  /** Unshaped. */
  readonly outcomes: readonly RewardOutcome[]; // [G]
  /** Time of the sampler call, divided among its groups, and of all rewards, s. */
  readonly seconds: { readonly sample: number; readonly reward: number };
}
