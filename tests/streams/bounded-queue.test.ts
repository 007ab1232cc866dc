import fc from "fast-check";
import { lastValueFrom, toArray } from "rxjs";
import { describe, expect, it } from "vitest";
import { BoundedQueue, END } from "../../src/streams/bounded-queue.js";
import { runWorkers } from "../../src/streams/workers.js";

describe("a bounded queue", () => {
  it("I4: never holds more than its bound and hands items over in order, whatever the interleaving", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.boolean(), { maxLength: 60 }),
        async (bound, operations) => {
          const queue = new BoundedQueue<number>("q", bound);
          const pulled: Promise<number | typeof END>[] = [];
          let pushed = 0;
          for (const push of operations) {
            if (push) void queue.push(pushed++).catch(() => undefined);
            else pulled.push(queue.pull());
            expect(queue.gauge().depth).toBeLessThanOrEqual(bound);
          }
          queue.close();
          for (let i = pulled.length; i < pushed; i++) pulled.push(queue.pull());
          const got = (await Promise.all(pulled)).filter((item) => item !== END);
          expect(got).toEqual(Array.from({ length: pushed }, (_, i) => i));
          expect(queue.gauge().highWater).toBeLessThanOrEqual(bound);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("makes a producer wait until a consumer has made room", async () => {
    const queue = new BoundedQueue<string>("q", 1);
    await queue.push("a");
    let second = false;
    const waiting = queue.push("b").then(() => {
      second = true;
    });
    await Promise.resolve();
    expect(second).toBe(false);
    expect(queue.gauge()).toMatchObject({ depth: 1, waitingProducers: 1 });
    expect(await queue.pull()).toBe("a");
    await waiting;
    expect(second).toBe(true);
  });

  it("releases producers and consumers with the error when it fails", async () => {
    const full = new BoundedQueue<number>("full", 1);
    await full.push(1);
    const producer = full.push(2);
    const empty = new BoundedQueue<number>("empty", 1);
    const consumer = empty.pull();
    const error = new Error("engine gone");
    full.fail(error);
    empty.fail(error);
    await expect(producer).rejects.toBe(error);
    await expect(consumer).rejects.toBe(error);
    await expect(full.pull()).rejects.toBe(error);
  });

  it("refuses a bound that is no positive integer and a push after close", async () => {
    expect(() => new BoundedQueue("q", 0)).toThrow(/WEIR_E_CONFIG/);
    const queue = new BoundedQueue<number>("q", 1);
    queue.close();
    await expect(queue.push(1)).rejects.toThrow(/closed/);
    expect(await queue.pull()).toBe(END);
  });
});

describe("workers", () => {
  it("take from the queue only what they can work on", async () => {
    const queue = new BoundedQueue<number>("q", 2);
    let produced = 0;
    const producer = (async () => {
      for (; produced < 1000; produced++) await queue.push(produced);
      queue.close();
    })();
    const gates: (() => void)[] = [];
    const results = lastValueFrom(
      runWorkers(queue, 4, (item) => new Promise<number>((resolve) => gates.push(() => resolve(item)))).pipe(toArray()),
    );
    for (let i = 0; i < 50; i++) await Promise.resolve();
    expect(gates).toHaveLength(4);
    // 4 in work, 2 held, 1 waiting to be pushed.
    expect(produced).toBe(6);
    while (gates.length > 0 || produced < 1000) {
      gates.shift()?.();
      for (let i = 0; i < 5; i++) await Promise.resolve();
    }
    await producer;
    const rest = setInterval(() => {
      for (const open of gates.splice(0)) open();
    }, 0);
    expect((await results).sort((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
    clearInterval(rest);
  });

  it("end with the first error of any worker", async () => {
    const queue = new BoundedQueue<number>("q", 3);
    for (const item of [1, 2, 3]) await queue.push(item);
    const results = runWorkers(queue, 2, (item) =>
      item === 2 ? Promise.reject(new Error("bad reward")) : Promise.resolve(item),
    );
    await expect(lastValueFrom(results)).rejects.toThrow("bad reward");
  });
});
