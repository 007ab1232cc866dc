import type { MetricValues } from "../../contracts/metrics.js";

/** The KL of a step that a person and a curriculum go by, nats: what the update did, else k3 against the policy that sampled; undefined without an update. */
export function klOfStep(values: MetricValues): number | undefined {
  return values["kl/update"] ?? values["kl/old_k3"];
}
