import type { AdvantageGroup, AdvantageInput, AdvantagePart, GroupAdvantages } from "../contracts/advantage.js";
import type { FilterGroup } from "../contracts/filter.js";
import type { Group, Sample, SampleGroup } from "../contracts/group.js";
import type { LossDenominators, TrainGroup } from "../contracts/trainer.js";
import { WeirError } from "../errors.js";

/** From the groups that passed the filter to the trainer's input: advantages, mini-batches and their global denominators. Pure. */

/** The scored members of a group; only they enter a baseline (I1). */
function scoredOf(group: Group) {
  return group.members.flatMap((member) => {
    const { outcome, reward, rollout } = member;
    return reward === null || outcome.kind !== "scored" ? [] : [{ rollout, reward, outcome }];
  });
}

/** A finished group as a filter is given it. */
export function filterGroup(group: Group): FilterGroup {
  return { ...advantageGroup(group), groupId: group.id, size: group.members.length };
}

/** A group in the form that batch-aware advantages receive. */
function advantageGroup(group: Group): AdvantageGroup {
  return {
    taskId: group.task.id,
    source: group.task.source,
    phase: group.phase,
    members: scoredOf(group).map(({ rollout, reward, outcome }) => ({
      reward,
      unshaped: outcome.value,
      parts: outcome.parts,
      tokenIds: rollout.tokenIds,
      entropies: rollout.entropies,
      samplerLogprobs: rollout.samplerLogprobs,
      finish: rollout.finish,
    })),
  };
}

/**
 * Applies the advantage part to the scored members of a batch's groups.
 * Errors: WEIR_E_SHAPE when it returns another number of groups, members or tokens; WEIR_E_NON_FINITE for a NaN or infinity.
 */
export async function withAdvantages(
  groups: readonly Group[],
  actor: AdvantagePart,
  signal: AbortSignal,
): Promise<SampleGroup[]> {
  if (groups.length === 0) return [];
  const given =
    actor.specificationVersion === 1
      ? groups.map((group) => actor.handle(inputOf(group)))
      : await actor.handle(groups.map(advantageGroup), { signal });
  if (given.length !== groups.length)
    throw new WeirError(
      "WEIR_E_SHAPE",
      `advantage actor "${actor.kind}": expected ${groups.length} groups, got ${given.length}`,
    );
  return groups.map((group, p) => samplesOf(group, given[p] as GroupAdvantages, actor.kind));
}

function inputOf(group: Group): AdvantageInput {
  const scored = scoredOf(group);
  return {
    rewards: scored.map(({ reward }) => reward), // [G']
    lengths: scored.map(({ rollout }) => rollout.tokenIds.length), // [G']
  };
}

function samplesOf(group: Group, given: GroupAdvantages, kind: string): SampleGroup {
  const scored = scoredOf(group);
  if (given.length !== scored.length) {
    throw new WeirError(
      "WEIR_E_SHAPE",
      `advantage actor "${kind}": expected ${scored.length} members for group ${group.id}, got ${given.length}`,
      { group: group.id },
    );
  }
  const samples = scored.map(({ rollout, reward }, g): Sample => {
    const value = given[g] as number | readonly number[];
    const { length } = rollout.tokenIds;
    const advantages = typeof value === "number" ? new Array<number>(length).fill(value) : value; // [T]
    if (advantages.length !== length) {
      throw new WeirError(
        "WEIR_E_SHAPE",
        `advantage actor "${kind}": expected ${length} tokens for ${rollout.id}, got ${advantages.length}`,
        { rollout: rollout.id },
      );
    }
    const bad = advantages.find((advantage) => !Number.isFinite(advantage));
    if (bad !== undefined) {
      const rewards = JSON.stringify(scored.map((member) => member.reward));
      throw new WeirError(
        "WEIR_E_NON_FINITE",
        `advantage actor "${kind}" returned ${bad} for ${rollout.id}; rewards were ${rewards}`,
        { rollout: rollout.id },
      );
    }
    return { rollout, reward, advantages };
  });
  return { group, samples };
}

/** Consecutive mini-batches of at most `size` groups; null gives one mini-batch. */
export function miniBatches<T>(groups: readonly T[], size: number | null): T[][] {
  const step = size ?? Math.max(1, groups.length);
  const batches: T[][] = [];
  for (let start = 0; start < groups.length; start += step) batches.push(groups.slice(start, start + step));
  return batches;
}

/**
 * Tokens and sequences of a mini-batch, counted before it is split (I6). With `weights` a token of weight 0 is not counted, nor is
 * a sequence that has lost all its tokens.
 */
export function denominatorsOf(groups: readonly SampleGroup[], weights: PerToken | null = null): LossDenominators {
  const lengths = groups.flatMap(({ samples }) => samples.map(({ rollout }) => rollout.tokenIds.length));
  const counted = weights === null ? lengths : weights.flat().map((row) => row.filter((weight) => weight !== 0).length);
  return {
    tokens: counted.reduce((sum, count) => sum + count, 0),
    sequences: counted.filter((count, i) => count > 0 || lengths[i] === 0).length,
  };
}

/** [P][G][T] numbers as the trainer gives log-probs; one entry per group and sample. */
export type PerToken = readonly (readonly (readonly number[])[])[];

/**
 * The trainer's form of a mini-batch. `old` and `reference` are log-probs per group, sample and token; without `old` they are
 * those of the trainer's present weights. `weights` are those of rollout correction; null gives every token weight 1.
 * Errors: WEIR_E_SHAPE when they do not fit the samples.
 */
export function trainGroups(
  groups: readonly SampleGroup[],
  old: PerToken | null,
  reference: PerToken | null,
  weights: PerToken | null = null,
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
        ...(weights === null ? {} : { weights: tokensOf(weights, p, g, tokenIds.length, "weights") }),
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
