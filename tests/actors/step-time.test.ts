import { expect, it } from "vitest";
import { StepTime } from "../../src/actors/pipeline/step-time.js";

it("calls at once count once in the wall time of sampling and each in their sum, rewards each; and from step to step anew", () => {
  const time = new StepTime();
  time.spent("sample", 2, 3_000);
  time.spent("reward", 0.5, 3_500);
  time.spent("sample", 2, 4_000);
  time.spent("reward", 0.5, 4_000);
  expect(time.take()).toEqual({ sample: 3, sampleCalls: 4, reward: 1 });
  expect(time.take()).toEqual({ sample: 0, sampleCalls: 0, reward: 0 });
});
