/** What is sent to a server makes its loss weir's: for each loss, aggregation and kind of server, the gradient is the same (I6). */
import { describe, expect, it } from "vitest";
import { LOSS_AGGREGATIONS, type LossAggregation, type LossSettings } from "../../src/contracts/loss.js";
import type { PolicyBatch, ServerLossScale, SftBatch, TrainCompletion } from "../../src/contracts/trainer.js";
import { evaluateLoss } from "../../src/losses/evaluate.js";
import { completionWeights } from "../../src/losses/host-evaluation.js";
import { LOSS_NAMES, policyLossNamed } from "../../src/losses/index.js";
import { lossSettings } from "../../src/losses/settings.js";
import { sftWeights } from "../../src/losses/supervised.js";
import { evaluatePolicy, evaluateRows, supervisedRows } from "../../src/remote/tinker/evaluation.js";
import { passesOf } from "../../src/remote/tinker/gradients.js";
import type { Pass } from "../../src/remote/tinker/server-model.js";

/** Two groups of unequal lengths; the second response has a token that was rejected and weights of rollout correction. */
const COMPLETIONS: readonly { readonly logprobs: readonly number[]; readonly completion: TrainCompletion }[] = [
  { logprobs: [-1, -2, -0.5], completion: completion([1, 2, 3], 0.7, [-1.2, -1.6, -0.5]) },
  { logprobs: [-3, -0.2], completion: { ...completion([4, 5], -1.3, [-2, -0.9]), weights: [0, 1.5] } },
  { logprobs: [-1.5, -0.1, -2.5, -4], completion: completion([6, 7, 8, 9], -0.4, [-1.4, -0.3, -5, -1]) },
];
const LOGPROBS = COMPLETIONS.map(({ logprobs }) => logprobs);
const DENOMINATORS = { tokens: 8, sequences: 3 };
const SCALES = ["row-mean", "sum"] as const;

function completion(tokenIds: number[], advantage: number, oldLogprobs: number[]): TrainCompletion {
  const advantages = tokenIds.map((_, t) => advantage * (1 + t / 4));
  return { tokenIds, advantages, oldLogprobs, refLogprobs: null };
}

function batchOf(name: string, aggregation: LossAggregation, settings: LossSettings = lossSettings(name)): PolicyBatch {
  const [first, second, third] = COMPLETIONS.map((one) => one.completion) as [
    TrainCompletion,
    TrainCompletion,
    TrainCompletion,
  ];
  return {
    groups: [
      { promptIds: [1, 2, 3], completions: [first, second] },
      { promptIds: [9], completions: [third] },
    ],
    loss: {
      ...{ name, settings, aggregation, lossScale: 16 },
      ...{ klCoefficient: 0, klEstimator: "k3", entropyCoefficient: 0, temperature: 1 },
    },
    denominators: DENOMINATORS,
    microBatchTokens: 1024,
    oldPolicy: null,
  };
}

/** dℓ/d(log π) of a token by the server's definitions. */
function serverSlope({ lossFn, config }: Pass, logprob: number, old: number, advantage: number): number {
  const ratio = Math.exp(logprob - old);
  const { clip_low_threshold: low = Number.NaN, clip_high_threshold: high = Number.NaN } = config;
  const clipped = Math.min(Math.max(ratio, low), high);
  if (lossFn === "cross_entropy") return -1;
  if (lossFn === "importance_sampling") return -ratio * advantage;
  if (lossFn === "cispo") return -clipped * advantage;
  return ratio * advantage <= clipped * advantage ? -ratio * advantage : 0;
}

/** d loss/d(log π) of every target of every row, as the server divides. */
function serverGradient(passes: readonly Pass[], scale: ServerLossScale, logprobs: ReadonlyMap<string, number[]>) {
  const rows = passes.flatMap((pass) => pass.rows.map((row) => ({ pass, row })));
  return rows.map(({ pass, row }) => {
    const known = logprobs.get(String(row.targets)) as number[];
    const weights = row.weights ?? row.targets.map(() => 1);
    const total = Array.from(weights).reduce((sum, weight) => sum + weight, 0);
    const divisor = scale === "sum" ? 1 : total * rows.length;
    return row.targets.map((_, t) => {
      const slope = serverSlope(pass, known[t] as number, row.policy?.logprobs[t] ?? 0, row.policy?.advantages[t] ?? 0);
      return weights[t] === 0 ? 0 : ((weights[t] as number) * slope) / divisor;
    });
  });
}

/** The log-probs of each row's targets, by the targets; those of the prompt are 0. */
function byTargets(batch: PolicyBatch): ReadonlyMap<string, number[]> {
  let at = 0;
  return new Map(
    batch.groups.flatMap(({ promptIds, completions }) =>
      completions.map(({ tokenIds }): [string, number[]] => [
        String([...promptIds, ...tokenIds].slice(1)),
        [...promptIds.slice(1).map(() => 0), ...(LOGPROBS[at++] as readonly number[])],
      ]),
    ),
  );
}

function ownGradient(batch: PolicyBatch): number[][] {
  const sequences = COMPLETIONS.map(({ logprobs, completion: one }) => ({
    logprobs,
    old: one.oldLogprobs ?? logprobs,
    advantages: one.advantages,
    weights: completionWeights(batch, one),
  }));
  const { coefficients } = evaluateLoss(policyLossNamed(batch.loss.name as string), sequences, batch.loss.settings);
  const prompts = batch.groups.flatMap(({ promptIds, completions }) => completions.map(() => promptIds.length));
  return coefficients.map((row, i) => [...new Array<number>((prompts[i] as number) - 1).fill(0), ...Array.from(row)]);
}

function expectClose(found: readonly (readonly number[])[], expected: readonly (readonly number[])[]): void {
  expect(found.map((row) => row.length)).toEqual(expected.map((row) => row.length));
  found.flat().forEach((value, i) => {
    expect(value).toBeCloseTo(expected.flat()[i] as number, 12);
  });
}

describe.each(SCALES)("a server that takes the %s", (scale) => {
  it.each(LOSS_NAMES)("gets the gradient of %s with every aggregation", async (name) => {
    for (const aggregation of LOSS_AGGREGATIONS) {
      const batch = batchOf(name, aggregation);
      const { gradient } = await evaluatePolicy(batch, LOGPROBS, null);
      expectClose(serverGradient(passesOf([gradient], scale), scale, byTargets(batch)), ownGradient(batch));
    }
  });

  it("gets two batches of different losses as one gradient", async () => {
    const batches = [batchOf("dapo", "token-mean"), batchOf("gspo", "seq-mean-token-mean")];
    const queue = await Promise.all(
      batches.map(async (batch) => (await evaluatePolicy(batch, LOGPROBS, null)).gradient),
    );
    const found = serverGradient(passesOf(queue, scale), scale, byTargets(batches[0] as PolicyBatch));
    expectClose(found, batches.flatMap(ownGradient));
  });

  it.each(["seq-mean", "token-mean"] as const)("gets the gradient of supervised rows, %s", (aggregation) => {
    const rows = [
      { tokenIds: [1, 2, 3, 4], lossMask: [1, 0.1, 0, 1] },
      { tokenIds: [5, 6], lossMask: [0, 0] },
      { tokenIds: [7, 8, 9], lossMask: [0, 1, 1] },
    ];
    const batch: SftBatch = { rows, aggregation, microBatchTokens: 64 };
    const logprobs = [
      [-1, -2, -3],
      [-0.5, -0.7],
    ];
    const { gradient, metrics } = evaluateRows(aggregation, supervisedRows(batch), logprobs);
    const known = new Map(["2,3,4", "8,9"].map((targets, i) => [targets, logprobs[i] as number[]]));
    const weights = sftWeights(batch).filter((row) => row.some((weight) => weight > 0));
    const expected = weights.map((row) => row.slice(1).map((weight) => -weight));
    expectClose(serverGradient(passesOf([gradient], scale), scale, known), expected);
    expect(metrics.tokens).toBe(4);
    const loss = weights.flatMap((row, i) => row.slice(1).map((w, t) => -w * (logprobs[i]?.[t] as number)));
    expect(metrics.loss).toBeCloseTo(
      loss.reduce((sum, part) => sum + part, 0),
      12,
    );
  });
});

describe("the server's own losses", () => {
  const lossFn = async (batch: PolicyBatch, logprobs: readonly (readonly number[])[] = LOGPROBS) => {
    const [pass] = passesOf([(await evaluatePolicy(batch, logprobs, null)).gradient], "sum");
    return [pass?.lossFn, pass?.config];
  };
  it("take the clipped surrogate and CISPO as they are, with bounds of the ratio", async () => {
    const clipped = { clip_low_threshold: 0.8, clip_high_threshold: 1.28 };
    expect(await lossFn(batchOf("dapo", "token-mean"))).toEqual(["ppo", clipped]);
    expect(await lossFn(batchOf("grpo", "token-mean"))).toEqual(["ppo", clipped]);
    expect(await lossFn(batchOf("cispo", "token-mean"))).toEqual(["cispo", clipped]);
  });
  it("do not take a dual clip, a bound of the ratio, a log-ratio beyond weir's bound, or a loss that servers lack", async () => {
    const coefficients = ["importance_sampling", {}];
    for (const setting of [{ dualClip: 3 }, { largestRatio: 2 }])
      expect(await lossFn(batchOf("dapo", "token-mean", lossSettings("dapo", setting)))).toEqual(coefficients);
    const far = LOGPROBS.map((row) => row.map((value, t) => (t === 1 ? value - 30 : value)));
    expect(await lossFn(batchOf("dapo", "token-mean"), far)).toEqual(coefficients);
    expect(await lossFn(batchOf("gspo", "token-mean"))).toEqual(coefficients);
  });
  it("are not needed for the present policy's own samples: their ratio is 1", async () => {
    const batch = batchOf("dapo", "token-mean");
    const groups = batch.groups.map((group) => ({
      ...group,
      completions: group.completions.map((one) => ({ ...one, oldLogprobs: null })),
    }));
    const fresh = { ...batch, groups, oldPolicy: { n: 0, sha256: "x" } };
    expect(await lossFn(fresh)).toEqual(["importance_sampling", {}]);
  });
});
