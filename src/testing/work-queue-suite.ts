/** Owns the conformance suite of work queues; the one inside the process runs it too. */
import assert from "node:assert/strict";
import type { Lease, WorkQueue } from "../contracts/work-queue.js";
import { WeirError } from "../errors.js";
import { checksOf, registerSuite, type SuiteOptions } from "./framework.js";

export interface WorkQueueSuiteOptions extends SuiteOptions {
  /** A queue of its own for each test: four tasks, two results, leases of `leaseMs`, three deliveries at most. */
  readonly create: (limits: WorkQueueLimits) => WorkQueue<number, string> | Promise<WorkQueue<number, string>>;
  /** How long a lease lasts in these tests, ms. */
  readonly leaseMs?: number;
}

export interface WorkQueueLimits {
  readonly bound: 4;
  readonly resultBound: 2;
  readonly leaseMs: number;
  readonly maxAttempts: 3;
}

type Queue = WorkQueue<number, string>;
type Check = (queue: Queue, leaseMs: number) => Promise<void>;

const live = () => ({ signal: new AbortController().signal });
const soon = { deadlineMs: 0 };
const expired = (error: unknown) => WeirError.isInstance(error) && error.code === "WEIR_E_WORK_QUEUE";
const ended = (error: unknown) => WeirError.isInstance(error) && error.code === "WEIR_E_STATE";
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function takeOne(queue: Queue): Promise<Lease<number, string>> {
  const [lease] = await queue.take({ max: 1, ...live() });
  assert.ok(lease, "a lease");
  return lease;
}

async function firstOf<T>(items: (signal: AbortSignal) => AsyncIterable<T>): Promise<T> {
  const stop = new AbortController();
  for await (const item of items(stop.signal)) {
    stop.abort();
    return item;
  }
  throw new Error("the iteration ended without an item");
}

const CHECKS: Readonly<Record<string, Check>> = {
  "takes a task once, up to its bound, and says so": async (queue) => {
    for (const id of ["a", "b", "c", "d"]) assert.equal(await queue.offer(1, { id, ...soon, ...live() }), "accepted");
    assert.equal(await queue.offer(1, { id: "a", ...soon, ...live() }), "duplicate");
    assert.equal(await queue.offer(1, { id: "e", ...soon, ...live() }), "full");
    assert.deepEqual(await queue.depth(), { ready: 4, leased: 0, results: 0 });
  },
  "waits for room until the deadline": async (queue) => {
    for (const id of ["a", "b", "c", "d"]) await queue.offer(1, { id, ...soon, ...live() });
    const waiting = queue.offer(1, { id: "e", deadlineMs: 5_000, ...live() });
    await (await takeOne(queue)).done("ready");
    assert.equal(await waiting, "accepted");
  },
  "hands out tasks in order, and their results once they are done": async (queue) => {
    for (const [value, id] of ["a", "b"].entries()) await queue.offer(value, { id, ...soon, ...live() });
    const leases = await queue.take({ max: 9, ...live() });
    assert.deepEqual(
      leases.map(({ id, task, attempt }) => [id, task, attempt]),
      [
        ["a", 0, 1],
        ["b", 1, 1],
      ],
    );
    await leases[1]?.done("of b");
    await assert.rejects(async () => leases[1]?.reject("late"), ended);
    await assert.rejects(async () => leases[1]?.done("again"), ended);
    const { id, result, commit } = await firstOf((signal) => queue.results({ signal }));
    assert.deepEqual([id, result], ["b", "of b"]);
    await commit();
    assert.deepEqual(await queue.depth(), { ready: 0, leased: 1, results: 0 });
    assert.equal(await queue.offer(1, { id: "b", ...soon, ...live() }), "duplicate");
  },
  "holds a worker back while nobody takes its results": async (queue) => {
    for (const id of ["a", "b", "c"]) await queue.offer(1, { id, ...soon, ...live() });
    const leases = await queue.take({ max: 3, ...live() });
    let finished = 0;
    const all = Promise.all(leases.map((lease) => lease.done(lease.id).then(() => finished++)));
    await pause(20);
    assert.equal(finished, 2);
    await (await firstOf((signal) => queue.results({ signal }))).commit();
    await all;
    assert.equal((await queue.depth()).results, 2);
  },
  "delivers a task again when its lease has expired, and takes nothing from the old lease": async (queue, leaseMs) => {
    await queue.offer(1, { id: "a", ...soon, ...live() });
    const first = await takeOne(queue);
    await pause(0.6 * leaseMs);
    await first.extend();
    await pause(0.6 * leaseMs);
    assert.equal((await queue.depth()).leased, 1);
    const second = await takeOne(queue);
    assert.equal(second.attempt, 2);
    await assert.rejects(async () => first.done("late"), expired);
    await second.done("in time");
  },
  "gives a task back after a delay, and buries one that is rejected or comes back too often": async (queue) => {
    await queue.offer(1, { id: "a", ...soon, ...live() });
    for (const attempt of [1, 2, 3]) {
      const lease = await takeOne(queue);
      assert.equal(lease.attempt, attempt);
      await lease.retry(5);
    }
    const often = await firstOf((signal) => queue.dead({ signal }));
    assert.deepEqual([often.id, often.attempts], ["a", 3]);
    await queue.offer(1, { id: "b", ...soon, ...live() });
    await (await takeOne(queue)).reject("no such document");
    assert.deepEqual(await firstOf((signal) => queue.dead({ signal })), {
      id: "b",
      attempts: 1,
      reason: "no such document",
    });
    assert.deepEqual(await queue.depth(), { ready: 0, leased: 0, results: 0 });
  },
  "forgets all work when it is cleared, and delivers nothing of an old lease": async (queue) => {
    for (const [value, id] of ["a", "b", "c"].entries()) await queue.offer(value, { id, ...soon, ...live() });
    const [first, second] = await queue.take({ max: 2, ...live() });
    await first?.done("before");
    await queue.clear(live());
    assert.deepEqual(await queue.depth(), { ready: 0, leased: 0, results: 0 });
    await Promise.resolve(second?.done("late")).catch(() => undefined);
    await queue.offer(1, { id: "d", ...soon, ...live() });
    const lease = await takeOne(queue);
    assert.equal(lease.id, "d");
    await lease.done("of d");
    const { id, result, commit } = await firstOf((signal) => queue.results({ signal }));
    assert.deepEqual([id, result], ["d", "of d"]);
    await commit();
  },
  "shows workers what was announced last": async (queue) => {
    assert.equal(await queue.announced(live()), null);
    await queue.announce({ run: "one" }, live());
    await queue.announce({ run: "two", steps: [1, 2] }, live());
    assert.deepEqual(await queue.announced(live()), { run: "two", steps: [1, 2] });
    await queue.announce(null, live());
    assert.equal(await queue.announced(live()), null);
  },
  "ends its waits with the signal": async (queue) => {
    const stop = new AbortController();
    const taking = queue.take({ max: 1, signal: stop.signal });
    const reading = (async () => {
      for await (const _ of queue.results({ signal: stop.signal })) assert.fail("there is no result");
    })();
    stop.abort();
    assert.deepEqual(await taking, []);
    await reading;
  },
};

export function describeWorkQueue(options: WorkQueueSuiteOptions): void {
  const { leaseMs = 300 } = options;
  const create = () => options.create({ bound: 4, resultBound: 2, leaseMs, maxAttempts: 3 });
  registerSuite("work queue contract", checksOf(CHECKS, create, leaseMs), options);
}
