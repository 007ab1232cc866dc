import { afterEach, describe, expect, it, vi } from "vitest";
import type { JudgeVerdict } from "../../src/contracts/judge.js";
import type { ReadinessState } from "../../src/contracts/readiness.js";
import { Breaker } from "../../src/rewards/judge/breaker.js";
import { createOpenAiJudge, type OpenAiJudgeOptions } from "../../src/rewards/judge/openai-judge.js";
import { HeldClock, JudgeServer, plainOptions, type Reaction, reply, silence, status } from "./judge-server.js";

const live = () => new AbortController().signal;
const SETTINGS = { window: 4, failures: 2, share: 0.5, openMs: 1_000 };

/** A breaker whose probes are answered by hand. */
function breakerOf(settings = SETTINGS) {
  const clock = new HeldClock(0);
  const probes: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  const probe = () => new Promise<void>((resolve, reject) => void probes.push({ resolve, reject }));
  const breaker = new Breaker({ ...settings, server: "http://judge", clock, probe });
  const changes: boolean[] = [];
  breaker.onChange(({ ready }) => void changes.push(ready));
  return { breaker, clock, probes, changes };
}

describe("the circuit breaker", () => {
  it("opens when enough of the last requests have failed, and says why and since when", () => {
    const { breaker, clock, changes } = breakerOf();
    breaker.failed("status 500");
    breaker.answered();
    expect(breaker.state()).toEqual({ ready: true });
    breaker.failed("the connection failed");
    clock.fire(250);
    expect(breaker.state()).toEqual({
      ready: false,
      code: "WEIR_E_JUDGE",
      reason: "the judge at http://judge is away (the connection failed); it is tried again every 1000 ms",
      forMs: 250,
    });
    expect(changes).toEqual([false]);
  });

  it("stays closed where failures are few among many requests, or long ago", () => {
    const { breaker } = breakerOf();
    for (let n = 0; n < 20; n++) {
      breaker.failed("x");
      for (const _ of [1, 2, 3]) breaker.answered();
    }
    expect(breaker.state().ready).toBe(true);
    const { breaker: strict } = breakerOf({ ...SETTINGS, share: 0.75 });
    for (const failed of [false, true, false, true]) failed ? strict.failed("x") : strict.answered();
    expect(strict.state().ready).toBe(true);
    strict.failed("x");
    expect(strict.state().ready).toBe(false);
  });

  it("tries the server again and again while it is open, and closes by itself at the first answer", async () => {
    const { breaker, clock, probes, changes } = breakerOf();
    breaker.failed("x");
    breaker.failed("x");
    clock.fire(999);
    expect(probes).toHaveLength(0);
    clock.fire(1);
    expect(probes).toHaveLength(1);
    probes[0]?.reject(new Error("status 503"));
    await vi.waitFor(() => expect(clock.pending).toBe(1));
    expect(breaker.state()).toMatchObject({
      ready: false,
      reason: expect.stringContaining("(status 503)"),
      forMs: 1_000,
    });
    clock.fire(1_000);
    probes[1]?.resolve();
    await vi.waitFor(() => expect(breaker.state()).toEqual({ ready: true }));
    expect(changes).toEqual([false, true]);
    // What happened before it opened is forgotten.
    breaker.failed("x");
    expect(breaker.state().ready).toBe(true);
  });

  it("counts nothing that ends while it is open", () => {
    const { breaker, clock } = breakerOf();
    breaker.failed("x");
    breaker.failed("x");
    for (let n = 0; n < 9; n++) breaker.answered();
    expect(breaker.state().ready).toBe(false);
    expect(clock.pending).toBe(1);
  });

  it("lets those that wait go on when it closes, and those that are cancelled leave", async () => {
    const { breaker, clock, probes } = breakerOf();
    expect(await breaker.closed(live())).toBe(true);
    expect(await breaker.closed(AbortSignal.abort())).toBe(false);
    breaker.failed("x");
    breaker.failed("x");
    const gone = new AbortController();
    const waiting = [breaker.closed(live()), breaker.closed(gone.signal), breaker.closed(live())];
    gone.abort();
    expect(await waiting[1]).toBe(false);
    clock.fire(1_000);
    probes[0]?.resolve();
    expect(await Promise.all(waiting)).toEqual([true, false, true]);
  });

  it("ends a listener that has had enough, and its own timer when it is stopped", () => {
    const { breaker, clock, probes } = breakerOf();
    const heard: ReadinessState[] = [];
    breaker.onChange((state) => void heard.push(state))();
    breaker.failed("x");
    breaker.failed("x");
    expect(heard).toEqual([]);
    breaker.stop();
    expect(clock.pending).toBe(0);
    clock.fire(5_000);
    expect(probes).toEqual([]);
  });
});

describe("a judge whose server goes away", () => {
  let server: JudgeServer | null = null;
  afterEach(async () => {
    await server?.stop();
    server = null;
  });

  const judgeOf = (url: string, options: Partial<OpenAiJudgeOptions> = {}) => {
    const clock = new HeldClock(5_000);
    const breaker = { window: 4, failures: 3, share: 0.5, openMs: 5_000 };
    const judge = createOpenAiJudge({
      ...plainOptions(url),
      timeoutMs: 20_000,
      breaker,
      clock,
      retries: 6,
      ...options,
    });
    return { judge, clock };
  };
  const query = (n: number) => ({ problem: "Which city?", prediction: `answer ${n}`, gold: "Paris" });
  /** Away until `back`; a probe is known by its question. */
  const outage = () => {
    const state = { away: true };
    const reaction: Reaction = (response, request) =>
      (state.away ? status(503) : reply(request.body.messages[1]?.content.includes("1 + 1") ? "[[YES]]" : "[[NO]]"))(
        response,
        request,
      );
    return { state, reaction };
  };

  it("is asked nothing while it is away, and goes on with what waits", async () => {
    const { state, reaction } = outage();
    server = await JudgeServer.start(reaction);
    const { judge, clock } = judgeOf(server.url, { timeoutMs: 1e9, groupTimeoutMs: 1e9, concurrency: 1 });
    const asked = [1, 2, 3, 4, 5, 6].map((n) => judge.ask(query(n), { signal: live() }));
    await vi.waitFor(() => expect(judge.readiness?.state().ready).toBe(false));
    const before = server.seen.length;
    expect(before).toBeLessThanOrEqual(8);
    expect(judge.readiness?.state()).toMatchObject({
      code: "WEIR_E_JUDGE",
      reason: expect.stringMatching(
        /^the judge at http:\/\/127\.0\.0\.1:\d+ is away \(the judge answered with status 503\)/,
      ),
    });
    /** Lets time pass until it is so. */
    const until = (isSo: () => boolean) =>
      vi.waitFor(
        () => {
          clock.fire(5_000);
          expect(isSo()).toBe(true);
        },
        { timeout: 60_000 },
      );
    await until(() => (server?.seen.length ?? 0) >= before + 2);
    expect(judge.readiness?.state().ready).toBe(false);
    // Nothing but probes has been sent.
    for (const { body } of server.seen.slice(before)) expect(body.messages[1]?.content).toContain("How much is 1 + 1?");
    state.away = false;
    await until(() => judge.readiness?.state().ready === true);
    const verdicts: JudgeVerdict[] = [];
    for (const one of asked) void one.then((verdict) => void verdicts.push(verdict));
    await until(() => verdicts.length === 6);
    expect(verdicts.map((verdict) => verdict.kind === "verdict" && verdict.value)).toEqual([0, 0, 0, 0, 0, 0]);
    await judge.dispose?.();
  });

  it("is tried no more once it is disposed of, and a probe on its way is cancelled", async () => {
    server = await JudgeServer.start(status(500), status(500), status(500), silence);
    const { judge, clock } = judgeOf(server.url, { retries: 0, concurrency: 1 });
    for (const n of [1, 2, 3]) expect((await judge.ask(query(n), { signal: live() })).kind).toBe("failed");
    clock.fire(5_000);
    await server.received(4);
    await judge.dispose?.();
    await vi.waitFor(() => expect(server?.open).toBe(0));
    await vi.waitFor(() => expect(clock.pending).toBe(0));
  });

  it("answers a question that waits for it at the question's own deadline, with the reason", async () => {
    const { reaction } = outage();
    server = await JudgeServer.start(reaction);
    const { judge, clock } = judgeOf(server.url, { groupTimeoutMs: 7_000 });
    const asked = judge.ask(query(1), { signal: live() });
    await vi.waitFor(() => expect(judge.readiness?.state().ready).toBe(false));
    clock.fire(7_000);
    const verdict = await asked;
    expect(verdict).toMatchObject({ kind: "timedOut", use: { requests: 3 } });
    expect((verdict as { reason: string }).reason).toBe(
      "the judge gave no verdict within 7000 ms (reward.judge.groupTimeoutMs); 3 requests were sent, and of the last one the judge answered with status 503",
    );
    await judge.dispose?.();
  });

  it.each([
    ["refuses the key", [status(401)], false],
    ["does not know the model", [status(404)], false],
    ["never answers in time", [silence], false],
    ["says only that it has too many requests", [status(429)], false],
    ["refuses single questions", [status(400)], true],
    ["answers without a verdict", [reply("I do not know")], true],
  ] as const)("is away, or not, where it %s", async (_, [reaction], ready) => {
    server = await JudgeServer.start(reaction);
    const { judge, clock } = judgeOf(server.url, { retries: 0, timeoutMs: 6_000 });
    for (let n = 0; n < 4 && judge.readiness?.state().ready; n++) {
      const asked = judge.ask(query(n), { signal: live() });
      await server.received(n + 1);
      if (reaction === silence) clock.fire(6_000);
      expect((await asked).kind).not.toBe("verdict");
    }
    expect(judge.readiness?.state().ready).toBe(ready);
    await judge.dispose?.();
  });
});
