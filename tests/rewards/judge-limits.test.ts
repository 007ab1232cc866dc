import { afterEach, describe, expect, it, vi } from "vitest";
import { GroupDeadlines } from "../../src/rewards/judge/group-deadlines.js";
import { createOpenAiJudge, type OpenAiJudgeOptions } from "../../src/rewards/judge/openai-judge.js";
import { type Begun, RateLimit, type RateLimits } from "../../src/rewards/judge/rate-limit.js";
import { SharedCalls } from "../../src/rewards/judge/shared-calls.js";
import { HeldClock, JudgeServer, plainOptions, type Reaction, reply, silence, status } from "./judge-server.js";

const live = () => new AbortController().signal;

let server: JudgeServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

/** A judge whose every timer waits for `clock.fire`. */
function judgeOf(url: string, options: Partial<OpenAiJudgeOptions> = {}) {
  const clock = new HeldClock(0);
  return { clock, judge: createOpenAiJudge({ ...plainOptions(url), timeoutMs: 50_000, clock, ...options }) };
}
const query = (n: number) => ({ problem: "Which city?", prediction: `answer ${n}`, gold: "Paris" });

describe("limits per minute", () => {
  const limitOf = (limits: Partial<RateLimits>) => {
    const clock = new HeldClock(0);
    const limit = new RateLimit({ requestsPerMinute: null, tokensPerMinute: null, ...limits }, clock);
    const begun: number[] = [];
    const take = (name: number, tokens = 1, signal = live()) =>
      void limit.take(tokens, signal).then((place) => void (place === null || begun.push(name)));
    const settled = () => new Promise((resolve) => setImmediate(resolve));
    return { clock, limit, begun, take, settled };
  };

  it("begin no more requests in any 60 seconds, in order of arrival", async () => {
    const { clock, begun, take, settled } = limitOf({ requestsPerMinute: 2 });
    take(1);
    clock.fire(30_000);
    for (const name of [2, 3, 4]) take(name);
    await settled();
    expect(begun).toEqual([1, 2]);
    clock.fire(29_999);
    await settled();
    expect(begun).toEqual([1, 2]);
    clock.fire(1);
    await settled();
    expect(begun).toEqual([1, 2, 3]);
    clock.fire(30_000);
    await settled();
    expect(begun).toEqual([1, 2, 3, 4]);
    expect(clock.pending).toBe(0);
  });

  it("begin no more tokens; what an answer has counted replaces the estimate", async () => {
    const { clock, limit, begun, take, settled } = limitOf({ tokensPerMinute: 100 });
    const first = (await limit.take(80, live())) as Begun;
    take(2, 30);
    await settled();
    expect(begun).toEqual([]);
    first.tokens = 40;
    take(3, 5);
    await settled();
    expect(begun).toEqual([2, 3]);
    take(4, 26);
    await settled();
    expect(begun).toEqual([2, 3]);
    clock.fire(60_000);
    await settled();
    expect(begun).toEqual([2, 3, 4]);
  });

  it("let a request that is larger than the limit begin when nothing else counts", async () => {
    const { clock, begun, take, settled } = limitOf({ tokensPerMinute: 10 });
    take(1, 5);
    take(2, 500);
    await settled();
    expect(begun).toEqual([1]);
    clock.fire(60_000);
    await settled();
    expect(begun).toEqual([1, 2]);
  });

  it("forget waiters that are cancelled, so that those behind them go on", async () => {
    const { begun, take, settled, clock } = limitOf({ tokensPerMinute: 10 });
    const gone = new AbortController();
    take(1, 5);
    take(2, 9, gone.signal);
    take(3, 5);
    await settled();
    expect(begun).toEqual([1]);
    gone.abort();
    await settled();
    expect(begun).toEqual([1, 3]);
    expect(clock.pending).toBe(0);
  });

  it("hold everything for as long as a server asks", async () => {
    const { clock, limit, begun, take, settled } = limitOf({});
    limit.hold(7_000);
    take(1);
    expect(limit.tryTake(1)).toBe(null);
    clock.fire(6_999);
    await settled();
    expect(begun).toEqual([]);
    clock.fire(1);
    await settled();
    expect(begun).toEqual([1]);
    expect(limit.tryTake(1)).not.toBe(null);
  });

  it("hold for the judge: requests, first and further ones, and all of them after Retry-After", async () => {
    server = await JudgeServer.start(status(429, { "retry-after": "9" }), reply("[[NO]]"));
    const { judge, clock } = judgeOf(server.url, { requestsPerMinute: 2 });
    const asked = [judge.ask(query(1), { signal: live() })];
    await server.received(1);
    // The deadline of the question and the wait of its second try.
    await vi.waitFor(() => expect(clock.pending).toBe(2));
    asked.push(judge.ask(query(2), { signal: live() }));
    clock.fire(8_999);
    expect(server.seen).toHaveLength(1);
    clock.fire(1);
    await server.received(2);
    // One of the two has its answer; the other waits until the first request is a minute old.
    await Promise.race(asked);
    clock.fire(50_999);
    expect(server.seen).toHaveLength(2);
    clock.fire(1);
    const verdicts = await Promise.all(asked);
    expect(verdicts.map(({ kind }) => kind)).toEqual(["verdict", "verdict"]);
    expect(server.seen).toHaveLength(3);
  });
});

describe("the deadline of a group", () => {
  it("is one for the questions that are open at the same time, and begins anew after them", () => {
    const clock = new HeldClock(0);
    const deadlines = new GroupDeadlines(100, clock);
    const first = deadlines.enter(live(), "g");
    clock.fire(60);
    const second = deadlines.enter(live(), "g");
    const other = deadlines.enter(live(), "h");
    first.leave();
    clock.fire(40);
    expect([second.signal.aborted, second.expired]).toEqual([true, true]);
    expect([other.signal.aborted, other.expired]).toEqual([false, false]);
    second.leave();
    const third = deadlines.enter(live(), "g");
    clock.fire(99);
    expect(third.signal.aborted).toBe(false);
    clock.fire(1);
    expect(third.expired).toBe(true);
    third.leave();
    other.leave();
    expect(clock.pending).toBe(0);
  });

  it("is each question's own where it names no group, and a caller that cancels is told apart", () => {
    const clock = new HeldClock(0);
    const deadlines = new GroupDeadlines(100, clock);
    const controller = new AbortController();
    const [first, second] = [deadlines.enter(controller.signal), deadlines.enter(live())];
    controller.abort();
    expect([first.signal.aborted, first.expired, second.signal.aborted]).toEqual([true, false, false]);
    const late = deadlines.enter(AbortSignal.abort());
    expect([late.signal.aborted, late.expired]).toEqual([true, false]);
    for (const allowance of [first, second, late]) allowance.leave();
    expect(clock.pending).toBe(0);
  });

  it("ends a judge's questions as timed out, never as a number", async () => {
    server = await JudgeServer.start(silence);
    const { judge, clock } = judgeOf(server.url, { groupTimeoutMs: 1_000 });
    const asked = [1, 2, 3].map((n) => judge.ask(query(n), { signal: live(), group: "g" }));
    await server.received(3);
    clock.fire(1_000);
    for (const verdict of await Promise.all(asked))
      expect(verdict).toMatchObject({
        kind: "timedOut",
        afterMs: 1_000,
        reason: "the judge gave no verdict within 1000 ms (reward.judge.groupTimeoutMs)",
        use: { requests: 1, cached: false },
      });
    await vi.waitFor(() => expect(server?.open).toBe(0));
    expect(clock.pending).toBe(0);
  });
});

describe("a second request where an answer takes long", () => {
  it("is sent once, and the first answer of the two counts; the other is cancelled", async () => {
    server = await JudgeServer.start(silence, reply("[[NO]]"));
    const { judge, clock } = judgeOf(server.url, { hedgeAfterMs: 200 });
    const asked = judge.ask(query(1), { signal: live() });
    await server.received(1);
    clock.fire(199);
    expect(server.seen).toHaveLength(1);
    clock.fire(1);
    expect(await asked).toMatchObject({ kind: "verdict", value: 0, use: { requests: 2 } });
    await vi.waitFor(() => expect(server?.open).toBe(0));
    expect(server.seen).toHaveLength(2);
    expect(clock.pending).toBe(0);
  });

  it("is not sent where the first has answered, and adds nothing where it fails", async () => {
    server = await JudgeServer.start(reply("[[YES]]"));
    const { judge, clock } = judgeOf(server.url, { hedgeAfterMs: 200 });
    expect(await judge.ask(query(1), { signal: live() })).toMatchObject({ value: 1, use: { requests: 1 } });
    expect(clock.pending).toBe(0);
    await server.stop();
    let first: (() => void) | null = null;
    const slow: Reaction = (response, request) => {
      first = () => reply("[[YES]]")(response, request);
    };
    server = await JudgeServer.start(slow, status(500));
    const slowly = judgeOf(server.url, { hedgeAfterMs: 200 });
    const asked = slowly.judge.ask(query(1), { signal: live() });
    await server.received(1);
    slowly.clock.fire(200);
    await server.received(2);
    await vi.waitFor(() => expect(server?.open).toBe(1));
    (first as (() => void) | null)?.();
    expect(await asked).toMatchObject({ kind: "verdict", value: 1, use: { requests: 2 } });
  });

  it("needs a place of its own: it never goes beyond the bound on requests in flight", async () => {
    server = await JudgeServer.start(silence);
    const { judge, clock } = judgeOf(server.url, { hedgeAfterMs: 200, concurrency: 2 });
    const ended = new AbortController();
    const asked = [1, 2].map((n) => judge.ask(query(n), { signal: ended.signal }));
    await server.received(2);
    clock.fire(200);
    ended.abort();
    await Promise.all(asked);
    await vi.waitFor(() => expect(server?.open).toBe(0));
    expect(server.seen).toHaveLength(2);
    expect(server.mostOpen).toBe(2);
    expect(clock.pending).toBe(0);
  });
});

describe("equal questions at the same time", () => {
  it("are one piece of work, which ends when the last of those that wait has left", async () => {
    const calls = new SharedCalls<string>();
    const signals: AbortSignal[] = [];
    let answer: (text: string) => void = () => {};
    const work = (signal: AbortSignal) => {
      signals.push(signal);
      return new Promise<string>((resolve) => {
        answer = resolve;
      });
    };
    const [first, second] = [new AbortController(), new AbortController()];
    const waiting = [
      calls.join("k", first.signal, work),
      calls.join("k", second.signal, work),
      calls.join("other", live(), work),
    ];
    expect(signals).toHaveLength(2);
    expect(calls.has("k")).toBe(true);
    first.abort();
    expect(await waiting[0]).toBe(null);
    expect(signals[0]?.aborted).toBe(false);
    second.abort();
    expect(await waiting[1]).toBe(null);
    await vi.waitFor(() => expect(signals[0]?.aborted).toBe(true));
    expect(calls.has("k")).toBe(false);
    answer("done");
    expect(await waiting[2]).toBe("done");
    expect(await calls.join("k", AbortSignal.abort(), work)).toBe(null);
    expect(signals).toHaveLength(2);
  });

  it("share a fault, too, and are asked again afterwards", async () => {
    const calls = new SharedCalls<string>();
    const failing = () => Promise.reject(new Error("no"));
    const both = await Promise.allSettled([calls.join("k", live(), failing), calls.join("k", live(), failing)]);
    expect(both.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
    expect(await calls.join("k", live(), async () => "now")).toBe("now");
  });
});
