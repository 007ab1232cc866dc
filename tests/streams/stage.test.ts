import { getEventListeners } from "node:events";
import fc from "fast-check";
import { pipe, type Subscription } from "rxjs";
import { describe, expect, it } from "vitest";
import { BoundedQueue, END } from "../../src/streams/bounded-queue.js";
import {
  type Flow,
  StageFailure,
  type StageOptions,
  type SupervisedStage,
  source,
  stage,
} from "../../src/streams/stage.js";
import { failure } from "../helpers/errors.js";
import { settled } from "../helpers/virtual-time.js";

const counting = (n: number): Flow<number> => {
  let at = 0;
  return source({ name: "numbers", next: async () => (at < n ? at++ : END) });
};

type Numbers = StageOptions<number, number>;

const plain: Numbers = { name: "work", workers: 2, bound: 2, handle: async (item) => [item] };

/** Numbers, a stage, and the queue that it delivers to. */
function assembled(n: number, options: Partial<Numbers>, bound = 100) {
  const flow = pipe(stage<number, number>({ ...plain, ...options }))(counting(n));
  const out = new BoundedQueue<number>("out", bound);
  flow.connect(out);
  const [first, second] = flow.stages as [SupervisedStage, SupervisedStage];
  return { first, second, out, flow };
}

async function drained(queue: BoundedQueue<number>): Promise<number[]> {
  const got: number[] = [];
  for (;;) {
    const item = await queue.pull();
    if (item === END) return got;
    got.push(item);
  }
}

const ended = (one: SupervisedStage) =>
  new Promise<unknown>((resolve) => one.running.subscribe({ error: resolve, complete: () => resolve("completed") }));

describe("a stage", () => {
  it("hands the end of its input on to the next stage, and completes once nothing is in work", async () => {
    const { first, second, out } = assembled(5, {});
    const ends = Promise.all([ended(first), ended(second)]);
    expect((await drained(out)).sort()).toEqual([0, 1, 2, 3, 4]);
    expect(await ends).toEqual(["completed", "completed"]);
    expect(second.status()).toMatchObject({ handled: 5, busy: 0, waitingForRoom: 0, ended: true });
  });

  it("works on no more items at once than it has workers, and its mailbox keeps its bound (I4)", async () => {
    let busy = 0;
    let most = 0;
    const { first, second, out } = assembled(40, {
      workers: 3,
      handle: async (item) => {
        most = Math.max(most, ++busy);
        await settled();
        busy--;
        return [item];
      },
    });
    first.running.subscribe();
    second.running.subscribe();
    expect(await drained(out)).toHaveLength(40);
    expect(most).toBe(3);
    expect(second.mailbox?.gauge()).toMatchObject({ bound: 2, highWater: 2, passed: 40 });
  });

  it.each([
    [true, [0, 1, 2, 3]],
    [false, [3, 2, 1, 0]],
  ])(
    "delivers in order where that is asked for, else as items are finished (ordered: %s)",
    async (ordered, expected) => {
      const finish: (() => void)[] = [];
      const { first, second, out } = assembled(4, {
        ordered,
        workers: 4,
        handle: (item) => new Promise((resolve) => finish.push(() => resolve([item]))),
      });
      first.running.subscribe();
      second.running.subscribe();
      while (finish.length < 4) await settled();
      for (const go of finish.reverse()) {
        go();
        await settled();
      }
      expect(await drained(out)).toEqual(expected);
    },
  );

  it("tells of each output once, before it is delivered, also where it waits for room over a stop", async () => {
    const told: number[] = [];
    const { first, second, out } = assembled(3, { workers: 1, delivering: (item) => void told.push(item) }, 1);
    first.running.subscribe();
    const running = second.running.subscribe();
    await settled();
    expect(second.status()).toMatchObject({ waitingForRoom: 1, busy: 1 });
    running.unsubscribe();
    await second.settled();
    expect(out.gauge()).toMatchObject({ depth: 1, waitingProducers: 0 });
    second.running.subscribe();
    expect(await drained(out)).toEqual([0, 1, 2]);
    expect(told).toEqual([0, 1, 2]);
  });

  it("counts an output as delivered where it is taken at the very moment of a stop", async () => {
    const { first, second, out } = assembled(3, { workers: 1 }, 1);
    first.running.subscribe();
    const running = second.running.subscribe();
    await settled();
    const taken = out.pull();
    running.unsubscribe();
    expect(await taken).toBe(0);
    await second.settled();
    second.running.subscribe();
    expect(await drained(out)).toEqual([1, 2]);
  });

  it("does not begin with an item that comes at the very moment of a stop, but takes it up later", async () => {
    const begun: boolean[] = [];
    const { first, second, out } = assembled(1, {
      handle: async (item, { signal }) => {
        begun.push(signal.aborted);
        return [item];
      },
    });
    const running = second.running.subscribe();
    await settled();
    void second.mailbox?.push(7);
    running.unsubscribe();
    await second.settled();
    expect(begun).toEqual([]);
    first.running.subscribe();
    second.running.subscribe();
    expect((await drained(out)).sort()).toEqual([0, 7]);
    expect(begun).toEqual([false, false]);
  });

  it("cancels what is in work when it is stopped, and settles only once that has ended", async () => {
    let end: () => void = () => undefined;
    const { first, second } = assembled(1, {
      handle: (_, { signal }) =>
        new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => {
            end = () => reject(signal.reason as Error);
          }),
        ),
    });
    first.running.subscribe();
    const running = second.running.subscribe();
    await settled();
    running.unsubscribe();
    let rest = false;
    const settling = second.settled().then(() => {
      rest = true;
    });
    await settled();
    expect(rest).toBe(false);
    end();
    await settling;
    expect(rest).toBe(true);
  });

  it("leaves no listener on the signal that it hands out, nor on its queues", async () => {
    const signals = new Set<AbortSignal>();
    const { first, second, out } = assembled(
      50,
      {
        workers: 4,
        ordered: true,
        handle: async (item, { signal }) => {
          signals.add(signal);
          if (item % 3 === 0) await settled();
          return [item];
        },
      },
      1,
    );
    first.running.subscribe();
    let running = second.running.subscribe();
    for (let i = 0; i < 6; i++) {
      await out.pull();
      await settled();
      running.unsubscribe();
      await second.settled();
      running = second.running.subscribe();
    }
    await drained(out);
    await second.settled();
    expect(signals.size).toBeGreaterThan(1);
    for (const signal of signals) expect(getEventListeners(signal, "abort")).toHaveLength(0);
    for (const queue of [second.mailbox, out])
      expect(queue?.gauge()).toMatchObject({ waitingConsumers: 0, waitingProducers: 0 });
  });

  it("refuses a number of workers or a bound below 1", async () => {
    for (const wrong of [{ workers: 0 }, { workers: 1.5 }, { bound: 0 }])
      await failure(() => assembled(1, wrong), "WEIR_E_CONFIG");
  });
});

describe("an error in a stage", () => {
  const failing = (remedy: Numbers["onError"]) => {
    const tries: number[] = [];
    const drops: [number, string][] = [];
    const made = assembled(4, {
      workers: 1,
      handle: async (item, { earlier }) => {
        tries.push(item);
        if (item === 1 && earlier < 2) throw new Error(`no ${item}`);
        return [item];
      },
      ...(remedy ? { onError: remedy } : {}),
      onDrop: (item, reason) => void drops.push([item, reason]),
    });
    made.first.running.subscribe();
    return { ...made, tries, drops };
  };

  it("is tried again at once with `retry`", async () => {
    const { second, out, tries } = failing(() => ({ action: "retry" }));
    second.running.subscribe();
    expect(await drained(out)).toEqual([0, 1, 2, 3]);
    expect(tries).toEqual([0, 1, 1, 1, 2, 3]);
  });

  it("gives the item up with `drop`", async () => {
    const { second, out, drops } = failing((_, item) => ({ action: "drop", reason: `odd ${item}` }));
    second.running.subscribe();
    expect(await drained(out)).toEqual([0, 2, 3]);
    expect(drops).toEqual([[1, "odd 1"]]);
    expect(second.status()).toMatchObject({ dropped: 1 });
  });

  it("ends the stage with `restart`; the item is taken up again by the next start", async () => {
    const { second, out, tries } = failing(() => ({ action: "restart" }));
    for (const _ of [1, 2]) {
      const error = (await ended(second)) as StageFailure;
      expect(error).toBeInstanceOf(StageFailure);
      expect(error).toMatchObject({ stage: "work", restartable: true, message: "stage work: no 1" });
    }
    second.running.subscribe();
    expect(await drained(out)).toEqual([0, 1, 2, 3]);
    expect(tries).toEqual([0, 1, 1, 1, 2, 3]);
  });

  it("ends the stage for good with `fail`, which is what follows where nothing is said", async () => {
    for (const remedy of [undefined, () => ({ action: "fail" }) as const])
      expect(await ended(failing(remedy).second)).toMatchObject({ restartable: false, cause: new Error("no 1") });
  });

  it("of a source or of a listener is a StageFailure too", async () => {
    const broken = source({
      name: "tasks",
      next: () => Promise.reject(new Error("no task")),
    });
    expect(await ended(broken.stages[0] as SupervisedStage)).toMatchObject({ stage: "tasks", restartable: false });
    const { first, second } = assembled(1, {
      delivering: () => {
        throw new Error("disk full");
      },
    });
    first.running.subscribe();
    expect(await ended(second)).toMatchObject({ cause: new Error("disk full"), restartable: false });
  });

  it("stops the other workers, and what they had in work is not lost", async () => {
    let failed = false;
    const { first, second, out } = assembled(4, {
      workers: 4,
      handle: async (item) => {
        await settled();
        if (item === 2 && !failed) {
          failed = true;
          throw new Error("once");
        }
        return [item];
      },
      onError: () => ({ action: "restart" }),
    });
    first.running.subscribe();
    expect(await ended(second)).toBeInstanceOf(StageFailure);
    second.running.subscribe();
    expect((await drained(out)).sort()).toEqual([0, 1, 2, 3]);
  });
});

type Fate = "plain" | "twice" | "nothing" | "retry" | "drop" | "restart";

/** Starts a stage again whenever it fails in a way that allows it. */
function supervise(one: SupervisedStage, note: (error: unknown) => void): { stop(): void; start(): void } {
  let running: Subscription | null = null;
  const start = () => {
    running?.unsubscribe();
    running = one.running.subscribe({
      error: (error) => {
        if (error instanceof StageFailure && error.restartable) queueMicrotask(start);
        else note(error);
      },
    });
  };
  return { start, stop: () => running?.unsubscribe() };
}

const turns = async (n: number) => {
  for (let i = 0; i < n; i++) await new Promise((resolve) => setImmediate(resolve));
};

describe("stages under any schedule", () => {
  const fates = fc.array(fc.constantFrom<Fate>("plain", "plain", "twice", "nothing", "retry", "drop", "restart"), {
    minLength: 1,
    maxLength: 25,
  });
  const stop = fc.record({ stage: fc.nat(2), wait: fc.nat(3), rest: fc.nat(2) });

  it("deliver every item exactly once, within the bounds, in order where that is asked for", async () => {
    await fc.assert(
      fc.asyncProperty(
        fates,
        fc.array(stop, { maxLength: 12 }),
        fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 3 }), fc.boolean()),
        fc.array(fc.nat(2), { minLength: 1, maxLength: 10 }),
        async (given, stops, [workers, bound, ordered], pace) => {
          const slow = (item: number) => turns(pace[item % pace.length] as number);
          const flow = pipe(
            stage<number, string>({
              name: "first",
              workers,
              bound,
              ordered,
              handle: async (item, { earlier }) => {
                await slow(item);
                const fate = given[item];
                // A call that was cut short counts as earlier, so that failures come at the first call only.
                if (earlier === 0 && (fate === "retry" || fate === "restart")) throw new Error(fate);
                if (fate === "drop") throw new Error(fate);
                if (fate === "nothing") return [];
                return fate === "twice" ? [`${item}a`, `${item}b`] : [`${item}`];
              },
              onError: (error) => {
                const action = (error as Error).message as "retry" | "drop" | "restart";
                return action === "drop" ? { action, reason: "test" } : { action };
              },
            }),
            stage<string, string>({ name: "second", workers: 1, bound: 1, handle: (item) => [item] }),
          )(counting(given.length));
          const out = new BoundedQueue<string>("out", 1);
          flow.connect(out);
          const errors: unknown[] = [];
          const supervisors = flow.stages.map((one) => supervise(one, (error) => errors.push(error)));
          for (const one of supervisors) one.start();
          const got: string[] = [];
          const consumed = (async () => {
            for (let i = 0; ; i++) {
              await slow(i + 1);
              const item = await out.pull();
              if (item === END) return;
              got.push(item);
            }
          })();
          for (const { stage: index, wait, rest } of stops) {
            await turns(wait);
            supervisors[index]?.stop();
            await turns(rest);
            supervisors[index]?.start();
          }
          await consumed;
          await Promise.all(flow.stages.map((one) => one.settled()));
          const expected = given.flatMap((fate, item) =>
            fate === "nothing" || fate === "drop" ? [] : fate === "twice" ? [`${item}a`, `${item}b`] : [`${item}`],
          );
          expect(errors).toEqual([]);
          expect(ordered || workers === 1 ? got : [...got].sort()).toEqual(
            ordered || workers === 1 ? expected : [...expected].sort(),
          );
          for (const { mailbox } of flow.stages) {
            const gauge = mailbox?.gauge();
            expect(gauge?.highWater ?? 0).toBeLessThanOrEqual(gauge?.bound ?? 0);
            expect(gauge ?? { depth: 0 }).toMatchObject({ depth: 0 });
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});
