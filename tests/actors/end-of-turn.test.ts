/** The end of a turn reaches sampling: a policy that learnt it in the warm-up stops at it. */
import { expect, it } from "vitest";
import { createTrainingSystem } from "../../src/actors/run/training-system.js";
import type { SamplingParams } from "../../src/contracts/sampler.js";
import { createFakeEngine } from "../../src/testing/fake-engine.js";
import { parityReward, tinyConfig } from "../e2e/tiny-run.js";
import { temporaryFolder } from "../helpers/fixtures.js";

it("rollouts and evaluations stop at the end of a turn besides the model's stop ids", async () => {
  const seen: SamplingParams[] = [];
  const fake = createFakeEngine({ vocabSize: 400 });
  const engine = {
    ...fake,
    sampler: {
      ...fake.sampler,
      sample: (...[request, options]: Parameters<typeof fake.sampler.sample>) => {
        seen.push(request.params);
        return fake.sampler.sample(request, options);
      },
    },
  };
  const config = await tinyConfig(
    { phases: [{ maxTokens: 300, steps: 1 }], evaluation: { initial: true, tasksPerBucket: 2 } },
    await temporaryFolder(),
  );
  const system = createTrainingSystem(config, { actors: { engine: async () => engine, reward: parityReward } });
  await system.start();
  await system.done;
  // The fake's stop id is 0; the template of tiny-qwen2 ends a turn with <|im_end|>, id 2.
  expect(seen.length).toBeGreaterThan(1);
  expect(new Set(seen.map(({ stopIds }) => stopIds.join()))).toEqual(new Set(["0,2"]));
});
