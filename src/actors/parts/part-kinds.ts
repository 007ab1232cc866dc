/** The kinds of parts that can be replaced, and the contract of each. */
import type { AdvantagePart } from "../../contracts/advantage.js";
import type { Benchmark } from "../../contracts/benchmark.js";
import type { CurriculumActor } from "../../contracts/curriculum.js";
import type { GroupFilter } from "../../contracts/filter.js";
import type { GroupResult, GroupTask } from "../../contracts/group-work.js";
import type { Guard } from "../../contracts/guard.js";
import type { Judge } from "../../contracts/judge.js";
import type { LossPart } from "../../contracts/loss.js";
import type { PolicyStore } from "../../contracts/policy-store.js";
import type { RewardActor } from "../../contracts/reward.js";
import type { Sampler } from "../../contracts/sampler.js";
import type { Trainer } from "../../contracts/trainer.js";
import type { WorkQueue } from "../../contracts/work-queue.js";

export interface Parts {
  readonly advantage: AdvantagePart;
  readonly reward: RewardActor;
  readonly curriculum: CurriculumActor;
  readonly judge: Judge;
  readonly loss: LossPart;
  readonly sampler: Sampler;
  readonly trainer: Trainer;
  readonly policyStore: PolicyStore;
  readonly workQueue: WorkQueue<GroupTask, GroupResult>;
  readonly filter: GroupFilter;
  readonly guard: Guard;
  readonly benchmark: Benchmark;
}

export type PartKind = keyof Parts;

/** Kinds of which a run has one part, chosen by an option. An evaluation has as many benchmarks as it names. */
export type ChosenKind = Exclude<PartKind, "benchmark">;

/** The parts that a run works with; a judge stands behind the reward. A run without workers has no work queue. */
export type RunParts = Omit<Pick<Parts, ChosenKind>, "judge" | "workQueue"> & Partial<Pick<Parts, "workQueue">>;

/** Name of a work queue that is none: the run's own sampler and reward do the work. */
export const NO_QUEUE = "none";

/** Builds every part of a run but the reward, which may ask a judge. */
export function buildRunParts(
  build: <K extends Exclude<keyof RunParts, "reward">>(kind: K) => Parts[K],
  reward: Parts["reward"],
  withQueue: boolean,
): RunParts {
  return {
    advantage: build("advantage"),
    reward,
    curriculum: build("curriculum"),
    loss: build("loss"),
    sampler: build("sampler"),
    trainer: build("trainer"),
    policyStore: build("policyStore"),
    ...(withQueue ? { workQueue: build("workQueue") } : {}),
    filter: build("filter"),
    guard: build("guard"),
  };
}
