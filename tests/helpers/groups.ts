import type { Group } from "../../src/contracts/group.js";
import type { Rollout } from "../../src/contracts/rollout.js";
import type { Task } from "../../src/contracts/task.js";
import type { IssuedTask } from "../../src/streams/rollout-stages.js";
import { scored } from "../../src/testing.js";
import { wholeSpan } from "./sampling.js";

/** Tasks and groups without content, for tests of what is done with them. */

export const taskOf = (id: string): Task => ({
  id,
  messages: [],
  document: null,
  goldAnswers: [""],
  source: "test",
  promptTokens: 1,
  meta: {},
});

/** The task of a sequence number as it was issued. */
export const issuedOf = (sequence: number, over: Partial<IssuedTask> = {}): IssuedTask => ({
  task: taskOf(`t${sequence}`),
  promptIds: [1],
  phase: 1,
  step: 1,
  visit: 0,
  carried: false,
  sequence,
  attempt: 0,
  round: { id: sequence, size: 1 },
  ...over,
});

/** A finished group; null stands for a reward that failed. Its tokens were sampled at `version`. */
export function groupWith(
  rewards: readonly (number | null)[],
  sequence: number,
  { version = 0, phase = 1 }: { readonly version?: number; readonly phase?: number } = {},
): Group {
  const id = `g${sequence}`;
  return {
    ...{ id, phase, sequence, task: taskOf(`t${sequence}`), visit: 0, carried: false },
    members: rewards.map((reward, sampleIndex) => ({
      rollout: {
        id: `${id}-${sampleIndex}`,
        sampleIndex,
        tokenIds: [5],
        policy: wholeSpan(1, version),
      } as never as Rollout,
      reward,
      outcome: reward === null ? { kind: "failed" as const, code: "x", reason: "y" } : scored(reward),
    })),
  };
}
