/** Groups that are drawn and scored by workers: the run's side, the worker's loop, and both in a pipeline. */
import { afterEach, describe, expect, it } from "vitest";
import type { RunParts } from "../../src/actors/parts/part-kinds.js";
import { QueuedGroups } from "../../src/actors/worker/queued-groups.js";
import { type WorkerOptions, type WorkerParts, work } from "../../src/actors/worker/work.js";
import type { GroupResult, GroupTask } from "../../src/contracts/group-work.js";
import type { PolicySource } from "../../src/contracts/policy-source.js";
import type { RewardActor } from "../../src/contracts/reward.js";
import type { PolicyWanted } from "../../src/contracts/sampler.js";
import type { WorkQueue } from "../../src/contracts/work-queue.js";
import { WeirError } from "../../src/errors.js";
import { createMemoryWorkQueue } from "../../src/streams/work-queue.js";
import { realTime } from "../../src/system/time.js";
import { createFakeSampler, fakeVersion, scored } from "../../src/testing.js";
import { failure } from "../helpers/errors.js";
import { taskOf } from "../helpers/groups.js";
import { SwitchedReadiness } from "../helpers/readiness.js";
import { settled } from "../helpers/virtual-time.js";
import { createRig, gate, until } from "./pipeline-rig.js";

type Queue = WorkQueue<GroupTask, GroupResult>;

const signal = new AbortController().signal;
const queueOf = (over: { readonly leaseMs?: number; readonly maxAttempts?: number } = {}): Queue =>
  createMemoryWorkQueue({ bound: 8, resultBound: 8, leaseMs: 5_000, maxAttempts: 3, ...over });

const lost: [string, string][] = [];
const groupsOf = (queue: Queue) =>
  new QueuedGroups({
    ...{ queue, maxTasks: 8, time: realTime, settings: async () => ({ run: "r" }) },
    onLost: (group, reason) => lost.push([group, reason]),
    onIdle: () => undefined,
  });

/** Everything that a test has started ends with it. */
const endings: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  lost.length = 0;
  for (const end of endings.splice(0)) await end();
});

function worker(parts: Partial<WorkerParts> & { readonly queue: Queue }, options: Partial<WorkerOptions> = {}) {
  const [drain, abort] = [new AbortController(), new AbortController()];
  const ended = work(
    {
      sampler: createFakeSampler(),
      reward: { kind: "x", specificationVersion: 1, handle: async () => scored(1) },
      ...{ policies: null, decode: () => "", ...parts },
    },
    { name: "w", lanes: 1, groupsPerCall: 2, rewardConcurrency: 2, time: realTime, ...options },
    { drain: drain.signal, abort: abort.signal },
  );
  ended.catch(() => undefined);
  const stop = async (now = true) => {
    if (now) abort.abort();
    drain.abort();
    await ended;
  };
  endings.push(() => stop().catch(() => undefined));
  return { ended, stop };
}

function groupTask(groupId: string, policy: PolicyWanted = { atLeast: 0 }): GroupTask {
  return {
    ...{ groupId, task: taskOf(groupId), promptIds: [1], seeds: [3, 4], policy },
    sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 2, stopIds: [0] },
    ...{ sampleTimeoutMs: 5_000, rewardTimeoutMs: 5_000 },
  };
}

describe("a pipeline with workers", () => {
  const rigWith = (queue: Queue, options: Parameters<typeof createRig>[0] = {}) =>
    createRig({
      ...options,
      workers: ({ sampler, reward }: RunParts) => {
        worker({ queue, sampler, reward }, { lanes: 2 });
        const groups = groupsOf(queue);
        endings.push(() => groups.close());
        return groups;
      },
    });

  it.each([0, 1])(
    "trains on the groups that its own sampler would draw, each once (I2, I11), lag %i",
    async (maxLag) => {
      const config = {
        async: { maxLag },
        ...(maxLag > 0 ? { update: { correction: { importance: "token" as const } } } : {}),
        dynamicSampling: { oversample: 1.5 },
      };
      const reward = (rollout: { readonly sampleIndex: number; readonly groupId: string }) =>
        rollout.groupId.endsWith("q1") ? 1 : rollout.sampleIndex;
      const [alone, together] = [createRig({ config, reward }), rigWith(queueOf(), { config, reward })];
      for (let step = 0; step < 3; step++) {
        const [own, elsewhere] = [await alone.step(), await together.step()];
        expect(elsewhere.kept.map(({ samples }) => samples.map(({ rollout }) => rollout.policy.length))).toEqual(
          own.kept.map(({ samples }) => samples.map(({ rollout }) => rollout.policy.length)),
        );
        if (maxLag === 0) expect(elsewhere.kept).toEqual(own.kept);
      }
      if (maxLag === 0) expect(together.ends()).toEqual(alone.ends());
      await Promise.all([alone.pipeline.park(), together.pipeline.park()]);
      expect(together.open()).toBe(0);
    },
  );

  it("writes the ledger of a group before its result leaves the queue", async () => {
    const queue = queueOf();
    const rig = rigWith(queue);
    const results = queue.results.bind(queue);
    const generated: number[] = [];
    queue.results = async function* (options) {
      for await (const one of results(options)) {
        const commit = async () => {
          generated.push(
            rig.entries.filter(({ state, groupId }) => state === "generated" && one.id.endsWith(groupId)).length,
          );
          await one.commit();
        };
        yield { ...one, commit };
      }
    };
    await rig.step();
    expect(generated).toEqual([2, 2]);
    expect(await queue.depth()).toEqual({ ready: 0, leased: 0, results: 0 });
  });

  it("drops a group that no worker brings to an end, and trains on the others", async () => {
    const queue = queueOf();
    const rig = createRig({
      config: { dynamicSampling: { unviable: "drop" } },
      reward: ({ sampleIndex }) => sampleIndex,
      workers: ({ sampler, reward }) => {
        const broken = {
          ...sampler,
          sample: async (request: Parameters<typeof sampler.sample>[0], options: { readonly signal: AbortSignal }) => {
            if (request.prompts.some(({ promptIds }) => promptIds[0] === 1)) throw new Error("no such document");
            return sampler.sample(request, options);
          },
        };
        worker({ queue: refusing(queue), sampler: broken, reward }, { groupsPerCall: 1 });
        const groups = groupsOf(queue);
        endings.push(() => groups.close());
        return groups;
      },
    });
    const { kept, batch } = await rig.step();
    expect(batch.rounds).toBe(2);
    expect(kept.map(({ group }) => group.sequence)).toEqual([1, 2]);
    expect(lost).toEqual([["s1-q0", "given up after 1 delivery: gone"]]);
    expect([...rig.ends()].filter(([id]) => id.startsWith("s1-q0"))).toEqual([
      ["s1-q0-g0", "reward_failed"],
      ["s1-q0-g1", "reward_failed"],
    ]);
    expect(rig.entries.filter(({ groupId, state }) => groupId === "s1-q0" && state === "generated")).toEqual([]);
  });

  it("takes nothing of what was given up, and has it drawn again", async () => {
    const queue = queueOf();
    const held = gate();
    let calls = 0;
    const rig = rigWith(queue, { sampling: (_, cancelled) => (calls++ === 0 ? held.wait(cancelled) : undefined) });
    const stop = new AbortController();
    const step = rig.step(stop.signal);
    await until(() => held.reached());
    stop.abort(new Error("stopped"));
    await expect(step).rejects.toThrow("stopped");
    expect(await queue.depth()).toMatchObject({ ready: 0, results: 0 });
    const { kept } = await rig.step();
    expect(kept).toHaveLength(2);
    const all = [...rig.ends().values()];
    expect(all.filter((end) => end === "aborted")).toHaveLength(4);
    expect(all.filter((end) => end === "trained")).toHaveLength(4);
  });

  it("fails with the error of its queue", async () => {
    const queue = queueOf();
    queue.offer = async () => {
      throw new WeirError("WEIR_E_UNREACHABLE", "gone");
    };
    await failure(() => rigWith(queue).step(), "WEIR_E_UNREACHABLE");
  });
});

/** A queue whose leases become dead letters at once where they would be given back. */
function refusing(queue: Queue): Queue {
  const take = queue.take.bind(queue);
  return Object.assign(Object.create(queue) as Queue, {
    take: async (options: Parameters<Queue["take"]>[0]) =>
      (await take(options)).map((lease) => Object.assign(Object.create(lease), { retry: () => lease.reject("gone") })),
  });
}

describe("the run's side of its workers", () => {
  it("tells workers of the run, takes a result once, and leaves those of an earlier life alone", async () => {
    const queue = queueOf();
    await queue.offer(groupTask("old"), { id: "old", deadlineMs: 0, signal });
    const groups = groupsOf(queue);
    endings.push(() => groups.close());
    await groups.prepare(signal);
    expect(await queue.announced({ signal })).toEqual({ run: "r" });
    expect(await queue.depth()).toEqual({ ready: 0, leased: 0, results: 0 });
    const stop = new AbortController();
    const first = groups.draw(groupTask("a"), { signal: stop.signal });
    const [lease] = await queue.take({ max: 1, signal });
    stop.abort(new Error("restarted"));
    await expect(first).rejects.toThrow("restarted");
    // The stage was started again: the group is drawn already.
    const again = groups.draw(groupTask("a"), { signal });
    const reply = await createFakeSampler().sample(
      {
        id: "x",
        prompts: [{ promptIds: [1], seeds: [3, 4] }],
        params: groupTask("a").sampling,
        policy: null,
        purpose: "training",
        deadlineMs: 1_000,
      },
      { signal },
    );
    const result = { worker: "w", attempt: 2, sequences: reply.sequences[0] ?? [], outcomes: [scored(1), scored(0)] };
    await lease?.done({ ...result, seconds: { sample: 1, reward: 2 } });
    expect(await again).toMatchObject({ kind: "drawn", result: { attempt: 2 } });
    expect(groups.statuses()).toMatchObject([{ name: "workers", handled: 1, dropped: 0, restarts: 1 }]);
    await groups.close();
    expect(await queue.announced({ signal })).toBeNull();
  });

  it.each([
    ["a log-prob that is no number", { logprobs: [null] }, /gave logprobs with null/],
    ["a token too many", { tokenIds: [1, 1, 1] }, /gave 3 tokens, maxTokens is 2/],
  ])("takes no group with %s", async (_, wrong, words) => {
    const queue = queueOf();
    const groups = groupsOf(queue);
    endings.push(() => groups.close());
    const drawing = groups.draw(groupTask("a"), { signal });
    const [lease] = await queue.take({ max: 1, signal });
    const sequence = {
      tokenIds: [1],
      logprobs: [-1],
      entropies: null,
      finish: "length",
      spans: [{ version: 0, sha256: "", start: 0, end: 1 }],
    };
    await lease?.done({
      ...{ worker: "w", attempt: 1, outcomes: [scored(1), scored(0)], seconds: { sample: 1, reward: 2 } },
      sequences: [{ ...sequence, ...wrong }, sequence] as never,
    });
    const drawn = await drawing;
    expect(drawn.kind === "lost" && drawn.reason).toMatch(words);
    expect((await queue.depth()).results).toBe(0);
  });
});

describe("a worker", () => {
  const done = async (queue: Queue, count: number) => {
    const stop = new AbortController();
    const all: [string, GroupResult][] = [];
    for await (const { id, result, commit } of queue.results({ signal: stop.signal })) {
      await commit();
      if (all.push([id, result]) === count) stop.abort();
    }
    return all;
  };
  const offer = async (queue: Queue, ...tasks: readonly GroupTask[]) => {
    for (const task of tasks) await queue.offer(task, { id: task.groupId, deadlineMs: 0, signal });
  };

  it("brings the policy that a group wants to its sampler once, and gives up the one before", async () => {
    const queue = queueOf();
    const calls: string[] = [];
    const weights = { n: 0 };
    const fake = createFakeSampler({}, weights);
    const sampler: typeof fake = {
      ...fake,
      adopt: async (policy, options) => {
        calls.push(`adopt ${policy.version.n}`);
        await fake.adopt(policy, options);
      },
      release: async (n) => void calls.push(`release ${n}`),
    };
    const newest = 2;
    const policies: PolicySource = {
      get: async (wanted) => {
        const n = "exactly" in wanted ? wanted.exactly : newest;
        return { version: fakeVersion(n), artifact: { kind: "checkpoint", uri: `fake:${n}` }, bytes: 1 };
      },
      keep: async (versions) => void calls.push(`keep ${[...versions]}`),
    };
    await offer(queue, groupTask("a", { exactly: 1 }), groupTask("b", { exactly: 1 }), groupTask("c", { atLeast: 1 }));
    worker({ queue, sampler, policies });
    const results = await done(queue, 3);
    expect(results.map(([id, { sequences }]) => [id, sequences[0]?.spans[0]?.version])).toEqual([
      ["a", 1],
      ["b", 1],
      ["c", 2],
    ]);
    expect(calls).toEqual(["adopt 1", "keep 1", "adopt 2", "release 1", "keep 2"]);
  });

  it("keeps its leases while it works longer than they last", async () => {
    const queue = queueOf({ leaseMs: 300 });
    let scores = 0;
    const handle = async () => {
      scores++;
      await new Promise((resolve) => setTimeout(resolve, 900));
      return scored(1);
    };
    await offer(queue, groupTask("a"));
    worker({ queue, reward: { kind: "slow", specificationVersion: 1, handle } });
    const [[, result] = []] = await done(queue, 1);
    expect(result).toMatchObject({ attempt: 1, outcomes: [scored(1), scored(1)] });
    expect(scores).toBe(2);
  });

  it("finishes what it has when it drains, and gives it back at once when it is to stop", async () => {
    const queue = queueOf();
    let go: () => void = () => undefined;
    const waiting = new Promise<void>((resolve) => {
      go = resolve;
    });
    const slow = { kind: "slow", specificationVersion: 1, handle: () => waiting.then(() => scored(1)) } as const;
    await offer(queue, groupTask("a"), groupTask("b"));
    const first = worker({ queue, reward: slow }, { groupsPerCall: 1 });
    while ((await queue.depth()).leased === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const drained = first.stop(false);
    go();
    await drained;
    expect(await queue.depth()).toEqual({ ready: 1, leased: 0, results: 1 });
    const never = { ...slow, handle: () => new Promise<never>(() => undefined) };
    const second = worker({ queue, reward: never });
    while ((await queue.depth()).leased === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    await second.stop();
    expect(await queue.depth()).toEqual({ ready: 1, leased: 0, results: 1 });
  });

  it("gives groups back that it cannot draw, and stops when it only fails", async () => {
    const queue = queueOf({ maxAttempts: 9 });
    const broken = {
      ...createFakeSampler(),
      sample: async () => {
        throw new WeirError("WEIR_E_ENGINE_CRASHED", "out of memory");
      },
    };
    const faults: (readonly string[])[] = [];
    await offer(queue, groupTask("a"), groupTask("b"), groupTask("c"));
    const { ended } = worker({ queue, sampler: broken }, { groupsPerCall: 1, onFault: (_, ids) => faults.push(ids) });
    await expect(ended).rejects.toThrow("WEIR_E_ENGINE_CRASHED");
    expect(faults).toEqual([["a"], ["b"], ["c"]]);
    expect(await queue.depth()).toEqual({ ready: 3, leased: 0, results: 0 });
  });
});

describe("a worker whose reward takes no work", () => {
  it("takes no group until it does, and gives no failure for one that it has", async () => {
    const queue = queueOf();
    const readiness = new SwitchedReadiness();
    const held: boolean[] = [];
    let calls = 0;
    const reward: RewardActor = {
      ...{ kind: "judged", specificationVersion: 1, readiness },
      handle: async () => {
        calls++;
        if (calls === 2) readiness.away("connection refused");
        return readiness.state().ready ? scored(1) : { kind: "failed", code: "WEIR_E_JUDGE", reason: "away" };
      },
    };
    worker({ queue, reward }, { groupsPerCall: 1, onHeld: ({ ready }) => held.push(ready) });
    for (const id of ["a", "b", "c"]) await queue.offer(groupTask(id), { id, deadlineMs: 1_000, signal });
    await until(() => held.length === 1);
    // It has the first group and takes none of the others.
    expect(await queue.depth()).toMatchObject({ ready: 2, leased: 1, results: 0 });
    readiness.back();
    const results: GroupResult[] = [];
    for await (const { result, commit } of queue.results({ signal })) {
      await commit();
      if (results.push(result) === 3) break;
    }
    expect(results.flatMap(({ outcomes }) => outcomes)).toEqual(Array.from({ length: 6 }, () => scored(1)));
    expect(held).toEqual([false, true]);
  });

  it("lets go of the queue at once when its reward goes away while it waits for a group", async () => {
    const queue = queueOf();
    const readiness = new SwitchedReadiness();
    const reward: RewardActor = {
      ...{ kind: "judged", specificationVersion: 1, readiness },
      handle: async () => scored(1),
    };
    const { stop } = worker({ queue, reward });
    await settled();
    readiness.away("connection refused");
    await settled();
    await queue.offer(groupTask("a"), { id: "a", deadlineMs: 1_000, signal });
    await settled();
    expect(await queue.depth()).toMatchObject({ ready: 1, leased: 0 });
    await stop(false);
  });
});
