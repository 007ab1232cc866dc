/** The conformance suite of reward actors; the built-ins run it too. */
import assert from "node:assert/strict";
import type { RewardActor, RewardInput, RewardOutcome } from "../contracts/reward.js";
import { exampleRollout, exampleTask } from "./examples.js";
import { deepFreeze, registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface RewardSuiteOptions extends SuiteOptions {
  readonly create: () => RewardActor | Promise<RewardActor>;
  /** A rollout that must score higher than `wrong`; by default a correct answer to the example task. */
  readonly right?: RewardInput;
  readonly wrong?: RewardInput;
}

const task = exampleTask();
const answer = (text: string): RewardInput => ({ task, rollout: exampleRollout(task, text) });
const RIGHT = answer("<think>The text says so.</think>\nTherefore, the answer is Paris.");
const WRONG = answer("<think>A guess.</think>\nTherefore, the answer is Lyon.");
const EMPTY = answer("");

const live = () => ({ signal: new AbortController().signal });

function assertOutcome(outcome: RewardOutcome): void {
  switch (outcome.kind) {
    case "scored":
      assert.ok(Number.isFinite(outcome.value), `a scored value must be finite, got ${outcome.value}`);
      for (const [part, value] of Object.entries(outcome.parts)) assert.ok(Number.isFinite(value), `${part}: ${value}`);
      assert.ok(outcome.prediction === null || typeof outcome.prediction === "string", "prediction");
      break;
    case "timedOut":
      assert.ok(outcome.afterMs >= 0, "afterMs");
      assert.equal(typeof outcome.reason, "string");
      break;
    case "failed":
      assert.notEqual(outcome.code, "");
      assert.equal(typeof outcome.reason, "string");
      break;
    default:
      assert.ok(
        outcome.kind === "abstained" || outcome.kind === "invalid",
        `unknown outcome ${JSON.stringify(outcome)}`,
      );
      assert.equal(typeof outcome.reason, "string");
  }
}

/** Without what a judge took, which is another time each time. */
function scoreOf({ ...outcome }: RewardOutcome): object {
  if ("judge" in outcome) delete (outcome as { judge?: unknown }).judge;
  return outcome;
}

export function describeRewardActor(options: RewardSuiteOptions): void {
  const { right = RIGHT, wrong = WRONG } = options;
  const inputs = [right, wrong, EMPTY];
  const test = (name: string, check: (actor: RewardActor) => void | Promise<void>): SuiteTest => ({
    name,
    body: async () => {
      const actor = await options.create();
      try {
        await check(actor);
      } finally {
        await actor.dispose?.();
      }
    },
  });
  const tests: readonly SuiteTest[] = [
    test("declares a kind and specification version 1", (actor) => {
      assert.equal(typeof actor.kind, "string");
      assert.notEqual(actor.kind, "");
      assert.equal(actor.specificationVersion, 1);
    }),
    test("resolves to a well-formed outcome, also for an empty response", async (actor) => {
      for (const input of inputs) assertOutcome(await actor.handle(input, live()));
    }),
    test("scores a correct answer higher than a wrong one", async (actor) => {
      const better = await actor.handle(right, live());
      const worse = await actor.handle(wrong, live());
      assert.ok(better.kind === "scored", `the correct answer's outcome is ${JSON.stringify(better)}`);
      assert.ok(worse.kind === "scored", `the wrong answer's outcome is ${JSON.stringify(worse)}`);
      assert.ok(better.value > worse.value, `right ${better.value}, wrong ${worse.value}`);
    }),
    test("gives the same outcome for the same rollout", async (actor) => {
      for (const input of inputs) {
        assert.deepEqual(scoreOf(await actor.handle(input, live())), scoreOf(await actor.handle(input, live())));
      }
    }),
    test("gives the same scores concurrently as one after the other", async (actor) => {
      const single: RewardOutcome[] = [];
      for (const input of inputs) single.push(await actor.handle(input, live()));
      const together = await Promise.all(inputs.map((input) => actor.handle(input, live())));
      assert.deepEqual(together.map(scoreOf), single.map(scoreOf));
    }),
    test("does not change its input", async (actor) => {
      for (const input of inputs) await actor.handle(deepFreeze(structuredClone(input)), live());
    }),
    test("settles when its signal has aborted", async (actor) => {
      const settled = await Promise.allSettled([actor.handle(right, { signal: AbortSignal.abort() })]);
      for (const result of settled) if (result.status === "fulfilled") assertOutcome(result.value);
    }),
    test("tells at once whether it takes work, where it tells it at all", ({ readiness }) => {
      if (readiness === undefined) return;
      const state = readiness.state();
      assert.equal(typeof state.ready, "boolean");
      if (!state.ready) assert.ok(state.code !== "" && state.reason !== "" && state.forMs >= 0, JSON.stringify(state));
      const end = readiness.onChange(() => undefined);
      assert.equal(typeof end, "function");
      end();
    }),
  ];
  registerSuite("reward actor contract", tests, options);
}
