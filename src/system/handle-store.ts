/** The policy store of a sampler and a trainer that share their weights, on one engine or server: it hands addresses on and holds no weights. */
import type { PolicyStore } from "../contracts/policy-store.js";
import { WeirError } from "../errors.js";
import { LatestPolicy } from "./latest-policy.js";

export function createHandleStore(): PolicyStore {
  const latest = new LatestPolicy();
  return {
    kind: "engine",
    specificationVersion: 1,
    capabilities: { holds: ["handle"] },
    async publish(as, write, { signal }) {
      signal.throwIfAborted();
      if (as !== "handle") throw refused(`holds handles, not a ${as}; use the policy store "folder"`);
      const policy = await write(null);
      if (policy.artifact.kind !== "handle") throw refused(`was given a ${policy.artifact.kind} in place of a handle`);
      latest.set(policy);
      return policy;
    },
    current: async () => latest.value,
    async fetch(version) {
      const held = latest.value?.version.n === version ? "has only a handle" : "has nothing";
      throw refused(
        `${held} of policy version ${version}; use the policy store "folder" where weights are needed as files`,
      );
    },
    watch: (after, options) => latest.watch(after, options),
    retain: async () => undefined,
  };
}

function refused(what: string): WeirError {
  return new WeirError("WEIR_E_POLICY_STORE", `the policy store "engine" ${what}`);
}
