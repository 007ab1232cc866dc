import type { AdvantageActor } from "../contracts/advantage.js";
import type { Group, Sample, SampleGroup } from "../contracts/group.js";
import type { LossDenominators, TrainGroup } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";

/** From kept groups to what the trainer takes: advantages, mini-batches and their global denominators. Pure. */

/**
 * Applies the advantage actor to the scored members of a group (I1: nobody else enters the baseline).
 * Errors: WEIR_E_SHAPE when the actor returns another number of members or tokens; WEIR_E_NON_FINITE for a NaN or infinity.
 */
export function withAdvantages(group: Group, actor: AdvantageActor): SampleGroup {
  const scored = group.members.filter((member) => member.reward !== null);
  const rewards = scored.map((member) => member.reward as number); // [G']
  const lengths = scored.map((member) => member.rollout.tokenIds.length); // [G']
  const given = actor.handle({ rewards, lengths });
  if (given.length !== scored.length) {
    throw new WeirError(
      "WEIR_E_SHAPE",
      `advantage actor "${actor.kind}": expected ${scored.length} members for group ${group.id}, got ${given.length}`,
      { group: group.id },
    );
  }
  const samples = scored.map((member, g): Sample => {
    const value = given[g] as number | readonly number[];
    const length = lengths[g] as number;
    const advantages = typeof value === "number" ? new Array<number>(length).fill(value) : value; // [T]
    if (advantages.length !== length) {
      throw new WeirError(
        "WEIR_E_SHAPE",
        `advantage actor "${actor.kind}": expected ${length} tokens for ${member.rollout.id}, got ${advantages.length}`,
        { rollout: member.rollout.id },
      );
    }
    const bad = advantages.find((advantage) => !Number.isFinite(advantage));
    if (bad !== undefined) {
      throw new WeirError(
        "WEIR_E_NON_FINITE",
        `advantage actor "${actor.kind}" returned ${bad} for ${member.rollout.id}; rewards were ${JSON.stringify(rewards)}`,
        { rollout: member.rollout.id },
      );
    }
    return { rollout: member.rollout, reward: member.reward as number, advantages };
  });
  return { group, samples };
}

/** Consecutive mini-batches of at most `size` groups; null takes all at once. */
export function miniBatches(groups: readonly SampleGroup[], size: number | null): SampleGroup[][] {
  const step = size ?? Math.max(1, groups.length);
  const batches: SampleGroup[][] = [];
  for (let start = 0; start < groups.length; start += step) batches.push(groups.slice(start, start + step));
  return batches;
}

/** Tokens and sequences of a mini-batch, counted before it is split (I6). */
export function denominatorsOf(groups: readonly SampleGroup[]): LossDenominators {
  const samples = groups.flatMap((group) => group.samples);
  return {
    tokens: samples.reduce((sum, sample) => sum + sample.rollout.tokenIds.length, 0),
    sequences: samples.length,
  };
}

/** [P][G][T] numbers as the trainer gives log-probs; one entry per group and sample. */
export type PerToken = readonly (readonly (readonly number[])[])[];

/**
 * The trainer's form of a mini-batch. `old` and `reference` are log-probs per group, sample and token; without `old` it is the
 * policy at hand that sampled.
 * Errors: WEIR_E_SHAPE when they do not fit the samples.
 */
export function trainGroups(
  groups: readonly SampleGroup[],
  old: PerToken | null,
  reference: PerToken | null,
): TrainGroup[] {
  return groups.map((group, p) => ({
    promptIds: group.samples[0]?.rollout.promptIds ?? [],
    completions: group.samples.map((sample, g) => {
      const { tokenIds } = sample.rollout;
      return {
        tokenIds,
        advantages: sample.advantages,
        oldLogprobs: old === null ? null : tokensOf(old, p, g, tokenIds.length, "old log-probs"),
        refLogprobs: reference === null ? null : tokensOf(reference, p, g, tokenIds.length, "reference log-probs"),
      };
    }),
  }));
}

function tokensOf(values: PerToken, p: number, g: number, length: number, what: string): readonly number[] {
  const tokens = values[p]?.[g];
  if (tokens?.length !== length) {
    throw new WeirError(
      "WEIR_E_SHAPE",
      `${what}: expected ${length} tokens for group ${p}, sample ${g}, got ${tokens?.length ?? 0}`,
      { p, g },
    );
  }
  return tokens;
}
