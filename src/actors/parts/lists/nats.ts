/** The parts that work over a NATS server. */
import type { PolicyStore } from "../../../contracts/policy-store.js";
import { WeirError } from "../../../errors.js";
import { NatsPolicyStore } from "../../../remote/nats/nats-policy-store.js";
import { NatsServer } from "../../../remote/nats/nats-server.js";
import { createNatsWorkQueue } from "../../../remote/nats/nats-work-queue.js";
import { createFolderPolicyStore } from "../../../store/policy-folder.js";
import { openPolicyPlace, placeName } from "../../../store/policy-place.js";
import type { Parts } from "../part-kinds.js";
import { needed } from "./embedded.js";
import type { BuiltInSource } from "./source.js";

const BYTES_PER_GIB = 1024 ** 3;

export const natsWorkQueue = (source: BuiltInSource): Parts["workQueue"] => {
  const { url, credentialsEnv, maxTasks, leaseMs, maxAttempts } = source.config.workQueue;
  return createNatsWorkQueue({
    server: new NatsServer({ url: addressOf(url, "workQueue.url"), credentialsEnv }),
    run: () => runName(source),
    limits: { bound: maxTasks, resultBound: maxTasks, leaseMs, maxAttempts },
  });
};

export const natsPolicyStore = (source: BuiltInSource): PolicyStore => {
  const { policyStore, workQueue } = source.config;
  const url = addressOf(policyStore.url ?? workQueue.url, "policyStore.url");
  return new NatsPolicyStore({
    server: new NatsServer({ url, credentialsEnv: workQueue.credentialsEnv }),
    run: () => runName(source),
    local: createFolderPolicyStore(() => openPolicyPlace(needed(source).policyPlace())),
    maxBytes: policyStore.maxGiB === null ? null : policyStore.maxGiB * BYTES_PER_GIB,
  });
};

/** Unique among the runs that may share a server. */
function runName(source: BuiltInSource): string {
  return placeName(needed(source).policyPlace().runDirectory);
}

/** Errors: WEIR_E_CONFIG where there is none. */
function addressOf(url: string | null, option: string): string {
  if (url !== null) return url;
  throw new WeirError("WEIR_E_CONFIG", `option "${option}": nats needs the address of a server, nats://HOST:4222`, {
    path: option,
  });
}
