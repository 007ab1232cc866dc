import { counterKey, uniform } from "../algorithms/random.js";
import type { Config } from "../config/schema.js";
import type { Guard } from "../contracts/guard.js";
import type { PolicyStore } from "../contracts/policy-store.js";
import type { ArtifactKind } from "../contracts/published-policy.js";
import type { Readiness, ReadinessState } from "../contracts/readiness.js";
import type { RewardActor, RewardOutcome } from "../contracts/reward.js";
import { WeirError } from "../errors.js";
import { LatestPolicy } from "../system/latest-policy.js";
import type { Time } from "../system/time.js";
import type { ScriptedCalls } from "./calls.js";
import type { GroundTruth } from "./ground-truth.js";

/** Scripted reward, guard and policy store. */

export interface PartWorld {
  readonly config: Config;
  readonly seed: number;
  readonly calls: ScriptedCalls;
  readonly truth: GroundTruth;
}

/**
 * Outages of what stands behind the rewards: while one lasts none answers. The first call that gets no answer finds out; where `tells`
 * says so, the reward tells then that it takes no work.
 */
export class Outage implements Readiness {
  private until = 0;
  private noticedAt: number | null = null;
  private readonly listeners = new Set<(state: ReadinessState) => void>();

  constructor(
    private readonly time: Pick<Time, "now">,
    readonly tells: boolean,
  ) {}

  begin(ms: number): void {
    this.until = this.time.now() + ms;
    this.noticedAt = null;
  }

  /** ms until it is over; 0 where there is none. */
  get left(): number {
    return Math.max(0, this.until - this.time.now());
  }

  notice(): void {
    if (this.noticedAt !== null) return;
    this.noticedAt = this.time.now();
    for (const listener of [...this.listeners]) listener(this.state());
  }

  state(): ReadinessState {
    if (this.left === 0 || this.noticedAt === null) return { ready: true };
    const forMs = this.time.now() - this.noticedAt;
    return { ready: false, code: "WEIR_E_JUDGE", reason: "the judge is away", forMs };
  }

  onChange(listener: (state: ReadinessState) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }
}

/** Gives the shares of outcomes that `simulation` asks for, by group: the same for a group however often it is asked. */
export function createScriptedReward(world: PartWorld, outage: Outage): RewardActor {
  const { calls, truth, config } = world;
  const { draws } = calls.tools;
  return {
    kind: "scripted",
    specificationVersion: 1,
    ...(outage.tells ? { readiness: outage } : {}),
    async handle({ rollout }, { signal }) {
      const seconds = draws.of("reward", config.simulation.latencies.reward);
      const { left } = outage;
      // One that tells of itself fails soon; another hangs until it is back.
      const wait = outage.tells ? 0 : left / 1000;
      const outcome = await calls.run("reward.handle", { signal, seconds: seconds + wait }, () => {
        if (left > 0) outage.notice();
        if (left > 0) throw new WeirError("WEIR_E_JUDGE", "the judge is away", {});
        return outcomeOf(world, rollout.groupId, rollout.sampleIndex);
      });
      truth.scored(rollout.id, rollout.tokenIds, outcome.kind);
      return outcome;
    },
  };
}

function outcomeOf({ config, seed }: PartWorld, groupId: string, member: number): RewardOutcome {
  const { informativeShare, solvedShare, unscoredShare } = config.simulation;
  const key = counterKey(seed, "simulation/group", groupId);
  if (uniform(key, 2 * member + 2) < unscoredShare) return { kind: "abstained", reason: "simulated" };
  const informative = uniform(key, 0) < informativeShare;
  const solved = uniform(key, 1) < solvedShare;
  // The first two responses of an informative group differ, whatever the others are.
  const mixed = member < 2 ? member === 0 : uniform(key, 2 * member + 3) < 0.5;
  const value = (informative ? mixed : solved) ? 1 : 0;
  return { kind: "scored", value, parts: { simulated: value }, prediction: null };
}

/** Commits; with probability `skips` it skips an update, with `rollbacks` it asks for a rollback, half of them to an earlier step. */
export function createScriptedGuard(
  { calls }: PartWorld,
  { skips, rollbacks }: { readonly skips: number; readonly rollbacks: number },
): Guard {
  const { draws } = calls.tools;
  return {
    kind: "scripted",
    specificationVersion: 1,
    judge: ({ nonFinite, step }, { signal }) =>
      calls.run("guard.judge", { signal, seconds: 0 }, () => {
        const value = draws.next("verdict");
        if (nonFinite.length > 0 || value < skips) return { action: "skip", reason: "simulated" } as const;
        if (value >= skips + rollbacks) return { action: "commit" } as const;
        const back = { action: "rollback", reason: "simulated" } as const;
        return value < skips + rollbacks / 2 ? back : { ...back, lastGoodStep: Math.max(0, step - 2) };
      }),
  };
}

const POLICIES = "policies";

/** Hands policies on in memory. */
export function createScriptedPolicyStore({ calls }: PartWorld, form: ArtifactKind): PolicyStore {
  const latest = new LatestPolicy();
  const call = <T>(name: string, signal: AbortSignal | null, work: () => T) =>
    calls.run(`policyStore.${name}`, { signal, seconds: 0 }, work);
  return {
    kind: "scripted",
    specificationVersion: 1,
    capabilities: { holds: [form] },
    async publish(as, write, { signal }) {
      signal.throwIfAborted();
      const policy = await write(as === "handle" ? null : POLICIES);
      return call("publish", signal, () => {
        latest.set(policy);
        return policy;
      });
    },
    current: async () => latest.value,
    fetch: (version) =>
      Promise.reject(new WeirError("WEIR_E_POLICY_STORE", `policy version ${version} is a handle`, { version })),
    watch: (after, options) => latest.watch(after, options),
    retain: () => Promise.resolve(),
  };
}
