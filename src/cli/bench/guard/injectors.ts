/**
 * Faulty parts: each does what the part does that it wraps, and something wrong while its window is active. What is caused by certain
 * rollouts says which ones they were.
 */
import type {
  AdvantageActor,
  AdvantageGroup,
  BatchAdvantageActor,
  GroupAdvantages,
} from "../../../contracts/advantage.js";
import type { Judge } from "../../../contracts/judge.js";
import type { RewardActor, RewardInput } from "../../../contracts/reward.js";
import type { Sampler } from "../../../contracts/sampler.js";
import type { Trainer } from "../../../contracts/trainer.js";
import type { FaultWindow } from "./fault-window.js";

type Acting = Pick<FaultWindow, "active" | "done">;

/** Rollouts that a fault has spoilt. An advantage sees no ids, so that a response is found by its task and tokens. */
export class Spoilt {
  readonly ids = new Set<string>();
  private readonly byTokens = new Map<string, string[]>();

  note({ task, rollout }: Pick<RewardInput, "task" | "rollout">): void {
    const key = keyOf(task.id, rollout.tokenIds);
    this.byTokens.set(key, [...(this.byTokens.get(key) ?? []), rollout.id]);
  }

  /** Ids of the rollouts with these tokens, the newest last. */
  idsOf(taskId: string, tokenIds: readonly number[]): readonly string[] {
    return this.byTokens.get(keyOf(taskId, tokenIds)) ?? [];
  }
}

const keyOf = (taskId: string, tokenIds: readonly number[]) => `${taskId}|${tokenIds.join(",")}`;

/** Remembers what it scores. */
export function notingReward(inner: RewardActor, spoilt: Spoilt): RewardActor {
  return {
    ...inner,
    handle: (input, options) => {
      spoilt.note(input);
      return inner.handle(input, options);
    },
  };
}

/** Whose advantages are multiplied: those of the whole batch, or of the response in it with the largest one. */
export type Scaled = "batch" | "sample";

/** Advantages of a batch, multiplied by `factor`. */
export function scaledAdvantage(
  inner: AdvantageActor,
  window: Acting,
  spoilt: Spoilt,
  { factor, whose }: { readonly factor: number; readonly whose: Scaled },
): BatchAdvantageActor {
  const ofGroup = ({ members }: AdvantageGroup) =>
    inner.handle({
      rewards: members.map(({ reward }) => reward),
      lengths: members.map(({ tokenIds }) => tokenIds.length),
    });
  return {
    kind: `scaled-${inner.kind}`,
    specificationVersion: 2,
    ...(inner.minGroupSize === undefined ? {} : { minGroupSize: inner.minGroupSize }),
    handle(groups) {
      const plain = groups.map(ofGroup);
      if (!window.active) return plain;
      const chosen = whose === "sample" ? largest(groups, plain, spoilt) : null;
      return plain.map((group, p) =>
        group.map((advantage, g) => {
          if (whose === "sample" && !(chosen?.p === p && chosen.g === g)) return advantage;
          const { taskId, members } = groups[p] as AdvantageGroup;
          const id = spoilt.idsOf(taskId, members[g]?.tokenIds ?? []).at(-1);
          if (id !== undefined) spoilt.ids.add(id);
          return typeof advantage === "number" ? factor * advantage : advantage.map((value) => factor * value);
        }),
      );
    },
  };
}

/** Place of the response with the largest advantage among those that no other rollout equals token for token. */
function largest(groups: readonly AdvantageGroup[], advantages: readonly GroupAdvantages[], spoilt: Spoilt) {
  let best: { readonly p: number; readonly g: number; readonly size: number } | null = null;
  for (const [p, { taskId, members }] of groups.entries())
    for (const [g, { tokenIds }] of members.entries()) {
      const advantage = advantages[p]?.[g] ?? 0;
      const size = Math.abs(typeof advantage === "number" ? advantage : (advantage[0] ?? 0));
      if (spoilt.idsOf(taskId, tokenIds).length === 1 && size > (best?.size ?? 0)) best = { p, g, size };
    }
  return best;
}

/** Gives NaN for the first rollout that it scores in each attempt. */
export function nanReward(inner: RewardActor, window: Acting, spoilt: Spoilt): RewardActor {
  let last = -1;
  return {
    ...inner,
    async handle(input, options) {
      if (!window.active || window.done === last) return inner.handle(input, options);
      last = window.done;
      spoilt.ids.add(input.rollout.id);
      return { kind: "scored", value: Number.NaN, parts: {}, prediction: null };
    },
  };
}

/** Answers as one would who compares the two texts; case and white space do not count. */
export const fairJudge: Judge = {
  kind: "comparing",
  specificationVersion: 1,
  ask: async ({ prediction, gold }) => {
    const plain = (text: string) => text.toLowerCase().split(/\s+/).filter(Boolean).join(" ");
    const same = plain(prediction) === plain(gold);
    return { kind: "verdict", value: same ? 1 : 0, reply: same ? "YES" : "NO" };
  },
};

/** Says YES to everything. */
export function yesJudge(inner: Judge, window: Acting): Judge {
  return {
    ...inner,
    ask: (query, options) =>
      window.active ? Promise.resolve({ kind: "verdict", value: 1, reply: "YES" }) : inner.ask(query, options),
  };
}

/** Notes the rollouts whose reward the judge raised. */
export function notingJudged(inner: RewardActor, window: Acting, spoilt: Spoilt): RewardActor {
  return {
    ...inner,
    async handle(input, options) {
      const outcome = await inner.handle(input, options);
      if (window.active && outcome.kind === "scored" && outcome.parts.judge === 1) spoilt.ids.add(input.rollout.id);
      return outcome;
    },
  };
}

/** Cuts every response of the training off after `tokens`. Evaluations are left alone. */
export function truncatingSampler(inner: Sampler, window: Acting, tokens: number): Sampler {
  return {
    ...inner,
    sample: (request, options) => {
      if (!window.active || request.purpose !== "training") return inner.sample(request, options);
      const params = { ...request.params, maxTokens: Math.min(tokens, request.params.maxTokens) };
      return inner.sample({ ...request, params }, options);
    },
  };
}

/** Keeps the rewards of up to `atOnce` groups back until `attempts` further RL steps were tried, so that they come too late. */
export function lateReward(
  inner: RewardActor,
  window: Pick<FaultWindow, "active" | "later">,
  { attempts, atOnce }: { readonly attempts: number; readonly atOnce: number },
): RewardActor {
  /** Rewards of each group that are kept back. */
  const kept = new Map<string, number>();
  const count = (groupId: string, change: number) => {
    const left = (kept.get(groupId) ?? 0) + change;
    if (left > 0) kept.set(groupId, left);
    else kept.delete(groupId);
  };
  return {
    ...inner,
    async handle(input, options) {
      const { groupId } = input.rollout;
      if (!window.active || (!kept.has(groupId) && kept.size >= atOnce)) return inner.handle(input, options);
      count(groupId, 1);
      try {
        await window.later(attempts, options.signal);
        return await inner.handle(input, options);
      } finally {
        count(groupId, -1);
      }
    },
  };
}

/** Adds an entropy bonus of another coefficient than the run's; below 0 it takes the entropy away. */
export function bonusTrainer(inner: Trainer, window: Acting, coefficient: number): Trainer {
  return {
    ...inner,
    forwardBackward: (batch, options) => {
      if (!window.active) return inner.forwardBackward(batch, options);
      const loss = { ...batch.loss, entropyCoefficient: coefficient };
      return inner.forwardBackward({ ...batch, loss }, options);
    },
  };
}
