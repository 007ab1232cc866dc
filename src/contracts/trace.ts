import type { BehaviourCounts, BehaviourSpan } from "./behaviour.js";
import type { RewardOutcome } from "./reward.js";
import type { FinishReason } from "./rollout.js";

/** A token of a trace with what is known of it. What was not measured, or not trained, is null. */
export interface TraceToken {
  readonly id: number;
  readonly text: string;
  readonly logprob: number;
  /** Null where the sampler gives no entropies. */
  readonly entropy: number | null;
  /** Weight of the token in the loss from rollout correction; null without correction, and where it was not trained. */
  readonly weight: number | null;
  readonly advantage: number | null;
  /** π/π_old at the gradient. */
  readonly ratio: number | null;
  /** k3 of the policy after the step against π_old, nats. */
  readonly klOld: number | null;
  /** k3 of π_old against the reference, nats. */
  readonly klRef: number | null;
  /** Share of the step's loss: the token's part over the sum of all parts' absolute values, with its sign. */
  readonly lossShare: number | null;
}

/** A sampled rollout with everything that is shown of it: the monitor's trace record and a row of the rollouts parquet. */
export interface Trace {
  readonly id: string;
  readonly groupId: string;
  readonly taskId: string;
  readonly source: string;
  readonly step: number;
  readonly phase: number;
  readonly sampleIndex: number;
  readonly carried: boolean;
  /** Of its first token. */
  readonly policyVersion: number;
  /** Largest lag of its tokens when they were trained, versions; null where it was not trained. */
  readonly lag: number | null;
  readonly prompt: string;
  readonly completion: string;
  readonly goldAnswer: string;
  readonly outcome: RewardOutcome;
  readonly reward: number | null;
  readonly advantage: number | null;
  readonly promptTokens: number;
  readonly tokens: readonly TraceToken[]; // [T]
  /** Behaviours that the words of the response show, as intervals of its tokens; growing by their beginning. */
  readonly behaviours: readonly BehaviourSpan[];
  /** What the judge counted in the response; null where it was not asked, or gave no counts. */
  readonly judgedBehaviours: BehaviourCounts | null;
  readonly finish: FinishReason;
  readonly time: number;
}
