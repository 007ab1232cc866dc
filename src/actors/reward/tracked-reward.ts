import type { RewardActor } from "../../contracts/reward.js";
import type { InFlight } from "../../streams/in-flight.js";

/** The same reward; `inFlight` tracks its calls until they settle, also after the pipeline has abandoned them. */
export function trackedReward(reward: RewardActor, inFlight: InFlight): RewardActor {
  return {
    kind: reward.kind,
    specificationVersion: reward.specificationVersion,
    ...(reward.readiness ? { readiness: reward.readiness } : {}),
    handle: (input, options) => inFlight.track(Promise.resolve(reward.handle(input, options))),
    connect: async (options) => reward.connect?.(options),
    dispose: () => reward.dispose?.(),
  };
}
