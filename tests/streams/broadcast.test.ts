/** What a subscriber may do to a stream: nothing that another one notices. */
import { firstValueFrom, map, Subject, Subscription, type TeardownLogic, take } from "rxjs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Broadcast } from "../../src/streams/broadcast.js";

const fail = (text: string): never => {
  throw new Error(text);
};

describe("a stream that is handed out", () => {
  const faults: string[] = [];
  const uncaught: unknown[] = [];
  const note = (error: unknown) => uncaught.push(error);
  beforeEach(() => {
    faults.length = 0;
    uncaught.length = 0;
    process.on("uncaughtException", note).on("unhandledRejection", note);
  });
  afterEach(() => {
    process.off("uncaughtException", note).off("unhandledRejection", note);
  });
  const create = () => new Broadcast<number>((error) => faults.push((error as Error).message));
  /** RxJS rethrows in a timer what nobody caught; one turn of the timers is enough to see it. */
  const turn = () => new Promise((resolve) => setTimeout(resolve, 0));

  it("goes on for the others when a subscriber throws, and for the one that threw", async () => {
    const stream = create();
    const seen: number[] = [];
    const before: number[] = [];
    stream.observable.subscribe((value) => {
      before.push(value);
      fail("broken subscriber");
    });
    stream.observable.subscribe((value) => seen.push(value));
    for (const value of [1, 2, 3]) stream.next(value);
    await turn();
    expect([seen, before]).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
    expect(faults).toEqual(["broken subscriber"]);
    expect(uncaught).toEqual([]);
  });

  it.each<[string, (stream: Broadcast<number>) => void]>([
    ["an async subscriber rejects", (stream) => stream.observable.subscribe(async () => fail("fault"))],
    ["an operator throws", (stream) => stream.observable.pipe(map(() => fail("fault"))).subscribe()],
    [
      "the end of a chain of operators throws",
      (stream) =>
        stream.observable
          .pipe(
            map((value) => value + 1),
            take(5),
          )
          .subscribe(() => fail("fault")),
    ],
    ["a complete handler throws", (stream) => stream.observable.subscribe({ complete: () => fail("fault") })],
    [
      "an error handler throws",
      (stream) => stream.observable.pipe(map(() => fail("other"))).subscribe({ error: () => fail("fault") }),
    ],
  ])("tells its owner once and harms nobody when %s", async (_, subscribe) => {
    const stream = create();
    const seen: number[] = [];
    subscribe(stream);
    stream.observable.subscribe((value) => seen.push(value));
    stream.next(1);
    stream.next(2);
    stream.complete();
    await turn();
    expect(seen).toEqual([1, 2]);
    expect(faults).toEqual(["fault"]);
    expect(uncaught).toEqual([]);
  });

  it("cannot be fed or ended from outside", () => {
    const stream = create();
    const seen: number[] = [];
    let ended = false;
    stream.observable.subscribe({ next: (value) => seen.push(value), complete: () => (ended = true) });
    const relay = new Subject<number>();
    stream.observable.subscribe(relay);
    relay.complete();
    for (const method of ["next", "error", "complete", "unsubscribe"])
      expect((stream.observable as unknown as Record<string, unknown>)[method]).toBeUndefined();
    stream.next(7);
    expect([seen, ended]).toEqual([[7], false]);
  });

  it("leaves a subscriber of another copy of RxJS to itself, so that it can unsubscribe", () => {
    const stream = create();
    const seen: number[] = [];
    const subscription = new Subscription();
    const foreign = {
      closed: false,
      next: (value: number) => {
        seen.push(value);
        subscription.unsubscribe();
      },
      error: () => undefined,
      complete: () => undefined,
      add: (teardown: TeardownLogic) => subscription.add(teardown),
      remove: (teardown: Subscription) => subscription.remove(teardown),
      unsubscribe: () => subscription.unsubscribe(),
    };
    stream.observable.subscribe(foreign);
    stream.next(1);
    stream.next(2);
    expect(seen).toEqual([1]);
  });

  it("completes late subscribers at once, and passes errors to those who listen for them", async () => {
    const stream = create();
    const first = firstValueFrom(stream.observable.pipe(map(() => fail("heard"))));
    stream.next(1);
    await expect(first).rejects.toThrow("heard");
    stream.complete();
    let completed = false;
    stream.observable.subscribe({ complete: () => (completed = true) });
    expect(completed).toBe(true);
    expect(faults).toEqual([]);
  });
});
