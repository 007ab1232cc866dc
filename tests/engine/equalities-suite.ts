/** Properties of the arithmetic: what must be equal however a batch is laid out, on any backend and executor. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import type { LossSequence } from "../../src/contracts/loss.js";
import type { EvaluateLoss, PolicyBatch, PolicyLossConfig, TrainGroup } from "../../src/contracts/trainer.js";
import { evaluateLoss } from "../../src/losses/evaluate.js";
import { LOSS_NAMES, policyLossNamed } from "../../src/losses/index.js";
import { lossSettings } from "../../src/losses/settings.js";
import { EngineCore, type SampleInput } from "../../src/model/engine/core.js";
import type { CoreOptions } from "../../src/model/engine/executor.js";
import { tf } from "../../src/model/tensor/tf.js";
import { Transformer } from "../../src/model/transformer/model.js";
import { TEST_LOSS, TEST_OPTIMISER, TINY_CONFIG, writeRandomModel } from "../helpers/engines.js";
import { type GroupSizes, randomGroups } from "../helpers/random-groups.js";

const { signal } = new AbortController();
/** A step that moves nothing: it is taken for its report of gradient norms. */
const STILL = { ...TEST_OPTIMISER, learningRate: 0, weightDecay: 0, maxGradNorm: null };

/** Every equality on one backend and executor. */
export function describeEqualities(options: CoreOptions): void {
  /** Only compiled decoding fills the activation cache. */
  const holds = options.executor === "compiled";
  let folder: string;
  let core: EngineCore;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "weir-equal-"));
    core = await EngineCore.open(await writeRandomModel(folder), options);
  });
  afterAll(async () => {
    core.dispose();
    await rm(folder, { recursive: true });
  });

  function batchOf(groups: readonly TrainGroup[], loss: PolicyLossConfig, microBatchTokens: number): PolicyBatch {
    const lengths = groups.flatMap((group) => group.completions.map(({ tokenIds }) => tokenIds.length));
    return {
      groups,
      loss,
      denominators: {
        tokens: lengths.reduce((sum, length) => sum + length, 0),
        sequences: lengths.filter((length) => length > 0).length,
      },
      microBatchTokens,
      oldPolicy: null,
    };
  }

  const sample = (request: Pick<SampleInput, "prompts" | "params">) =>
    core.sample({ ...request, policy: null, forTraining: false }, signal);

  /** Metrics and gradient norms by tensor of one batch; leaves no gradient behind. */
  async function measure(batch: PolicyBatch, evaluate: EvaluateLoss | null = null) {
    const metrics = await core.forwardBackward(batch, signal, evaluate);
    return { metrics, norms: core.optimStep(STILL, true).gradNormByTensor! };
  }

  function expectSame(a: Awaited<ReturnType<typeof measure>>, b: Awaited<ReturnType<typeof measure>>): void {
    expect(Math.abs(a.metrics.loss - b.metrics.loss)).toBeLessThanOrEqual(5e-6 * Math.max(1, Math.abs(b.metrics.loss)));
    expect(a.metrics.entropy).toBeCloseTo(b.metrics.entropy ?? Number.NaN, 4);
    expect(a.metrics.tokens).toBe(b.metrics.tokens);
    const rows = b.metrics.logprobs.flat();
    a.metrics.logprobs.flat().forEach((row, index) => {
      expect(row).toHaveLength(rows[index]!.length);
      row.forEach((value, t) => {
        expect(Math.abs(value - rows[index]![t]!)).toBeLessThanOrEqual(1e-4);
      });
    });
    for (const [name, norm] of Object.entries(b.norms)) {
      expect(Math.abs(a.norms[name]! - norm), name).toBeLessThanOrEqual(1e-3 * norm + 1e-6);
    }
  }

  const LOSS: PolicyLossConfig = { ...TEST_LOSS, klCoefficient: 0.1, entropyCoefficient: 0.05, temperature: 0.8 };

  const sizesArbitrary = fc.array(
    fc.tuple(
      fc.integer({ min: 1, max: 20 }),
      fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 4 }),
    ),
    { minLength: 1, maxLength: 3 },
  );

  describe.each(LOSS_NAMES)("the loss %s", (name) => {
    const loss: PolicyLossConfig = {
      ...LOSS,
      name,
      settings: lossSettings(name, { dualClip: name === "dppo_tv" ? 20 : 3 }),
      aggregation: policyLossNamed(name).aggregation,
      lossScale: 16,
    };
    const groups = () =>
      randomGroups(11, [
        [40, [5, 9, 1]],
        [3, [7, 12]],
      ]);

    it("does not depend on how the batch is split into micro-batches", async () => {
      expectSame(await measure(batchOf(groups(), loss, 4096)), await measure(batchOf(groups(), loss, 24)));
    });

    it("gives the same traced, or on the host from its formula", async () => {
      const batch = batchOf(groups(), loss, 64);
      const hosted = { ...batch, loss: { ...loss, name: null } };
      const evaluate = (sequences: readonly LossSequence[]) =>
        evaluateLoss(policyLossNamed(name), sequences, loss.settings);
      expectSame(await measure(batch), await measure(hosted, evaluate));
    });

    it("leaves a rejected token out, whatever its old log-prob is", async () => {
      const weighted = (old: number) =>
        groups().map(({ promptIds, completions }) => ({
          promptIds,
          completions: completions.map((completion) => ({
            ...completion,
            weights: completion.tokenIds.map((_, t) => (t === 0 ? 0 : 0.5)),
            oldLogprobs: (completion.oldLogprobs ?? []).map((value, t) => (t === 0 ? old : value)),
          })),
        }));
      const [a, b] = [
        await measure(batchOf(weighted(-0.01), loss, 64)),
        await measure(batchOf(weighted(-80), loss, 64)),
      ];
      expect(Math.abs(a.metrics.pgLoss - b.metrics.pgLoss)).toBeLessThanOrEqual(1e-6);
      for (const [tensor, norm] of Object.entries(a.norms)) expect(b.norms[tensor], tensor).toBeCloseTo(norm, 6);
    });
  });

  describe("a group's shared prompt", () => {
    it("gives the loss, log-probs and gradients of separate rows", async () => {
      await fc.assert(
        fc.asyncProperty(sizesArbitrary, fc.nat(1000), async (sizes, key) => {
          const groups = randomGroups(key, sizes as GroupSizes);
          const apart = groups.flatMap(({ promptIds, completions }) =>
            completions.map((completion) => ({ promptIds, completions: [completion] })),
          );
          expectSame(await measure(batchOf(groups, LOSS, 4096)), await measure(batchOf(apart, LOSS, 24)));
        }),
        { numRuns: 8 },
      );
    });

    it("scores completions as plain sequences are scored", async () => {
      const [group] = randomGroups(3, [[150, [9, 1, 4]]]);
      const { promptIds, completions } = group!;
      const reply = await core.logprobs(
        {
          groups: [{ promptIds, completions: completions.map(({ tokenIds }) => tokenIds) }],
          temperature: 1,
          which: "policy",
          microBatchTokens: 4096,
        },
        signal,
      );
      const plain = await core.scoreSequences(
        completions.map(({ tokenIds }) => [...promptIds, ...tokenIds]),
        signal,
      );
      completions.forEach(({ tokenIds }, index) => {
        tokenIds.forEach((_, t) => {
          const at = promptIds.length - 1 + t;
          expect(Math.abs(reply.logprobs[0]![index]![t]! - plain.logprobs[index]![at]!)).toBeLessThanOrEqual(1e-4);
          expect(Math.abs(reply.entropies![0]![index]![t]! - plain.entropy[index]![at]!)).toBeLessThanOrEqual(1e-4);
        });
      });
    });
  });

  it("takes the forward pass's own log-probs as the old ones where none are given, and then the ratio is 1", async () => {
    const groups = randomGroups(6, [
      [40, [5, 9, 1]],
      [3, [7]],
    ]);
    const withOld = (of: (p: number, g: number) => readonly number[] | null) =>
      groups.map(({ promptIds, completions }, p) => ({
        promptIds,
        completions: completions.map((completion, g) => ({ ...completion, oldLogprobs: of(p, g) })),
      }));
    const loss = { ...LOSS, dualClip: 3 };
    const bare = batchOf(
      withOld(() => null),
      loss,
      64,
    );
    const { version } = await core.publish("handle", null);
    const own = await measure({ ...bare, oldPolicy: version });
    await expect(core.forwardBackward(bare, signal)).rejects.toThrow(/WEIR_E_SHAPE.*needs oldPolicy/);
    // The step that measured it has changed the weights; and a hash of others is none of theirs.
    await expect(core.forwardBackward({ ...bare, oldPolicy: version }, signal)).rejects.toThrow(
      "WEIR_E_POLICY_VERSION",
    );
    await core.publish("handle", null);
    const other = { ...core.version(), sha256: "other" };
    await expect(core.forwardBackward({ ...bare, oldPolicy: other }, signal)).rejects.toThrow("WEIR_E_POLICY_VERSION");
    expect(own.metrics).toMatchObject({ klOldK1: 0, klOldK3: 0, ratioMax: 1, clipFraction: 0, clipFractionLower: 0 });
    const { logprobs } = own.metrics;
    expectSame(
      await measure(
        batchOf(
          withOld((p, g) => logprobs[p]![g]!),
          loss,
          64,
        ),
      ),
      own,
    );
    const some = batchOf(
      withOld((_, g) => (g === 0 ? null : logprobs[0]![g]!)),
      loss,
      64,
    );
    await expect(core.forwardBackward(some, signal)).rejects.toThrow(/WEIR_E_SHAPE.*of every completion or of none/);
  });

  describe("micro-batches (I6)", () => {
    it.each(["token-mean", "seq-mean-token-mean", "seq-mean-token-sum", "seq-mean-token-sum-norm"] as const)(
      "do not change the policy loss or its gradients under %s",
      async (aggregation) => {
        const groups = randomGroups(5, [
          [9, [4, 1, 6, 3]],
          [17, [3, 12]],
          [2, [5]],
        ]);
        const loss = { ...LOSS, aggregation, sumNormTokens: 12 };
        const whole = await measure(batchOf(groups, loss, 100_000));
        const split = await measure(batchOf(groups, loss, 40));
        expect(whole.metrics.microBatches).toBe(1);
        expect(split.metrics.microBatches).toBeGreaterThan(2);
        expectSame(split, whole);
      },
    );

    it.each(["seq-mean", "token-mean"] as const)("do not change the supervised loss under %s", async (aggregation) => {
      const rows = randomGroups(8, [
        [30, [1]],
        [11, [1]],
        [4, [1]],
      ]).map(({ promptIds }, index) => ({
        tokenIds: promptIds,
        lossMask: promptIds.map((_, t) => (t > index + 1 ? 1 : 0.1)),
      }));
      const measureSft = async (microBatchTokens: number) => {
        const metrics = await core.sftForwardBackward({ rows, aggregation, microBatchTokens }, signal);
        return { metrics, norms: core.optimStep(STILL, true).gradNormByTensor! };
      };
      const whole = await measureSft(100_000);
      const split = await measureSft(32);
      expect(split.metrics.microBatches).toBe(2);
      expect(split.metrics.loss).toBeCloseTo(whole.metrics.loss, 6);
      for (const [name, norm] of Object.entries(whole.norms)) {
        expect(Math.abs(split.norms[name]! - norm), name).toBeLessThanOrEqual(1e-4 * norm + 1e-7);
      }
      // The loss is the weighted mean of the negative log-probs of the targets (Eq. 11, or over all tokens).
      const scored = await core.scoreSequences(
        rows.map(({ tokenIds }) => tokenIds),
        signal,
      );
      const sums = rows.map(({ lossMask }, r) => {
        const weights = lossMask.slice(1);
        const total = weights.reduce((sum, w) => sum + w, 0);
        return { total, loss: weights.reduce((sum, w, t) => sum - w * scored.logprobs[r]![t]!, 0) };
      });
      const expected =
        aggregation === "seq-mean"
          ? sums.reduce((sum, { loss, total }) => sum + loss / total, 0) / rows.length
          : sums.reduce((sum, { loss }) => sum + loss, 0) / sums.reduce((sum, { total }) => sum + total, 0);
      expect(whole.metrics.loss).toBeCloseTo(expected, 4);
    });
  });

  describe("the sampler", () => {
    const params = { temperature: 0.9, topP: 1, topK: 0, maxTokens: 40, stopIds: [7, 8, 9] };
    const prompts = [
      { promptIds: [5, 6, 11, 3, 4], seeds: [1, 2, 3] },
      { promptIds: [12], seeds: [4] },
      { promptIds: [9, 9, 1, 30, 31, 32, 33, 34, 35, 36], seeds: [5, 6] },
    ];

    it("draws the same sequences whatever their neighbours and order", async () => {
      const together = (await sample({ prompts, params })).sequences;
      const backwards = (await sample({ prompts: [...prompts].reverse(), params })).sequences;
      for (const [index, { promptIds, seeds }] of prompts.entries()) {
        expect(backwards[prompts.length - 1 - index]!.map((s) => s.tokenIds)).toEqual(
          together[index]!.map((s) => s.tokenIds),
        );
        for (const [g, seed] of seeds.entries()) {
          const alone = (await sample({ prompts: [{ promptIds, seeds: [seed] }], params })).sequences[0]![0]!;
          expect(alone.tokenIds).toEqual(together[index]![g]!.tokenIds);
          expect(alone.finish).toBe(together[index]![g]!.finish);
        }
      }
    });

    it("ends a sequence at a stop id, which it keeps, or at the longest length", async () => {
      const { sequences } = await sample({ prompts, params });
      for (const { tokenIds, logprobs, entropies, finish } of sequences.flat()) {
        expect(logprobs).toHaveLength(tokenIds.length);
        expect(entropies).toHaveLength(tokenIds.length);
        const stops = tokenIds.flatMap((id, t) => (params.stopIds.includes(id) ? [t] : []));
        if (finish === "stop") expect(stops).toEqual([tokenIds.length - 1]);
        else expect([stops, tokenIds.length]).toEqual([[], params.maxTokens]);
      }
      expect(new Set(sequences.flat().map(({ finish }) => finish))).toContain("stop");
    });

    it.each([
      { temperature: 0.7, topP: 1, topK: 0 },
      { temperature: 1, topP: 0.8, topK: 0 },
      { temperature: 1.3, topP: 0.9, topK: 5 },
    ])("reports the log-probs and entropies that the trainer computes (%o)", async (choice) => {
      const sampled = await sample({ prompts, params: { ...params, ...choice } });
      const scored = await core.logprobs(
        {
          groups: prompts.map(({ promptIds }, p) => ({
            promptIds,
            completions: sampled.sequences[p]!.map(({ tokenIds }) => tokenIds),
          })),
          temperature: choice.temperature,
          which: "policy",
          microBatchTokens: 4096,
        },
        signal,
      );
      let sum = 0;
      let count = 0;
      sampled.sequences.forEach((group, p) => {
        group.forEach(({ logprobs, entropies }, g) => {
          logprobs.forEach((value, t) => {
            sum += Math.abs(value - scored.logprobs[p]![g]![t]!);
            count += 1;
            expect(entropies![t]!).toBeCloseTo(scored.entropies![p]![g]![t]!, 3);
          });
        });
      });
      expect(sum / count).toBeLessThanOrEqual(1e-4);
    });

    it("draws from the distribution it reports", async () => {
      const seeds = Array.from({ length: 400 }, (_, index) => index);
      const draw = async (choice: { topP: number; topK: number }) => {
        const request = {
          prompts: [{ promptIds: [5, 6, 11], seeds }],
          params: { temperature: 1, maxTokens: 1, stopIds: [], ...choice },
        };
        return (await sample(request)).sequences[0]!.map(({ tokenIds }) => tokenIds[0]!);
      };
      const ids = Array.from({ length: TINY_CONFIG.vocab_size }, (_, id) => id);
      const scored = await core.scoreSequences(
        ids.map((id) => [5, 6, 11, id]),
        signal,
      );
      const masses = ids.map((id) => Math.exp(scored.logprobs[id]![2]!));
      const ranked = [...ids].sort((a, b) => masses[b]! - masses[a]!);

      const free = await draw({ topP: 1, topK: 0 });
      for (const id of ranked.slice(0, 3)) {
        const share = free.filter((drawn) => drawn === id).length / seeds.length;
        const error = Math.sqrt((masses[id]! * (1 - masses[id]!)) / seeds.length);
        expect(Math.abs(share - masses[id]!)).toBeLessThanOrEqual(4 * error);
      }
      expect(new Set(await draw({ topP: 1, topK: 2 }))).toEqual(new Set(ranked.slice(0, 2)));
      let mass = 0;
      const nucleus = ranked.filter((id) => {
        const inside = mass < 0.5;
        mass += masses[id]!;
        return inside;
      });
      for (const id of await draw({ topP: 0.5, topK: 0 })) expect(nucleus).toContain(id);
    });
  });

  describe("a prompt of several micro-batches or of a sampling call", () => {
    /** Prompts from 512 tokens on are cached. */
    const LONG = holds ? 700 : 70;
    const SIZES: GroupSizes = [
      [LONG, [9, 12, 4, 7]],
      [30, [5]],
      [holds ? 530 : 53, [6, 3]],
    ];
    /** Padded tokens of a micro-batch; a long prompt needs several. */
    const SPLIT = LONG + 30;
    const runs = () => vi.spyOn(Transformer.prototype, "forwardKeys");
    const draw = async (groups: readonly TrainGroup[], forTraining: boolean) => {
      const prompts = groups.map(({ promptIds }) => ({ promptIds, seeds: [1, 2] }));
      const params = { temperature: 1, topP: 1, topK: 0, maxTokens: 5, stopIds: [] };
      return (await core.sample({ prompts, params, policy: null, forTraining }, signal)).sequences;
    };
    afterEach(() => {
      vi.restoreAllMocks();
    });

    it("runs once, whichever micro-batches attend to it", async () => {
      const groups = randomGroups(21, SIZES);
      const whole = await measure(batchOf(groups, LOSS, 4096));
      await measure(batchOf(groups, LOSS, SPLIT));
      const before = tf.memory().numTensors;
      const forward = runs();
      const split = await measure(batchOf(groups, LOSS, SPLIT));
      expect(split.metrics.microBatches).toBeGreaterThan(3);
      expect(forward.mock.calls.flatMap(([segment]) => segment.prompts).reduce((a, b) => a + b)).toBe(3);
      expectSame(split, whole);
      expect(tf.memory().numTensors).toBe(before);
    });

    it("takes several places in a micro-batch that has several parts of it", async () => {
      const [group] = randomGroups(22, [[20, [40, 1, 2, 1, 3, 2]]]);
      const other = randomGroups(23, [[18, [4, 4]]])[0]!;
      const groups = [group!, other];
      expectSame(await measure(batchOf(groups, LOSS, 72)), await measure(batchOf(groups, LOSS, 4096)));
    });

    it("gives the same loss and gradients from the activation cache, and is then not recomputed", async () => {
      const groups = randomGroups(24, SIZES);
      await measure(batchOf(groups, LOSS, 4096));
      const fresh = await measure(batchOf(groups, LOSS, 4096));
      const drawn = await draw(groups, false);
      const before = tf.memory().numTensors;
      (await draw(groups, true)).flat().forEach(({ tokenIds, logprobs }, row) => {
        expect(tokenIds).toEqual(drawn.flat()[row]!.tokenIds);
        logprobs.forEach((value, t) => {
          expect(Math.abs(value - drawn.flat()[row]!.logprobs[t]!)).toBeLessThanOrEqual(1e-4);
        });
      });
      expect(tf.memory().numTensors > before).toBe(holds);
      const forward = runs();
      expectSame(await measure(batchOf(groups, LOSS, 4096)), fresh);
      // The short prompt is too short to be cached.
      expect(forward.mock.calls.map(([segment]) => segment.prompts)).toEqual([holds ? 1 : 3]);
      expect(tf.memory().numTensors).toBe(before);
      await draw(groups, true);
      expectSame(await measure(batchOf(groups, LOSS, SPLIT)), fresh);
      expect(tf.memory().numTensors).toBe(before);
    });

    it("is scored from the cache, where it stays for the gradient", async () => {
      const groups = randomGroups(25, SIZES).filter(({ promptIds }) => promptIds.length > 50);
      const request = {
        groups: groups.map(({ promptIds, completions }) => ({
          promptIds,
          completions: completions.map(({ tokenIds }) => tokenIds),
        })),
        temperature: 0.8,
        which: "policy",
        microBatchTokens: 4096,
      } as const;
      const fresh = await core.logprobs(request, signal);
      await draw(groups, true);
      const forward = runs();
      const cached = await core.logprobs(request, signal);
      cached.logprobs.flat(2).forEach((value, index) => {
        expect(Math.abs(value - fresh.logprobs.flat(2)[index]!)).toBeLessThanOrEqual(1e-4);
      });
      await measure(batchOf(groups, LOSS, 4096));
      expect(forward).toHaveBeenCalledTimes(holds ? 0 : 2);
    });

    it("is run again when the weights have changed since", async () => {
      const groups = randomGroups(26, [[LONG, [8, 5]]]);
      const batch = batchOf(groups, LOSS, 4096);
      await draw(groups, true);
      await core.forwardBackward(batchOf(randomGroups(27, [[9, [4]]]), LOSS, 4096), signal);
      core.optimStep({ ...TEST_OPTIMISER, learningRate: 0.01 }, false);
      const forward = runs();
      const first = await measure(batch);
      expect(forward).toHaveBeenCalledTimes(1);
      expectSame(first, await measure(batch));
    });

    it("is freed when a micro-batch fails or is aborted", async () => {
      const groups = randomGroups(28, SIZES);
      await measure(batchOf(groups, LOSS, SPLIT));
      await measure(batchOf(randomGroups(29, [[9, [4]]]), LOSS, SPLIT));
      await draw(groups, false);
      const before = tf.memory().numTensors;
      await draw(groups, true);
      const broken = groups.map((group) => ({
        ...group,
        completions: group.completions.map((c) => ({ ...c, advantages: c.advantages.map(() => Number.MAX_VALUE) })),
      }));
      const sums = { ...LOSS, aggregation: "seq-mean-token-sum" } as const;
      await expect(core.forwardBackward(batchOf(broken, sums, SPLIT), signal)).rejects.toThrow("WEIR_E_NON_FINITE");
      // What was drawn stays until the next optimiser step.
      await measure(batchOf(randomGroups(29, [[9, [4]]]), LOSS, SPLIT));
      expect(tf.memory().numTensors).toBe(before);
      await draw(groups, true);
      const aborting = new AbortController();
      const running = core.forwardBackward(batchOf(groups, LOSS, SPLIT), aborting.signal);
      setImmediate(() => aborting.abort());
      await expect(running).rejects.toThrow("WEIR_E_ENGINE_ABORTED");
      await measure(batchOf(groups, LOSS, SPLIT));
      expect(tf.memory().numTensors).toBe(before);
    });
  });

  describe("memory and state", () => {
    it("holds the same number of tensors after 30 steps", async () => {
      const groups = randomGroups(9, [[12, [5, 4]]]);
      const step = async () => {
        const reply = await sample({
          prompts: [{ promptIds: groups[0]!.promptIds, seeds: [1, 2] }],
          params: { temperature: 1, topP: 0.9, topK: 0, maxTokens: 6, stopIds: [] },
        });
        expect(reply.sequences[0]).toHaveLength(2);
        await measure(batchOf(groups, LOSS, 4096));
      };
      await step();
      await step();
      const before = tf.memory().numTensors;
      for (let index = 0; index < 30; index += 1) await step();
      expect(tf.memory().numTensors).toBe(before);
    });

    it("leaves everything as it was when a loss is not finite (I7)", async () => {
      const groups = randomGroups(10, [[6, [3]]]);
      const before = core.version();
      const broken = groups.map((group) => ({
        ...group,
        completions: group.completions.map((c) => ({ ...c, advantages: c.advantages.map(() => Number.NaN) })),
      }));
      await expect(core.forwardBackward(batchOf(broken, LOSS, 4096), signal)).rejects.toThrow("WEIR_E_NON_FINITE");
      // An advantage whose loss overflows float32 but not float64 gives an infinite gradient: the step is refused.
      const huge = groups.map((group) => ({
        ...group,
        completions: group.completions.map((c) => ({ ...c, advantages: c.advantages.map(() => 3e38) })),
      }));
      await core.forwardBackward(batchOf(huge, { ...LOSS, aggregation: "seq-mean-token-sum" }, 4096), signal);
      const refused = core.optimStep(TEST_OPTIMISER, false);
      expect(refused.applied).toBe(false);
      expect(core.version()).toEqual(before);
      expect(() => core.optimStep(TEST_OPTIMISER, false)).toThrow("WEIR_E_STATE");
    });

    it("merges the gradients of several calls into one step", async () => {
      const groups = randomGroups(12, [
        [9, [4, 6]],
        [7, [3, 5]],
      ]);
      const whole = batchOf(groups, LOSS, 4096);
      const expected = await measure(whole);
      for (const group of groups) {
        await core.forwardBackward({ ...whole, groups: [group] }, signal);
      }
      const norms = core.optimStep(STILL, true).gradNormByTensor!;
      for (const [name, norm] of Object.entries(expected.norms)) {
        expect(Math.abs(norms[name]! - norm), name).toBeLessThanOrEqual(1e-4 * norm + 1e-7);
      }
    });

    it.each([
      [{ promptIds: [], completions: [[1]] }, "WEIR_E_SHAPE"],
      [{ promptIds: [1], completions: [[61]] }, "WEIR_E_SHAPE"],
      [{ promptIds: Array(1024).fill(3), completions: [[1]] }, "WEIR_E_PROMPT_TOO_LONG"],
    ])("refuses wrong sequences", async (group, code) => {
      const request = { groups: [group], temperature: 1, which: "policy" as const, microBatchTokens: 100 };
      await expect(core.logprobs(request, signal)).rejects.toThrow(code);
    });
  });
}
