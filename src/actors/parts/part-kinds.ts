/** The kinds of parts that can be replaced, and the contract of each. */
import type { AdvantagePart } from "../../contracts/advantage.js";
import type { CurriculumActor } from "../../contracts/curriculum.js";
import type { Judge } from "../../contracts/judge.js";
import type { LossPart } from "../../contracts/loss.js";
import type { RewardActor } from "../../contracts/reward.js";

export interface Parts {
  readonly advantage: AdvantagePart;
  readonly reward: RewardActor;
  readonly curriculum: CurriculumActor;
  readonly judge: Judge;
  readonly loss: LossPart;
}

export type PartKind = keyof Parts;
