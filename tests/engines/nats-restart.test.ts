/** A NATS server that is killed while groups are with workers, and started again. */
import { setTimeout as wait } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import { QueuedGroups } from "../../src/actors/worker/queued-groups.js";
import { work } from "../../src/actors/worker/work.js";
import type { GroupResult, GroupTask } from "../../src/contracts/group-work.js";
import { NatsServer } from "../../src/remote/nats/nats-server.js";
import { createNatsWorkQueue } from "../../src/remote/nats/nats-work-queue.js";
import { realTime } from "../../src/system/time.js";
import { createFakeSampler, scored } from "../../src/testing.js";
import { failure } from "../helpers/errors.js";
import { taskOf } from "../helpers/groups.js";
import { folderOfFile, natsServer, notInstalled } from "./servers.js";

const folder = folderOfFile();
const installed = !notInstalled("nats");
const nats = installed ? await natsServer({ folder }) : null;
afterAll(() => nats?.end());

const RUN = "restart";
const limits = { bound: 4, resultBound: 4, leaseMs: 3_000, maxAttempts: 9 };

function groupTask(groupId: string): GroupTask {
  return {
    ...{ groupId, task: taskOf(groupId), promptIds: [1], seeds: [3, 4], policy: { atLeast: 0 } },
    sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: 2, stopIds: [0] },
    ...{ sampleTimeoutMs: 60_000, rewardTimeoutMs: 60_000 },
  };
}

const started = async () => {
  if (nats?.running === false) await nats.start();
};

/** All streams of the server. */
async function removeStreams(server: NatsServer, signal: AbortSignal): Promise<void> {
  await server.call("remove everything", signal, async ({ manager }) => {
    for await (const { config } of manager.streams.list()) await manager.streams.delete(config.name);
  });
}

/** A worker that waits for a task while `trouble` comes and goes gets the one that is offered afterwards. */
async function keepsItsWorker(run: string, trouble: (server: NatsServer, signal: AbortSignal) => Promise<void>) {
  await started();
  const url = nats?.url ?? "";
  const [near, far] = [new NatsServer({ url, credentialsEnv: null }), new NatsServer({ url, credentialsEnv: null })];
  const make = () => createNatsWorkQueue<string, string>({ server: near, run: () => run, limits });
  const { signal } = new AbortController();
  await make().announce({}, { signal });
  const worker = createNatsWorkQueue<string, string>({ server: far, run: () => run, limits: null });
  const taking = worker.take({ max: 1, signal });
  await wait(1_000);
  await trouble(near, signal);
  const queue = make();
  await queue.offer("after", { id: "after", deadlineMs: 30_000, signal });
  const [lease] = await taking;
  expect(lease?.task).toBe("after");
  await lease?.done("did");
  await queue.dispose();
  await far.close();
}

describe.skipIf(!installed)("a NATS server that goes away", () => {
  it("is waited for by run and worker, and nothing is lost or doubled", async () => {
    await started();
    const url = nats?.url ?? "";
    const [near, far] = [new NatsServer({ url, credentialsEnv: null }), new NatsServer({ url, credentialsEnv: null })];
    const queue = createNatsWorkQueue<GroupTask, GroupResult>({ server: near, run: () => RUN, limits });
    const groups = new QueuedGroups({
      ...{ queue, maxTasks: 4, time: realTime, settings: async () => ({}) },
      ...{ onLost: () => undefined, onIdle: () => undefined },
    });
    const { signal } = new AbortController();
    await groups.prepare(signal);
    const stop = new AbortController();
    let [drawn, scores] = [0, 0];
    const fake = createFakeSampler();
    const working = work(
      {
        queue: createNatsWorkQueue<GroupTask, GroupResult>({ server: far, run: () => RUN, limits: null }),
        ...{ policies: null, decode: () => "" },
        sampler: {
          ...fake,
          async sample(request, options) {
            drawn += 1;
            // While the first group is drawn, the server is not there for longer than a lease lasts.
            if (drawn === 1) {
              await nats?.kill();
              await new Promise((done) => setTimeout(done, 4_000));
              await nats?.start();
            }
            return fake.sample(request, options);
          },
        },
        reward: { kind: "x", specificationVersion: 1, handle: async () => scored(scores++ % 2) },
      },
      { name: "w", lanes: 1, groupsPerCall: 1, rewardConcurrency: 1, time: realTime },
      { drain: stop.signal, abort: stop.signal },
    );
    const results = await Promise.all(["a", "b", "c"].map((id) => groups.draw(groupTask(id), { signal })));
    expect(results.map(({ kind }) => kind)).toEqual(["drawn", "drawn", "drawn"]);
    for (const result of results) if (result.kind === "drawn") result.settle();
    stop.abort();
    await working;
    expect(groups.statuses()).toMatchObject([{ handled: 3, dropped: 0 }]);
    await groups.close();
    await Promise.all([queue.dispose(), far.close()]);
  });

  it.each([
    ["killed", async () => nats?.kill()],
    ["stopped for longer than its signs of life may be missing", async () => nats?.signal("SIGSTOP")],
  ] as const)("keeps a worker that waits for a task when it is %s", async (how, hit) => {
    await keepsItsWorker(`waiting-${how.split(" ")[0]}`, async () => {
      await hit();
      await wait(8_000);
      if (how === "killed") await nats?.start();
      else nats?.signal("SIGCONT");
    });
  });

  it("keeps a worker whose queue is taken away and made again under the same name", async () => {
    await keepsItsWorker("again", removeStreams);
  });

  it("is WEIR_E_UNREACHABLE once the patience is over, and can be reached later", async () => {
    await nats?.kill();
    const server = new NatsServer({ url: nats?.url ?? "", credentialsEnv: null, patienceMs: 500 });
    const { signal } = new AbortController();
    await failure(() => server.connect(signal), "WEIR_E_UNREACHABLE");
    await nats?.start();
    await server.connect(signal);
    await server.close();
  });
});
