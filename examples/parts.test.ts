// The conformance suites, run on custom parts with Node's test runner: node --test parts.test.js
import { describe, it } from "node:test";
import {
  describeAdvantageActor,
  describeLossPart,
  describeRewardActor,
  exampleRollout,
  exampleTask,
} from "weir-rl/testing";
import { parts } from "./parts.js";

const framework = { describe, it };
const task = exampleTask();
const answer = (text: string) => ({ task, rollout: exampleRollout(task, `Therefore, the answer is ${text}`) });

describeRewardActor({
  create: () => {
    const factory = parts.reward?.cited;
    if (typeof factory !== "function") throw new Error("parts.ts holds a factory of the reward");
    const need = () => {
      throw new Error("this reward needs no other part");
    };
    return factory(need, { publish: () => undefined });
  },
  right: answer("Paris"),
  wrong: answer("Lille"),
  framework,
});

/** A part that parts.ts holds by value. */
function held<T extends object>(part: T | ((...given: never[]) => T) | undefined): T {
  if (part === undefined || typeof part === "function") throw new Error("parts.ts holds this part by value");
  return part as T;
}

for (const name of ["median", "entropy"])
  describeAdvantageActor({ create: () => held(parts.advantage?.[name]), framework });

describeLossPart({ create: () => held(parts.loss?.cut), framework });
