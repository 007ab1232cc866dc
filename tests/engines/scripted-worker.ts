/** A worker over NATS that draws without a model, each group within a tenth to three tenths of a second. Arguments: URL, run. */
import { work } from "../../src/actors/worker/work.js";
import type { GroupResult, GroupTask } from "../../src/contracts/group-work.js";
import type { SampledSequence, Sampler } from "../../src/contracts/sampler.js";
import { NatsServer } from "../../src/remote/nats/nats-server.js";
import { createNatsWorkQueue } from "../../src/remote/nats/nats-work-queue.js";
import { realTime } from "../../src/system/time.js";

const [url = "", run = ""] = process.argv.slice(2);
const { signal } = new AbortController();

const sequenceOf = (seed: number, version: number): SampledSequence => ({
  ...{ tokenIds: [seed % 50], logprobs: [-1], entropies: null, finish: "length" },
  spans: [{ version, sha256: "", start: 0, end: 1 }],
});

const sampler: Sampler = {
  ...{ kind: "scripted", specificationVersion: 2 },
  capabilities: {
    ...{ logprobBasis: "scaled", seeds: "per-sequence", tokenVersions: false, adopts: ["checkpoint"] },
    ...{ heldVersions: 1, entropies: false, abort: false },
  },
  async sample({ prompts, policy }) {
    const version = policy === null ? 0 : "exactly" in policy ? policy.exactly : policy.atLeast;
    await new Promise((done) => setTimeout(done, 100 + 200 * Math.random()));
    return { sequences: prompts.map(({ seeds }) => seeds.map((seed) => sequenceOf(seed, version))), seconds: 0.2 };
  },
  adopt: async () => undefined,
  release: async () => undefined,
  load: async () => ({ running: 0, waiting: 0, cacheUse: null, versions: [0] }),
};

const server = new NatsServer({ url, credentialsEnv: null });
const queue = createNatsWorkQueue<GroupTask, GroupResult>({ server, run: () => run, limits: null });
while ((await queue.announced({ signal })) === null) await new Promise((done) => setTimeout(done, 100));
await work(
  {
    ...{ queue, sampler, policies: null, decode: () => "" },
    reward: {
      ...{ kind: "scripted", specificationVersion: 1 },
      handle: async ({ rollout }) => ({ kind: "scored", value: rollout.sampleIndex % 2, parts: {}, prediction: null }),
    },
  },
  { name: `scripted-${process.pid}`, lanes: 4, groupsPerCall: 1, rewardConcurrency: 4, time: realTime },
  { drain: signal, abort: signal },
);
