import { mkdtemp } from "node:fs/promises";
import { describe, it } from "node:test";
import { describeSampler } from "weir-rl/testing";
import { createReplica } from "./sampler.js";
import { createSlowing } from "./trainer.js";

// A policy to adopt, as a trainer publishes it.
const { signal } = new AbortController();
const trainer = await createSlowing("model");
const policy = await trainer.publish({ signal, as: "checkpoint", folder: await mkdtemp("policy-") });
await trainer.dispose?.();

// One engine for all tests, which takes seconds to start.
const { dispose, ...replica } = createReplica("model");
await replica.adopt(policy, { signal, inFlight: "wait" });

describeSampler({ create: () => replica, policy, promptIds: [5, 6, 7], framework: { describe, it } });
it("is given up", async () => dispose?.());
