/** The entry point `weir-rl/testing`: conformance suites for replaceable parts, scripted fakes and example records. */
export { type AdvantageSuiteOptions, describeAdvantageActor } from "./testing/advantage-suite.js";
export { type CurriculumSuiteOptions, describeCurriculumActor } from "./testing/curriculum-suite.js";
export { exampleRollout, exampleTask } from "./testing/examples.js";
export {
  createFakeEngine,
  createFakeSampler,
  createFakeTrainer,
  type FakeOptions,
  fakeVersion,
} from "./testing/fake-engine.js";
export { createFakeJudge, createScriptedReward, scored } from "./testing/fakes.js";
export type { SkippedTests, SuiteOptions, TestFramework } from "./testing/framework.js";
export { describeLossPart, type LossSuiteOptions } from "./testing/loss-suite.js";
export { describeRewardActor, type RewardSuiteOptions } from "./testing/reward-suite.js";
