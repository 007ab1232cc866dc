/** Small, valid records for tests of parts: a task of the paper's template and rollouts of it. */
import type { Rollout } from "../contracts/rollout.js";
import type { Task } from "../contracts/task.js";

/** A one-hop question whose gold answer is Paris, scored by the QA rule. */
export function exampleTask(overrides: Partial<Task> = {}): Task {
  const document = "Paris is the capital of France. Lyon is a city on the Rhône.";
  const question = "What is the capital of France?";
  const format = 'Format your response as follows: "Therefore, the answer is (insert answer here)".';
  const content = `Read the text and answer the question.\n\n<text>\n${document}\n</text>\n\n${question}\n\n${format}`;
  return {
    id: "example-1",
    messages: [{ role: "user", content }],
    document,
    goldAnswers: ["Therefore, the answer is Paris."],
    source: "musique_0_20000",
    promptTokens: 64,
    meta: {},
    ...overrides,
  };
}

/** A finished rollout of a task with the text given; one token id per character code, log-prob −1 each. */
export function exampleRollout(task: Task, text: string, overrides: Partial<Rollout> = {}): Rollout {
  const tokenIds = [...text].map((character) => character.codePointAt(0) as number);
  return {
    id: `${task.id}/0`,
    taskId: task.id,
    groupId: `${task.id}/group`,
    sampleIndex: 0,
    promptIds: [1, 2, 3],
    tokenIds,
    samplerLogprobs: tokenIds.map(() => -1),
    entropies: tokenIds.map(() => 0.5),
    finish: "stop",
    policy: [{ version: 0, sha256: "0".repeat(64), start: 0, end: tokenIds.length }],
    seed: 1,
    text,
    ...overrides,
  };
}
