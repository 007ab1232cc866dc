import { klEstimate } from "../../algorithms/kl.js";
import type { SampleGroup } from "../../contracts/group.js";
import type { PolicyBatch, PolicyMetrics, TrainCompletion } from "../../contracts/trainer.js";
import { tokenWeight } from "../../losses/aggregation.js";
import { clippedRatio } from "../../losses/clipped-ratio.js";
import { tokenLosses } from "../../losses/evaluate.js";
import { policyLossNamed } from "../../losses/index.js";
import { LOG_RATIO_CLAMP } from "../../losses/policy-loss.js";
import type { GradientTokens } from "../../streams/telemetry/policy-metrics.js";

/** Writes down what an update does with each token of each response, for traces, metrics and alarms. */

/** What an update knows of the tokens of a response, from the last gradient that it entered; null for a token of weight 0 in it. */
export interface TokenFacts {
  readonly advantages: readonly (number | null)[]; // [T]
  /** π/π_old. */
  readonly ratios: readonly (number | null)[]; // [T]
  /**
   * The token's part in the policy loss over the sum of all parts' absolute values in the step, with its sign; null where the loss is
   * one of the user's own.
   */
  readonly lossShares: readonly (number | null)[] | null; // [T]
  /** k3 of KL(π before ‖ π after) of the optimiser step, nats; null where it was not measured, or the step was thrown away. */
  readonly klUpdate: readonly (number | null)[] | null; // [T]
}

interface Row {
  advantages: readonly (number | null)[];
  ratios: readonly (number | null)[];
  losses: readonly number[] | null;
  /** Loss weight of each token: aggregation and rollout correction. */
  weights: readonly number[];
  klUpdate: readonly number[] | null;
}

/** A number per token of a rollout. */
export interface TokenValues {
  readonly rolloutId: string;
  readonly perToken: readonly number[]; // [T]
}

export class TokenBook {
  /** By rollout id. */
  private readonly rows = new Map<string, Row>();
  private readonly gradients: GradientTokens[] = [];

  /** A gradient of these groups was computed; returns its tokens. */
  trained(batch: PolicyBatch, groups: readonly SampleGroup[], { logprobs }: PolicyMetrics): GradientTokens {
    const ratios: number[] = [];
    const advantages: number[] = [];
    const clipped = { low: 0, high: 0 };
    const { name, settings } = batch.loss;
    const clips = name !== null && policyLossNamed(name).terms === clippedRatio;
    batch.groups.forEach(({ completions }, p) => {
      completions.forEach((completion, g) => {
        const id = groups[p]?.samples[g]?.rollout.id;
        if (id === undefined) return;
        const row = rowOf(batch, completion, logprobs[p]?.[g] ?? []);
        this.rows.set(id, row);
        row.ratios.forEach((ratio, t) => {
          const advantage = row.advantages[t];
          if (ratio === null || advantage === null || advantage === undefined) return;
          ratios.push(ratio);
          advantages.push(advantage);
          if (advantage < 0 && ratio < 1 - settings.clipLow) clipped.low++;
          if (advantage > 0 && ratio > 1 + settings.clipHigh) clipped.high++;
        });
      });
    });
    const tokens: GradientTokens = { ratios, advantages, clipped: clips ? clipped : null };
    this.gradients.push(tokens);
    return tokens;
  }

  /** What the last optimiser step did to the policy on this rollout; NaN where a token does not count. */
  moved({ rolloutId, perToken }: TokenValues): void {
    const row = this.rows.get(rolloutId);
    if (row !== undefined) row.klUpdate = perToken;
  }

  get allGradients(): readonly GradientTokens[] {
    return this.gradients;
  }

  /** Rollouts with the KL of the update at each of their tokens; those that were measured. */
  movedTokens(): TokenValues[] {
    return [...this.rows].flatMap(([rolloutId, { klUpdate }]) =>
      klUpdate === null ? [] : [{ rolloutId, perToken: klUpdate }],
    );
  }

  /** What each token brings to a metric of the gradients; 0 where it did not count. */
  tokenValues(of: (token: { ratio: number; advantage: number; weight: number }) => number): TokenValues[] {
    return [...this.rows].map(([rolloutId, { ratios, advantages, weights }]) => ({
      rolloutId,
      perToken: ratios.map((ratio, t) =>
        ratio === null ? 0 : of({ ratio, advantage: advantages[t] ?? 0, weight: weights[t] ?? 0 }),
      ),
    }));
  }

  /** By rollout id. */
  facts(): ReadonlyMap<string, TokenFacts> {
    const losses = [...this.rows.values()].map((row) => row.losses ?? []);
    const total = losses.reduce((sum, row) => row.reduce((inner, value) => inner + Math.abs(value), sum), 0);
    return new Map(
      [...this.rows].map(([id, { advantages, ratios, losses: own, klUpdate }]) => [
        id,
        {
          advantages,
          ratios,
          lossShares: own?.map((value, t) => (ratios[t] === null ? null : total === 0 ? 0 : value / total)) ?? null,
          klUpdate: klUpdate?.map((value) => (Number.isNaN(value) ? null : value)) ?? null,
        },
      ]),
    );
  }
}

function rowOf({ loss, denominators }: PolicyBatch, completion: TrainCompletion, logprobs: readonly number[]): Row {
  const { tokenIds, advantages, oldLogprobs, weights } = completion;
  const own = tokenIds.map((_, t) => weights?.[t] ?? 1);
  const counted = own.filter((weight) => weight !== 0).length;
  const each = tokenWeight(loss.aggregation, denominators, counted, loss.lossScale);
  const old = oldLogprobs ?? logprobs;
  const scaled = own.map((weight) => (weight === 0 ? 0 : weight * each));
  const ratio = (t: number) => {
    const difference = (logprobs[t] ?? Number.NaN) - (old[t] ?? Number.NaN);
    return Math.exp(Math.min(Math.max(difference, -LOG_RATIO_CLAMP), LOG_RATIO_CLAMP));
  };
  const sequence = { logprobs, old, advantages, weights: scaled };
  return {
    advantages: own.map((weight, t) => (weight === 0 ? null : (advantages[t] ?? 0))),
    ratios: own.map((weight, t) => (weight === 0 ? null : ratio(t))),
    losses: loss.name === null ? null : Array.from(tokenLosses(policyLossNamed(loss.name), sequence, loss.settings)),
    weights: scaled,
    klUpdate: null,
  };
}

/** k3 of KL(π ‖ π_old) of a ratio π/π_old, nats. */
export const ratioKl = (ratio: number): number => klEstimate(Math.log(ratio), 0, "k3", false);
