/** Owns the conformance suite of guards; the built-in runs it too. */
import assert from "node:assert/strict";
import type { Evidence, Guard } from "../contracts/guard.js";
import type { Json } from "../contracts/task.js";
import { deepFreeze, registerSuite, type SuiteOptions, type SuiteTest } from "./framework.js";

export interface GuardSuiteOptions extends SuiteOptions {
  readonly create: () => Guard | Promise<Guard>;
}

/** Evidence of a healthy update; a test changes what it is about. */
export function exampleEvidence(over: Partial<Evidence> = {}): Evidence {
  return {
    stage: "rl",
    step: 3,
    phase: 1,
    miniBatch: 0,
    policyVersion: 2,
    learningRate: 2e-6,
    nonFinite: [],
    loss: 0.02,
    gradNorm: 0.4,
    tokens: 640,
    policy: { klRef: null, klOldK3: 0, entropy: 0.6, clipFraction: 0, ratioMax: 1 },
    trial: null,
    values: { "reward/mean": 0.5, "entropy/mean": 0.6, "response/truncated_share": 0 },
    groups: [{ groupId: "s3-q0", taskId: "t0", rewards: [1, 0, 0, 1], meanLength: 160 }],
    ...over,
  };
}

const HEALTHY = exampleEvidence();
const SERIES: readonly Evidence[] = [
  ...[1, 2, 3].map((step) => exampleEvidence({ step, gradNorm: 0.4 + step / 100 })),
  exampleEvidence({ stage: "warmup", phase: 0, policy: null, groups: [] }),
  exampleEvidence({ step: 4, gradNorm: 900 }),
  exampleEvidence({ step: 5, loss: null, gradNorm: null, policy: null, nonFinite: ["loss"] }),
  exampleEvidence({ step: 6, gradNorm: null }),
];
const live = () => ({ signal: new AbortController().signal });

export function describeGuard(options: GuardSuiteOptions): void {
  const test = (name: string, check: (guard: Guard) => Promise<void> | void): SuiteTest => ({
    name,
    body: async () => {
      const guard = await options.create();
      try {
        await check(guard);
      } finally {
        await guard.dispose?.();
      }
    },
  });
  const verdicts = async (guard: Guard, series: readonly Evidence[]) => {
    const found = [];
    for (const evidence of series) found.push(await guard.judge(evidence, live()));
    return found;
  };
  const tests: readonly SuiteTest[] = [
    test("declares a kind and specification version 1", ({ kind, specificationVersion }) => {
      assert.equal(typeof kind, "string");
      assert.notEqual(kind, "");
      assert.equal(specificationVersion, 1);
    }),
    test("commits a healthy update", async (guard) => {
      assert.deepEqual(await guard.judge(HEALTHY, live()), { action: "commit" });
    }),
    test("gives a verdict on whatever there is evidence of, with a reason where it does not commit", async (guard) => {
      for (const verdict of await verdicts(guard, SERIES)) {
        assert.ok(["commit", "shrink", "skip", "rollback"].includes(verdict.action), JSON.stringify(verdict));
        if (verdict.action === "shrink") assert.ok(verdict.scale > 0 && verdict.scale < 1, `scale ${verdict.scale}`);
        if (verdict.action !== "commit") assert.ok(verdict.reason.length > 0, "a reason");
      }
    }),
    test("does not commit what is not finite", async (guard) => {
      const evidence = exampleEvidence({ loss: null, gradNorm: null, policy: null, nonFinite: ["loss"] });
      assert.notEqual((await guard.judge(evidence, live())).action, "commit");
    }),
    test("does not change the evidence", async (guard) => {
      await verdicts(guard, deepFreeze(structuredClone(SERIES) as Evidence[]));
    }),
    test("goes on from its snapshot as if nothing had happened", async (guard) => {
      assert.equal(guard.snapshot === undefined, guard.restore === undefined, "snapshot and restore, both or neither");
      if (guard.snapshot === undefined) return;
      await verdicts(guard, SERIES.slice(0, 3));
      const state = JSON.parse(JSON.stringify(guard.snapshot())) as Json;
      const expected = await verdicts(guard, SERIES.slice(3));
      const other = await options.create();
      other.restore?.(state);
      assert.deepEqual(await verdicts(other, SERIES.slice(3)), expected);
      await other.dispose?.();
    }),
  ];
  registerSuite("guard contract", tests, options);
}
