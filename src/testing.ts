/** The entry point `weir-rl/testing`: conformance suites for replaceable parts, scripted fakes and example records. */
export { type AdvantageSuiteOptions, describeAdvantageActor } from "./testing/advantage-suite.js";
export { type BenchmarkSuiteOptions, describeBenchmark } from "./testing/benchmark-suite.js";
export { type CurriculumSuiteOptions, describeCurriculumActor } from "./testing/curriculum-suite.js";
export { exampleRollout, exampleTask } from "./testing/examples.js";
export {
  createFakeEngine,
  createFakePolicyStore,
  createFakeSampler,
  createFakeTrainer,
  type FakeOptions,
  type FakeWeights,
  fakeVersion,
} from "./testing/fake-engine.js";
export { createFakeJudge, createScriptedReward, scored } from "./testing/fakes.js";
export { describeGroupFilter, exampleFilterGroup, type FilterSuiteOptions } from "./testing/filter-suite.js";
export type { SkippedTests, SuiteOptions, TestFramework } from "./testing/framework.js";
export { describeGuard, exampleEvidence, type GuardSuiteOptions } from "./testing/guard-suite.js";
export { describeJudge, type JudgeSuiteOptions } from "./testing/judge-suite.js";
export { describeLossPart, type LossSuiteOptions } from "./testing/loss-suite.js";
export { describePolicyStore, type PolicyStoreSuiteOptions } from "./testing/policy-store-suite.js";
export { describeRewardActor, type RewardSuiteOptions } from "./testing/reward-suite.js";
export { describeSampler, type SamplerSuiteOptions } from "./testing/sampler-suite.js";
export { describeTrainer, type TrainerSuiteOptions } from "./testing/trainer-suite.js";
export { describeWorkQueue, type WorkQueueLimits, type WorkQueueSuiteOptions } from "./testing/work-queue-suite.js";
