/** Samplers, trainers, policy stores and guards that weir brings, and the fakes, against their contracts' own suites. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createKeepAllFilter, createVarianceFilter } from "../../src/actors/filter/filter.js";
import { createFiniteGuard } from "../../src/actors/guard/guard.js";
import { SamplerPool } from "../../src/actors/rollout/sampler-pool.js";
import type { Engine } from "../../src/contracts/engine.js";
import type { GroupFilter } from "../../src/contracts/filter.js";
import type { Evidence, Guard } from "../../src/contracts/guard.js";
import type { Sampler } from "../../src/contracts/sampler.js";
import type { Trainer } from "../../src/contracts/trainer.js";
import { startEngine } from "../../src/model/engine/host.js";
import { startInProcessEngine } from "../../src/model/engine/in-process.js";
import { createFolderPolicyStore } from "../../src/store/policy-folder.js";
import { unboundedPlace } from "../../src/store/policy-place.js";
import { createMemoryWorkQueue } from "../../src/streams/work-queue.js";
import { createHandleStore } from "../../src/system/handle-store.js";
import { realTime } from "../../src/system/time.js";
import {
  createFakePolicyStore,
  createFakeSampler,
  createFakeTrainer,
  describeGroupFilter,
  describeGuard,
  describeJudge,
  describePolicyStore,
  describeSampler,
  describeTrainer,
  describeWorkQueue,
  fakeVersion,
} from "../../src/testing.js";
import { ENGINE_OPTIONS, FAST_BACKEND, writeRandomModel } from "../helpers/engines.js";
import { failures } from "../helpers/suite-failures.js";

const framework = { describe, it };

describe.each(FAST_BACKEND === "tensorflow" ? (["eager", "compiled"] as const) : (["eager"] as const))(
  "the embedded engine, %s",
  (executor) => {
    let folder: string;
    const engines: Engine[] = [];
    beforeAll(async () => {
      folder = mkdtempSync(join(tmpdir(), "weir-parts-"));
      await writeRandomModel(folder);
    });
    const open = async () => {
      const engine = await startInProcessEngine({ modelDir: folder, options: { ...ENGINE_OPTIONS, executor } });
      engines.push(engine);
      return engine;
    };
    afterAll(async () => {
      for (const engine of engines) await engine.close();
      rmSync(folder, { recursive: true });
    });
    const disposing = <T extends object>(part: T, engine: Engine): T => ({ ...part, dispose: () => engine.close() });
    describeSampler({
      framework,
      policy: null,
      create: async () => {
        const engine = await open();
        return disposing(engine.sampler, engine);
      },
    });
    describeTrainer({
      framework,
      create: async () => {
        const engine = await open();
        return disposing(engine.trainer, engine);
      },
    });

    it("adopts a checkpoint of another engine, and says what it cannot adopt", async () => {
      const { signal } = new AbortController();
      const [first, second] = [await open(), await open()];
      const rows = [{ tokenIds: [4, 5, 6], lossMask: [0, 1, 1] }];
      await first.trainer.sftForwardBackward({ rows, aggregation: "token-mean", microBatchTokens: 64 }, { signal });
      await first.trainer.optimStep(
        { learningRate: 0.01, betas: [0.9, 0.99], epsilon: 1e-8, weightDecay: 0, decayScope: "all", maxGradNorm: null },
        { signal },
      );
      const store = createFolderPolicyStore(() => unboundedPlace(join(folder, "policies")));
      const publish = (as: "checkpoint" | "handle") =>
        store.publish(as, (into) => first.trainer.publish({ signal, as, folder: into }), { signal });
      const policy = await publish("checkpoint");
      expect(policy.version.n).toBe(1);
      await second.sampler.adopt(policy, { signal, inFlight: "wait" });
      const sequences = [[4, 5, 6, 7]];
      expect(await second.scoreSequences(sequences, { signal })).toEqual(
        await first.scoreSequences(sequences, { signal }),
      );
      const { sequences: drawn } = await second.sampler.sample(
        {
          id: "x",
          prompts: [{ promptIds: [4], seeds: [1] }],
          params: { temperature: 1, topP: 1, topK: 0, maxTokens: 2, stopIds: [] },
          policy: { exactly: 1 },
          purpose: "training",
          deadlineMs: 60_000,
        },
        { signal },
      );
      expect(drawn[0]?.[0]?.spans[0]).toMatchObject({ version: 1, sha256: policy.version.sha256 });
      const handle = { ...(await publish("handle")), version: { n: 5, sha256: "other" } };
      const adopting = second.sampler.adopt(handle, { signal, inFlight: "wait" });
      await expect(adopting).rejects.toThrow("WEIR_E_POLICY_VERSION");
      const own = first.sampler.adopt({ ...policy, version: { n: 9, sha256: "x" } }, { signal, inFlight: "wait" });
      await expect(own).rejects.toThrow("WEIR_E_STATE");
    });
  },
);

describe("the fakes", () => {
  const policy = { version: fakeVersion(2), artifact: { kind: "handle", uri: "fake:" }, bytes: 0 } as const;
  describeSampler({ framework, policy, create: () => createFakeSampler() });
  describeTrainer({
    framework,
    create: () => createFakeTrainer(),
    skip: [
      {
        reason: "a fake computes nothing",
        tests: ["makes the better completion likelier and the worse one less likely"],
      },
    ],
  });
  describePolicyStore({ framework, create: (folder) => createFakePolicyStore(folder), skip: FAKE_STORE_SKIPS });
});

const FAKE_STORE_SKIPS = [
  {
    reason: "the fake keeps one version",
    tests: ["keeps the newest version and those that it is told to, and no other"],
  },
];

/** A pool over members that are started by `start`. */
function pool(start: () => Promise<{ readonly sampler: Sampler; close(): Promise<void> }>): SamplerPool {
  return new SamplerPool({
    members: 2,
    time: realTime,
    maxRestarts: 0,
    restartDelayMs: 0,
    startTimeoutMs: 60_000,
    adoptTimeoutMs: 60_000,
    callTimeoutMs: 60_000,
    start: async () => ({ ...(await start()), exited: new Promise(() => undefined), pid: null }),
  });
}

/** Capabilities are known once the members run. */
async function runningPool(start: Parameters<typeof pool>[0]): Promise<SamplerPool> {
  const made = pool(start);
  await made.start();
  return made;
}

describe("a pool of fakes", () => {
  const fake = async () => ({ sampler: createFakeSampler(), close: async () => undefined });
  const policy = { version: fakeVersion(2), artifact: { kind: "checkpoint", uri: "fake:" }, bytes: 0 } as const;
  describeSampler({ framework, policy, create: () => runningPool(fake) });
  describeSampler({ framework, policy: null, create: () => runningPool(fake) });
});

describe("a pool of two engine processes", () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "weir-pool-"));
    await writeRandomModel(folder);
  });
  let shared: SamplerPool | null = null;
  afterAll(async () => {
    await shared?.dispose();
    rmSync(folder, { recursive: true });
  });
  describeSampler({
    framework,
    policy: null,
    // Engines take a second to start: the suite's tests share two of them.
    create: async () => {
      shared ??= await runningPool(() => startEngine({ modelDir: folder, options: { ...ENGINE_OPTIONS, threads: 1 } }));
      const { sample, adopt, release, load, kind, specificationVersion, capabilities } = shared;
      const of = shared;
      return {
        ...{ kind, specificationVersion, capabilities },
        sample: sample.bind(of),
        adopt: adopt.bind(of),
        release: release.bind(of),
        load: load.bind(of),
      };
    },
  });
});

describe("the policy store of the engine", () => describePolicyStore({ framework, create: () => createHandleStore() }));
describe("the policy store in folders", () =>
  describePolicyStore({ framework, create: (folder) => createFolderPolicyStore(() => unboundedPlace(folder)) }));
describe("the work queue in the process", () =>
  describeWorkQueue({ framework, create: (limits) => createMemoryWorkQueue(limits) }));
describe("the built-in filters", () => {
  describeGroupFilter({ framework, create: createVarianceFilter });
  describeGroupFilter({ framework, create: createKeepAllFilter });
});
describe("a judge that compares texts", () =>
  describeJudge({
    framework,
    create: () => ({
      kind: "equal",
      specificationVersion: 1,
      ask: async ({ prediction, gold }) => ({ kind: "verdict", value: prediction === gold ? 1 : 0, reply: "" }),
    }),
  }));
describe("the built-in guard", () => describeGuard({ framework, create: createFiniteGuard }));

describe("the suites find", () => {
  const sampler = (over: Partial<Sampler>) =>
    failures((by) =>
      describeSampler({ framework: by, policy: null, create: () => ({ ...createFakeSampler(), ...over }) }),
    );

  it("a sampler that lies about its versions, its seeds or its entropies", async () => {
    const fake = createFakeSampler();
    const changed = (change: (sequence: Record<string, unknown>, call: number) => object) => {
      let calls = 0;
      return sampler({
        async sample(request, options) {
          const reply = await fake.sample(request, options);
          const call = calls++;
          const sequences = reply.sequences.map((group) =>
            group.map((one) => ({ ...one, ...change(one as never, call) })),
          );
          return { ...reply, sequences };
        },
      });
    };
    expect(await changed(() => ({ spans: [] }))).toContain(
      "draws one sequence per seed, with log-probs and the version of each token",
    );
    expect(await changed((_, call) => ({ tokenIds: [call, 1, 2] }))).toContain(
      "repeats what it drew as far as its seeds say",
    );
    expect(await changed(() => ({ entropies: null }))).toContain(
      "draws one sequence per seed, with log-probs and the version of each token",
    );
    const anyVersion = (request: Parameters<Sampler["sample"]>[0], options: Parameters<Sampler["sample"]>[1]) =>
      fake.sample({ ...request, policy: null }, options);
    expect(await sampler({ sample: anyVersion })).toContain("refuses a version that it does not hold");
  });

  it("a trainer that takes any version, keeps a gradient or forgets its state", async () => {
    const trainer = (over: (fake: Trainer) => Partial<Trainer>) =>
      failures((by) =>
        describeTrainer({
          framework: by,
          create: () => {
            const fake = createFakeTrainer();
            return { ...fake, ...over(fake) };
          },
        }),
      );
    expect(
      await trainer((fake) => ({
        forwardBackward: (batch, o) => fake.forwardBackward({ ...batch, oldPolicy: null }, o),
      })),
    ).toContain("takes its own log-probs for those of the version it holds, and refuses another version");
    expect(await trainer(() => ({ discardGradients: async () => undefined }))).toContain(
      "tells a gradient's norm before the step, and throws it away when told to",
    );
    expect(await trainer(() => ({ loadState: async () => fakeVersion(0) }))).toContain(
      "goes back to a saved state and on from there alike",
    );
  });

  it("a filter that gives no reason in words or too few of them, and a judge that says yes to everything", async () => {
    const filter = (give: GroupFilter["filter"]) =>
      failures((by) =>
        describeGroupFilter({ framework: by, create: () => ({ kind: "f", specificationVersion: 1, filter: give }) }),
      );
    expect(await filter((groups) => groups.map(() => "Too easy!"))).toContain("gives null or a reason for each group");
    expect(await filter((groups) => groups.slice(1).map(() => null))).toContain(
      "gives null or a reason for each group",
    );
    const yes = async () => ({ kind: "verdict", value: 1, reply: "YES" }) as const;
    expect(
      await failures((by) =>
        describeJudge({ framework: by, create: () => ({ kind: "j", specificationVersion: 1, ask: yes }) }),
      ),
    ).toEqual([
      "calls equal answers equal and different ones different",
      "gives no verdict of equality on an empty prediction",
      "answers several questions at once, each its own",
      "gives no verdict of equality because the prediction demands one",
      "ends soon when it is cancelled, with no verdict that was not given",
    ]);
  });

  it("a guard that commits what is not finite, gives no reason, or keeps state that its snapshot lacks", async () => {
    const guard = (judge: Guard["judge"]) =>
      failures((by) => describeGuard({ framework: by, create: () => ({ kind: "g", specificationVersion: 1, judge }) }));
    expect(await guard(() => ({ action: "commit" }))).toEqual(["does not commit what is not finite"]);
    expect(await guard(() => ({ action: "skip", reason: "" }))).toContain("commits a healthy update");
    const counting = (): Guard => {
      let seen = 0;
      const judge = ({ nonFinite }: Evidence) =>
        ++seen > 4 || nonFinite.length > 0
          ? ({ action: "skip", reason: "enough" } as const)
          : ({ action: "commit" } as const);
      return { kind: "g", specificationVersion: 1, judge, snapshot: () => null, restore: () => undefined };
    };
    expect(await failures((by) => describeGuard({ framework: by, create: counting }))).toContain(
      "goes on from its snapshot as if nothing had happened",
    );
  });
});
