/**
 * Three workers over a real NATS server, one of which is killed every 20 s: each group in the ledger once, the queue within its bound.
 * WEIR_WORKER_GROUPS=2000 makes it that long; its figures are printed.
 */
import { resolve } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { QueuedGroups } from "../../src/actors/worker/queued-groups.js";
import type { GroupResult, GroupTask } from "../../src/contracts/group-work.js";
import { NatsServer } from "../../src/remote/nats/nats-server.js";
import { createNatsWorkQueue } from "../../src/remote/nats/nats-work-queue.js";
import { realTime } from "../../src/system/time.js";
import { createRig } from "../actors/pipeline-rig.js";
import { killWorkers, WorkerProcess } from "./killed-workers.js";
import { folderOfFile, notInstalled, startNats } from "./servers.js";

const folder = folderOfFile();
const nats = notInstalled("nats") ? null : await startNats({ folder });
const url = nats?.url ?? "";

const RUN = "kills";
const [GROUP, PER_STEP, MAX_TASKS, LEASE_MS, EVERY_MS] = [4, 100, 32, 3_000, 20_000];

const workers = [1, 2, 3].map(
  () => new WorkerProcess(["--import", "tsx", resolve("tests/engines/scripted-worker.ts"), url, RUN]),
);
afterAll(async () => {
  for (const worker of workers) await worker.end("SIGKILL");
});

describe.skipIf(notInstalled("nats"))("three workers, one killed again and again", () => {
  it("bring each group to the ledger once, within the bound of the queue", async () => {
    const wanted = Number(process.env.WEIR_WORKER_GROUPS ?? 200);
    const limits = { bound: MAX_TASKS, resultBound: MAX_TASKS, leaseMs: LEASE_MS, maxAttempts: 9 };
    const server = new NatsServer({ url, credentialsEnv: null });
    const queue = createNatsWorkQueue<GroupTask, GroupResult>({ server, run: () => RUN, limits });
    const lost: string[] = [];
    const groups = new QueuedGroups({
      ...{ queue, maxTasks: MAX_TASKS, time: realTime, settings: async () => ({}), onIdle: () => undefined },
      onLost: (group, reason) => lost.push(`${group}: ${reason}`),
    });
    const rig = createRig({
      tasks: wanted,
      config: {
        rollout: { groupSize: GROUP, promptsPerStep: PER_STEP, callsInFlight: MAX_TASKS },
        dynamicSampling: { enabled: false },
      },
      workers: () => groups,
    });
    await groups.prepare(new AbortController().signal);
    for (const worker of workers) worker.start();
    const kills = killWorkers({ url, victims: workers, everyMs: EVERY_MS });
    const began = Date.now();
    const steps = Math.ceil(wanted / PER_STEP);
    for (let step = 0; step < steps; step++) expect((await rig.step()).kept).toHaveLength(PER_STEP);
    const seconds = (Date.now() - began) / 1000;
    const { kills: killed, most, redelivery } = await kills.stop();
    const [{ handled, restarts } = { handled: 0, restarts: 0 }] = groups.statuses();
    await groups.close();
    await queue.dispose();
    // Throws for a rollout that ended twice or was never issued, and for one that was issued twice.
    const ends = rig.ends();
    expect(ends.size).toBe(steps * PER_STEP * GROUP);
    expect([...ends.values()].every((end) => end === "trained")).toBe(true);
    const count = (state: string) => rig.entries.filter((entry) => entry.state === state).length;
    expect([count("issued"), count("generated"), count("scored")]).toEqual([ends.size, ends.size, ends.size]);
    expect([handled, lost]).toEqual([steps * PER_STEP, []]);
    expect(killed).toBeGreaterThan(0);
    expect(most).toBeLessThanOrEqual(MAX_TASKS);
    const waits = redelivery.map((ms) => (ms / 1000).toFixed(1)).join(", ");
    process.stdout.write(
      `${handled} groups in ${seconds.toFixed(0)} s (${(handled / seconds).toFixed(1)} a second), ${killed} kills, ${restarts} groups delivered again, the first after ${waits} s (leases of ${LEASE_MS / 1000} s); at most ${most} of ${MAX_TASKS} tasks in the queue\n`,
    );
  });
});
