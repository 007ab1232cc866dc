/** The faults that `weir bench guard` injects. A new one is an entry here. */
import { createGrpoAdvantage } from "../../../actors/advantage/advantage.js";
import type { AdvantagePart } from "../../../contracts/advantage.js";
import type { Judge } from "../../../contracts/judge.js";
import type { RewardActor } from "../../../contracts/reward.js";
import type { Sampler } from "../../../contracts/sampler.js";
import type { Trainer } from "../../../contracts/trainer.js";
import { WeirError } from "../../../errors.js";
import { corruptedSampler } from "./corrupted-sampler.js";
import type { FaultWindow } from "./fault-window.js";
import {
  bonusTrainer,
  lateReward,
  nanReward,
  notingJudged,
  notingReward,
  type Spoilt,
  scaledAdvantage,
  truncatingSampler,
  yesJudge,
} from "./injectors.js";
import type { SettingName } from "./setting.js";

/** What a fault's parts are made of. */
export interface FaultSurroundings {
  readonly window: FaultWindow;
  readonly spoilt: Spoilt;
  /** Folder for files of the fault. */
  readonly folder: string;
}

/** Wrappers of the healthy parts; what is left out stays healthy. */
export interface FaultyParts {
  readonly advantage?: AdvantagePart;
  readonly judge?: (inner: Judge) => Judge;
  readonly reward?: (inner: RewardActor) => RewardActor;
  readonly sampler?: (inner: Sampler) => Sampler;
  readonly trainer?: (inner: Trainer) => Trainer;
}

export interface Fault {
  readonly name: string;
  /** What goes wrong, in one line. */
  readonly about: string;
  /** The run that it is injected into. */
  readonly setting: SettingName;
  /** Attempts at an RL step during which it acts. */
  readonly attempts: number;
  /** Certain samples cause it, so that the first culprit of its alarm has to be one of them. */
  readonly inData: boolean;
  /** A knob that is turned when the fault begins, and turned back when it ends. */
  readonly knob?: { readonly path: string; readonly to: (configured: number) => number };
  readonly parts?: (surroundings: FaultSurroundings) => FaultyParts;
}

/** Steps of a fault that lasts. */
export const LASTING_ATTEMPTS = 10;
const LEARNING_RATE_FACTOR = 100;
const ADVANTAGE_FACTOR = 1000;
const HOT = 3;
/** Of the wrong sign, and so strong that it outweighs the policy loss; with −1 the policy still learns as well as without. */
const WRONG_BONUS = -20;
/** No response can be finished within so many tokens. */
const TRUNCATED_TOKENS = 8;
const DAMAGED_TENSOR = "model.layers.3.mlp.down_proj.weight";
/** Responses are worse, but not all of them wrong: a batch without a right response is not trained on, and shows nothing. */
const DAMAGE = 0.5;
/** One more than the largest lag of the setting. */
const LATE_ATTEMPTS = 3;
/** Half of what may be in flight with that lag: what is left is enough for a step. */
const LATE_GROUPS = 24;

const lasting = { setting: "plain", attempts: LASTING_ATTEMPTS, inData: false } as const;

function scaled(whose: "batch" | "sample") {
  return ({ window, spoilt }: FaultSurroundings): FaultyParts => ({
    advantage: scaledAdvantage(createGrpoAdvantage(), window, spoilt, { factor: ADVANTAGE_FACTOR, whose }),
    reward: (inner) => notingReward(inner, spoilt),
  });
}

export const FAULTS: readonly Fault[] = [
  {
    ...lasting,
    name: "learning-rate",
    about: `learning rate × ${LEARNING_RATE_FACTOR}, by knob`,
    knob: { path: "optimiser.learningRate", to: (configured) => LEARNING_RATE_FACTOR * configured },
  },
  {
    ...lasting,
    name: "advantages",
    about: `advantages of one batch × ${ADVANTAGE_FACTOR}`,
    attempts: 1,
    inData: true,
    parts: scaled("batch"),
  },
  {
    ...lasting,
    name: "advantage",
    about: `advantage of one response × ${ADVANTAGE_FACTOR}`,
    attempts: 1,
    inData: true,
    parts: scaled("sample"),
  },
  {
    ...lasting,
    name: "sampler-weights",
    about: `${DAMAGED_TENSOR} of the sampler × ${DAMAGE}`,
    setting: "samplers",
    parts: ({ window, folder }) => ({
      sampler: (inner) => corruptedSampler(inner, { window, folder, tensor: DAMAGED_TENSOR, factor: DAMAGE }),
    }),
  },
  {
    ...lasting,
    name: "temperature",
    about: `temperature ${HOT}, by knob`,
    knob: { path: "rollout.temperature", to: () => HOT },
  },
  {
    ...lasting,
    name: "judge",
    about: "the judge answers YES always",
    inData: true,
    parts: ({ window, spoilt }) => ({
      judge: (inner) => yesJudge(inner, window),
      reward: (inner) => notingJudged(inner, window, spoilt),
    }),
  },
  {
    ...lasting,
    name: "reward-nan",
    about: "one reward of a step is NaN",
    inData: true,
    parts: ({ window, spoilt }) => ({ reward: (inner) => nanReward(inner, window, spoilt) }),
  },
  {
    ...lasting,
    name: "truncation",
    about: `every response is cut after ${TRUNCATED_TOKENS} tokens`,
    parts: ({ window }) => ({ sampler: (inner) => truncatingSampler(inner, window, TRUNCATED_TOKENS) }),
  },
  {
    ...lasting,
    name: "stale",
    about: `rewards of up to ${LATE_GROUPS} groups at once come ${LATE_ATTEMPTS} steps late`,
    setting: "lagged",
    parts: ({ window }) => ({
      reward: (inner) => lateReward(inner, window, { attempts: LATE_ATTEMPTS, atOnce: LATE_GROUPS }),
    }),
  },
  {
    ...lasting,
    name: "entropy-bonus",
    about: `entropy bonus of the wrong sign, coefficient ${WRONG_BONUS}`,
    parts: ({ window }) => ({ trainer: (inner) => bonusTrainer(inner, window, WRONG_BONUS) }),
  },
];

/** The faults with these names, in the order of the list. Errors: WEIR_E_USAGE. */
export function faultsNamed(names: readonly string[]): readonly Fault[] {
  const unknown = names.find((name) => !FAULTS.some((fault) => fault.name === name));
  if (unknown !== undefined) {
    const known = FAULTS.map(({ name }) => name).join(", ");
    throw new WeirError("WEIR_E_USAGE", `--fault: expected one of ${known}, got "${unknown}"`, { fault: unknown });
  }
  return names.length === 0 ? FAULTS : FAULTS.filter(({ name }) => names.includes(name));
}
