import { describe, it } from "node:test";
import { describeRewardActor, exampleRollout, exampleTask } from "weir-rl/testing";
import { cited } from "./reward.js";

const task = exampleTask();
const answer = (text: string) => ({ task, rollout: exampleRollout(task, `Therefore, the answer is ${text}.`) });

describeRewardActor({
  create: () => cited,
  right: answer("Paris"),
  wrong: answer("Marseille"),
  framework: { describe, it },
});
