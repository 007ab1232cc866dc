/** The conformance suite of curriculum actors; the built-in runs it too. */
import assert from "node:assert/strict";
import type { CurriculumActor, CurriculumSetup } from "../contracts/curriculum.js";
import { WeirError } from "../errors.js";
import { registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface CurriculumSuiteOptions extends SuiteOptions {
  readonly create: () => CurriculumActor | Promise<CurriculumActor>;
}

/** Six tasks in phase 1, four in phase 2, one beyond both; phase 3 is empty. */
const SETUP: CurriculumSetup = {
  tasks: [10, 20, 30, 40, 50, 100, 101, 150, 180, 200, 900].map((promptTokens, i) => ({ id: `t${i}`, promptTokens })),
  phases: [
    { k: 1, minTokens: 0, maxTokens: 100, steps: 3 },
    { k: 2, minTokens: 100, maxTokens: 200, steps: 3 },
    { k: 3, minTokens: 200, maxTokens: 300, steps: 3 },
  ],
  seed: 7,
};

const tokensOf = (id: string): number => SETUP.tasks.find((task) => task.id === id)?.promptTokens ?? Number.NaN;

/** Deterministic rewards: short tasks are solved, the longest of a phase never. */
function rewardsOf(id: string): number[] {
  return tokensOf(id) % 50 === 0 ? [0, 0, 0, 0] : [1, 0, 1, 1];
}

/** Runs `steps` steps of a phase, three groups each, and records all answers of the curriculum. */
function drive(actor: CurriculumActor, phase: number, fromStep: number, steps: number): unknown[] {
  const said: unknown[] = [];
  for (let step = fromStep; step < fromStep + steps; step++) {
    for (let i = 0; i < 3; i++) {
      const pick = actor.next(phase);
      said.push(pick);
      actor.observe({ taskId: pick.taskId, phase, rewards: rewardsOf(pick.taskId) });
    }
    said.push(actor.decide({ step, phase, meanReward: 0.5, accuracy: 0.5, kl: 0.001, entropy: 0.4 }));
  }
  return said;
}

export function describeCurriculumActor(options: CurriculumSuiteOptions): void {
  const test = (name: string, check: (fresh: () => Promise<CurriculumActor>) => Promise<void>): SuiteTest => ({
    name,
    body: () =>
      check(async () => {
        const actor = await options.create();
        actor.setup(SETUP);
        return actor;
      }),
  });
  const tests: readonly SuiteTest[] = [
    test("declares a kind and specification version 1", async (fresh) => {
      const actor = await fresh();
      assert.equal(typeof actor.kind, "string");
      assert.notEqual(actor.kind, "");
      assert.equal(actor.specificationVersion, 1);
    }),
    test("picks tasks of the phase, or carried ones from shorter phases", async (fresh) => {
      const actor = await fresh();
      drive(actor, 1, 1, 3);
      for (let i = 0; i < 40; i++) {
        const pick = actor.next(2);
        const tokens = tokensOf(pick.taskId);
        if (pick.carried) assert.ok(tokens <= 100, `${pick.taskId} is carried but not from a shorter phase`);
        else assert.ok(tokens > 100 && tokens <= 200, `${pick.taskId} has ${tokens} tokens, outside phase 2`);
      }
    }),
    test("counts the visits of a task from 0", async (fresh) => {
      const actor = await fresh();
      const visits = new Map<string, number>();
      for (let i = 0; i < 30; i++) {
        const { taskId, visit } = actor.next(1);
        assert.equal(visit, visits.get(taskId) ?? 0, `visit of ${taskId}`);
        visits.set(taskId, visit + 1);
      }
    }),
    test("is deterministic in setup and history", async (fresh) => {
      const once = await fresh();
      const again = await fresh();
      assert.deepEqual(
        [...drive(once, 1, 1, 3), ...drive(once, 2, 4, 3)],
        [...drive(again, 1, 1, 3), ...drive(again, 2, 4, 3)],
      );
    }),
    test("has a JSON snapshot from which another instance continues identically", async (fresh) => {
      for (const steps of [0, 1, 2, 3]) {
        const original = await fresh();
        drive(original, 1, 1, steps);
        const snapshot = original.snapshot();
        const json = JSON.parse(JSON.stringify(snapshot));
        assert.deepEqual(json, snapshot, "the snapshot must survive JSON");
        const restored = await fresh();
        restored.restore(json);
        const onward = (actor: CurriculumActor) => [...drive(actor, 1, 1 + steps, 2), ...drive(actor, 2, 3 + steps, 3)];
        assert.deepEqual(onward(restored), onward(original));
      }
    }),
    test("refuses an empty phase with WEIR_E_EMPTY_PHASE that names its bounds", async (fresh) => {
      const actor = await fresh();
      assert.throws(
        () => actor.next(3),
        (error) =>
          WeirError.isInstance(error) && error.code === "WEIR_E_EMPTY_PHASE" && /200\b.*300\b/s.test(error.message),
      );
    }),
    test("decides with a known action, a fitting next phase and finite numbers", async (fresh) => {
      const actor = await fresh();
      for (const phase of [1, 2]) {
        for (let step = 1; step <= 4; step++) {
          const { taskId } = actor.next(phase);
          actor.observe({ taskId, phase, rewards: rewardsOf(taskId) });
          const measured = { meanReward: 0.9, accuracy: 0.8, kl: 0, entropy: 0.2 };
          const nothing = { meanReward: null, accuracy: null, kl: null, entropy: null };
          const decision = actor.decide({ step, phase, ...(step === 2 ? nothing : measured) });
          const next = { hold: null, finish: null, advance: phase + 1, fallback: phase - 1 }[decision.action];
          assert.notEqual(next, undefined, `unknown action ${decision.action}`);
          assert.equal(decision.nextPhase, next);
          assert.equal(decision.phase, phase);
          assert.notEqual(decision.reason, "");
          for (const [name, value] of Object.entries(decision.evidence)) assert.ok(Number.isFinite(value), name);
        }
      }
    }),
  ];
  registerSuite("curriculum actor contract", tests, options);
}
