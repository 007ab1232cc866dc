/** The kinds of parts that can be replaced, and the contract of each. */
import type { AdvantagePart } from "../../contracts/advantage.js";
import type { CurriculumActor } from "../../contracts/curriculum.js";
import type { GroupFilter } from "../../contracts/filter.js";
import type { Guard } from "../../contracts/guard.js";
import type { Judge } from "../../contracts/judge.js";
import type { LossPart } from "../../contracts/loss.js";
import type { PolicyStore } from "../../contracts/policy-store.js";
import type { RewardActor } from "../../contracts/reward.js";
import type { Sampler } from "../../contracts/sampler.js";
import type { Trainer } from "../../contracts/trainer.js";

export interface Parts {
  readonly advantage: AdvantagePart;
  readonly reward: RewardActor;
  readonly curriculum: CurriculumActor;
  readonly judge: Judge;
  readonly loss: LossPart;
  readonly sampler: Sampler;
  readonly trainer: Trainer;
  readonly policyStore: PolicyStore;
  readonly filter: GroupFilter;
  readonly guard: Guard;
}

export type PartKind = keyof Parts;

/** The parts that a run works with; a judge stands behind the reward. */
export type RunParts = Omit<Parts, "judge">;

/** Builds every part of a run but the reward, which may ask a judge. */
export function buildRunParts(
  build: <K extends Exclude<keyof RunParts, "reward">>(kind: K) => Parts[K],
  reward: Parts["reward"],
): RunParts {
  return {
    advantage: build("advantage"),
    reward,
    curriculum: build("curriculum"),
    loss: build("loss"),
    sampler: build("sampler"),
    trainer: build("trainer"),
    policyStore: build("policyStore"),
    filter: build("filter"),
    guard: build("guard"),
  };
}
