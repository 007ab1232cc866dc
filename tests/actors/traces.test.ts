/** The numbers of each token in the traces of a run: those of the update where it trained on it, null elsewhere. */
import { describe, expect, it } from "vitest";
import type { Trace } from "../../src/contracts/trace.js";
import { fakeRun, rewardOf } from "./fake-run.js";

/** Groups of the second step have equal rewards, so that they are dropped. */
const reward = rewardOf(({ rollout }) => (rollout.id.startsWith("s2-") ? 0 : rollout.sampleIndex % 2));
/** log-prob of the policy, of the reference, and of the policy once it has been trained. */
const [POLICY, REFERENCE, TRAINED] = [-1, -1.5, -0.9];

describe("the tokens of a trace", () => {
  it("I1: have what the update knows of them, and null where nothing was measured or trained", async () => {
    let trained = false;
    const { system } = await fakeRun(
      {
        phases: [{ maxTokens: 300, steps: 2 }],
        loss: { monitorKl: true, monitorShare: 1 },
        update: { miniBatchPrompts: null, klShare: 1 },
        monitor: { enabled: false, tracesPerStep: 100 },
      },
      reward,
      {
        trainer: {
          optimStep: async () => {
            trained = true;
            return { applied: true, gradNorm: 1, gradNormByTensor: null };
          },
          reviseStep: async () => undefined,
          logprobs: async (groups, { which }) => {
            const value = which === "reference" ? REFERENCE : trained ? TRAINED : POLICY;
            const logprobs = groups.map(({ completions }) => completions.map((ids) => ids.map(() => value)));
            return { logprobs, entropies: logprobs };
          },
        },
      },
    );
    const traces: Trace[] = [];
    system.traces$.subscribe((trace) => traces.push(trace));
    await system.start();
    await system.done.catch(() => undefined);
    const [first] = traces.filter(({ step, advantage }) => step === 1 && (advantage ?? 0) > 0);
    const d = TRAINED - POLICY;
    const k3 = (x: number) => Math.exp(-x) + x - 1;
    for (const token of first?.tokens ?? [])
      expect(token).toMatchObject({
        advantage: expect.closeTo(first?.advantage ?? Number.NaN, 9),
        ratio: 1,
        klOld: expect.closeTo(k3(-d), 12),
        klRef: expect.closeTo(k3(POLICY - REFERENCE), 12),
        weight: null,
      });
    expect(first?.tokens.length).toBeGreaterThan(0);
    const shares = traces
      .filter(({ step }) => step === 1)
      .flatMap(({ tokens }) => tokens.map(({ lossShare }) => Math.abs(lossShare ?? 0)));
    expect(shares.reduce((sum, share) => sum + share, 0)).toBeCloseTo(1, 12);
    const second = traces.filter(({ step }) => step === 2).flatMap(({ tokens }) => tokens);
    expect(second.length).toBeGreaterThan(0);
    for (const { advantage, ratio, klOld, klRef, lossShare } of second)
      expect([advantage, ratio, klOld, klRef, lossShare]).toEqual([null, null, null, null, null]);
  });
});
