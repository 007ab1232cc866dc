/** The built-in parts run the conformance suites that weir-rl/testing exports to users. */
import { describe, it } from "vitest";
import { ADVANTAGE_ACTORS } from "../../src/actors/advantage/advantage.js";
import { createPhasedCurriculum } from "../../src/actors/curriculum/curriculum.js";
import { createHybridReward, createRuleReward } from "../../src/actors/reward/reward.js";
import { createBuiltInLoss } from "../../src/losses/built-in.js";
import { LOSS_NAMES } from "../../src/losses/index.js";
import { lossSettings } from "../../src/losses/settings.js";
import {
  createFakeJudge,
  createScriptedReward,
  describeAdvantageActor,
  describeCurriculumActor,
  describeLossPart,
  describeRewardActor,
} from "../../src/testing.js";

const framework = { describe, it };

for (const [name, create] of Object.entries(ADVANTAGE_ACTORS)) {
  describe(`built-in ${name}`, () => {
    describeAdvantageActor({ create: () => create({ epsilon: 1e-6, rewardWeights: {} }), framework });
  });
}

for (const name of LOSS_NAMES) {
  describe(`built-in loss ${name}`, () => {
    describeLossPart({ create: () => createBuiltInLoss(name, lossSettings(name)), framework });
  });
}

for (const mode of ["paper", "released"] as const) {
  describe(`built-in rule reward, ${mode}`, () => {
    describeRewardActor({ create: () => createRuleReward({ mode, requireThink: true }), framework });
  });
  describe(`built-in hybrid reward, ${mode}`, () => {
    describeRewardActor({
      create: () => createHybridReward({ mode, requireThink: true, judge: createFakeJudge([0]) }),
      framework,
    });
  });
}

describe("the scripted reward of weir-rl/testing", () => {
  describeRewardActor({
    create: () => createScriptedReward([1, 0]),
    framework,
    skip: [
      {
        reason: "a script answers by position, not by content",
        tests: [
          "gives the same outcome for the same rollout",
          "gives the same scores concurrently as one after the other",
        ],
      },
    ],
  });
});

for (const mode of ["none", "paper", "weighted"] as const) {
  for (const by of ["steps", "mastery"] as const) {
    describe(`built-in phased curriculum, ${mode}, ${by}`, () => {
      describeCurriculumActor({
        create: () =>
          createPhasedCurriculum({
            retrospective: { mode, share: 0.25 },
            advance: { by, rewardThreshold: 0.7, klLimit: 0.1, calmSteps: 2, fallbackThreshold: 0.3 },
          }),
        framework,
      });
    });
  }
}
