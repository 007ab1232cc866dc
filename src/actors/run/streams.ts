import type { ActorStatus } from "../../contracts/actor-status.js";
import type { Alert } from "../../contracts/alert.js";
import type { Fact } from "../../contracts/fact.js";
import type { MetricRecord } from "../../contracts/metrics.js";
import type { Trace } from "../../contracts/trace.js";
import type { QueueGauge } from "../../streams/bounded-queue.js";
import { Broadcast } from "../../streams/broadcast.js";

/** Where the lifecycle stands: a state's name such as `training`, `paused`, `completed`. */
export interface LifecycleState {
  readonly lifecycle: string;
  readonly phase: number;
}

/** The streams that a training system hands out. */
export function createStreams(onFault: (error: unknown) => void) {
  return {
    state: new Broadcast<LifecycleState>(onFault),
    metrics: new Broadcast<MetricRecord>(onFault),
    alerts: new Broadcast<Alert>(onFault),
    traces: new Broadcast<Trace>(onFault),
    facts: new Broadcast<Fact>(onFault),
    gauges: new Broadcast<readonly QueueGauge[]>(onFault),
    actors: new Broadcast<readonly ActorStatus[]>(onFault),
  };
}
