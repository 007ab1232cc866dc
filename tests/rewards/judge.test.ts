import { createServer } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import type { Judge, JudgeQuery } from "../../src/contracts/judge.js";
import { backoffMs, retryAfterMs } from "../../src/rewards/judge/backoff.js";
import { pause, systemClock } from "../../src/rewards/judge/clock.js";
import { createOpenAiJudge, type OpenAiJudgeOptions } from "../../src/rewards/judge/openai-judge.js";
import { extractProblem } from "../../src/rewards/judge/problem.js";
import { parseJudgeReply } from "../../src/rewards/judge/reply.js";
import { Semaphore } from "../../src/rewards/judge/semaphore.js";
import { HeldClock, hangUp, JudgeServer, reply, silence, status } from "./judge-server.js";

const TIMEOUT = 30_000;
const query: JudgeQuery = { problem: "Which city?", prediction: "Lutetia", gold: "Paris" };
const live = () => new AbortController().signal;

let server: JudgeServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

function judgeOf(url: string, options: Partial<OpenAiJudgeOptions> = {}): { judge: Judge; clock: HeldClock } {
  const clock = new HeldClock(TIMEOUT);
  const judge = createOpenAiJudge({
    url,
    model: "judge-1",
    mode: "paper",
    apiKeyEnv: null,
    timeoutMs: TIMEOUT,
    retries: 4,
    concurrency: 4,
    seed: 1,
    clock,
    environment: {},
    ...options,
  });
  return { judge, clock };
}

describe("the judge client", () => {
  it("asks at temperature 0 without the document, and reads the verdict", async () => {
    server = await JudgeServer.start(reply("Both name the same city.\n[[YES]]"));
    const { judge, clock } = judgeOf(`${server.url}/`, { apiKeyEnv: "KEY", environment: { KEY: "s3cret" } });
    const verdict = await judge.ask(query, { signal: live() });
    expect(verdict).toEqual({ kind: "verdict", value: 1, reply: "Both name the same city.\n[[YES]]" });
    const [request] = server.seen;
    expect(request?.url).toBe("/v1/chat/completions");
    expect(request?.authorization).toBe("Bearer s3cret");
    expect(request?.body.model).toBe("judge-1");
    expect(request?.body.temperature).toBe(0);
    expect(request?.body.messages.map((message) => message.role)).toEqual(["system", "user"]);
    expect(request?.body.messages[1]?.content).toBe("Problem: Which city?\nAnswer 1: Lutetia\nAnswer 2: Paris");
    expect(clock.pending).toBe(0);
  });

  it("retries after 429 and 5xx with growing waits, then succeeds", async () => {
    server = await JudgeServer.start(status(429), status(500), status(503), reply("[[NO]]"));
    const { judge, clock } = judgeOf(server.url);
    expect(await judge.ask(query, { signal: live() })).toEqual({ kind: "verdict", value: 0, reply: "[[NO]]" });
    expect(server.seen).toHaveLength(4);
    expect(clock.waits).toHaveLength(3);
    clock.waits.forEach((wait, index) => {
      const ceiling = 1000 * 2 ** index;
      expect(wait).toBeGreaterThanOrEqual(ceiling / 2);
      expect(wait).toBeLessThan(ceiling);
    });
  });

  it("waits as long as the server asks for", async () => {
    server = await JudgeServer.start(status(429, { "retry-after": "7" }), reply("[[YES]]"));
    const { judge, clock } = judgeOf(server.url);
    await judge.ask(query, { signal: live() });
    expect(clock.waits).toEqual([7000]);
  });

  it("gives up after its retries: failed, not 0", async () => {
    server = await JudgeServer.start(status(500));
    const { judge } = judgeOf(server.url, { retries: 2 });
    expect(await judge.ask(query, { signal: live() })).toEqual({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the judge answered with status 500; gave up after 3 tries",
    });
    expect(server.seen).toHaveLength(3);
  });

  it("retries a broken connection and a server that is not there", async () => {
    server = await JudgeServer.start(hangUp, reply("[[YES]]"));
    expect((await judgeOf(server.url).judge.ask(query, { signal: live() })).kind).toBe("verdict");

    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    const { judge, clock } = judgeOf(`http://127.0.0.1:${port}/v1`, { retries: 1 });
    expect(await judge.ask(query, { signal: live() })).toEqual({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the connection failed (ECONNREFUSED); gave up after 2 tries",
    });
    expect(clock.waits).toHaveLength(1);
  });

  it("times out at its deadline: timedOut, not 0, and the request is cancelled", async () => {
    server = await JudgeServer.start(silence);
    const { judge, clock } = judgeOf(server.url);
    const asked = judge.ask(query, { signal: live() });
    await server.received(1);
    clock.fire();
    expect(await asked).toEqual({
      kind: "timedOut",
      afterMs: TIMEOUT,
      reason: "the judge gave no answer within 30000 ms",
    });
    expect(clock.pending).toBe(0);
  });

  it("times out on an answer that begins and never ends", async () => {
    server = await JudgeServer.start((response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.write('{"choices": [');
    });
    const { judge, clock } = judgeOf(server.url);
    const asked = judge.ask(query, { signal: live() });
    await server.received(1);
    clock.fire();
    expect((await asked).kind).toBe("timedOut");
  });

  it("fails at once on a refusal, without retry and without the key in the reason", async () => {
    server = await JudgeServer.start(status(401));
    const { judge } = judgeOf(server.url, { apiKeyEnv: "KEY", environment: { KEY: "s3cret" } });
    const verdict = await judge.ask(query, { signal: live() });
    expect(verdict).toEqual({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the judge refused the request with status 401: no",
    });
    expect(server.seen).toHaveLength(1);
    expect(JSON.stringify(verdict)).not.toContain("s3cret");
  });

  it.each([
    ["text that is no JSON", "<html>"],
    ["JSON of another shape", '{"choices":[]}'],
    ["null", "null"],
    ["a content that is no text", '{"choices":[{"message":{"content":null}}]}'],
  ])("fails on %s", async (_, body) => {
    server = await JudgeServer.start((response) => response.end(body));
    expect(await judgeOf(server.url).judge.ask(query, { signal: live() })).toEqual({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the judge's answer is no chat completion with text content",
    });
  });

  it("fails on a reply without a verdict", async () => {
    server = await JudgeServer.start(reply("YES, surely"));
    const verdict = await judgeOf(server.url).judge.ask(query, { signal: live() });
    expect(verdict).toMatchObject({ kind: "failed", code: "WEIR_E_JUDGE" });
    const lenient = await judgeOf(server.url, { mode: "released" }).judge.ask(query, { signal: live() });
    expect(lenient).toMatchObject({ kind: "verdict", value: 1 });
  });

  it("has at most `concurrency` requests in flight and answers all", async () => {
    server = await JudgeServer.start((response, request) => {
      setImmediate(() => setImmediate(() => reply("[[YES]]")(response, request)));
    });
    const { judge } = judgeOf(server.url, { concurrency: 3 });
    const verdicts = await Promise.all(Array.from({ length: 20 }, () => judge.ask(query, { signal: live() })));
    expect(verdicts.every((verdict) => verdict.kind === "verdict")).toBe(true);
    expect(server.mostOpen).toBe(3);
  });

  it("stops when cancelled: in flight, while waiting for a slot, and between tries", async () => {
    server = await JudgeServer.start(silence);
    const { judge, clock } = judgeOf(server.url, { concurrency: 1 });
    const first = new AbortController();
    const second = new AbortController();
    const inFlight = judge.ask(query, { signal: first.signal });
    const queued = judge.ask(query, { signal: second.signal });
    await server.received(1);
    second.abort();
    expect(await queued).toEqual({ kind: "failed", code: "WEIR_E_JUDGE", reason: "the question was cancelled" });
    first.abort();
    expect(await inFlight).toEqual({ kind: "failed", code: "WEIR_E_JUDGE", reason: "the question was cancelled" });
    expect(clock.pending).toBe(0);
    expect((await judge.ask(query, { signal: AbortSignal.abort() })).kind).toBe("failed");
    expect(server.seen).toHaveLength(1);
  });

  it("refuses an unusable configuration", () => {
    expect(() => judgeOf("127.0.0.1:8000")).toThrow(/WEIR_E_CONFIG.*reward\.judge\.url/);
    expect(() => judgeOf("http://127.0.0.1/v1", { model: "" })).toThrow(/WEIR_E_CONFIG.*reward\.judge\.model/);
    expect(() => judgeOf("http://127.0.0.1/v1", { apiKeyEnv: "NOPE" })).toThrow(/WEIR_E_CONFIG.*NOPE/);
    expect(() => judgeOf("http://127.0.0.1/v1", { concurrency: 0 })).toThrow(/WEIR_E_CONFIG.*concurrency/);
  });
});

describe("reading a judge's reply", () => {
  it.each([
    ["fine [[YES]]", 1],
    ["[[NO]]", 0],
    ["first [[NO]], then after all [[YES]]", 1],
    ["[[YES]] … no: [[NO]]", 0],
    ["YES", null],
    ["", null],
  ] as const)("in the paper's mode %j is %j", (text, value) => {
    expect(parseJudgeReply(text, "paper")).toBe(value);
  });

  it("in the release's mode any upper-case YES counts, and an empty reply decides nothing", () => {
    expect(parseJudgeReply("EYES: [[NO]]", "released")).toBe(1);
    expect(parseJudgeReply("[[Yes]]", "released")).toBe(0);
    expect(parseJudgeReply(" \n", "released")).toBe(null);
  });
});

describe("finding the problem of a prompt", () => {
  it("takes the text between the document's end and the format line", () => {
    const prompt = "Read.\n\n<text>\nA document.\n</text>\n\nWho was it?\n\nFormat your response as follows: so.";
    expect(extractProblem(prompt)).toBe("Who was it?");
  });

  it("is null where a marker is missing or the format line stands before the document's end", () => {
    expect(extractProblem("Who was it? Format your response as follows: so.")).toBe(null);
    expect(extractProblem("<text>x</text> Who was it?")).toBe(null);
    expect(extractProblem("Format your response as follows: so. <text>x</text> Who?")).toBe(null);
  });
});

describe("waiting between tries", () => {
  it("grows, is capped, is repeatable and differs between questions", () => {
    const options = { baseMs: 1000, capMs: 64_000 };
    expect(backoffMs(20, 5, options, null)).toBeLessThan(64_000);
    expect(backoffMs(20, 5, options, null)).toBeGreaterThanOrEqual(32_000);
    expect(backoffMs(3, 5, options, null)).toBe(backoffMs(3, 5, options, null));
    expect(backoffMs(3, 5, options, null)).not.toBe(backoffMs(3, 6, options, null));
    expect(backoffMs(1, 5, options, 9e9)).toBe(64_000);
  });

  it("reads Retry-After in seconds only", () => {
    expect(retryAfterMs("3")).toBe(3000);
    expect(retryAfterMs("Wed, 21 Oct 2026 07:28:00 GMT")).toBe(null);
    expect(retryAfterMs(null)).toBe(null);
  });

  it("ends at once when the signal aborts", async () => {
    const controller = new AbortController();
    const paused = pause(systemClock, 1e8, controller.signal);
    controller.abort();
    expect(await paused).toBe(false);
    expect(await pause(systemClock, 1e8, controller.signal)).toBe(false);
    expect(await pause(systemClock, 0, live())).toBe(true);
  });
});

describe("the semaphore", () => {
  it("serves waiters in order of arrival; cancelled ones leave without a slot", async () => {
    const slots = new Semaphore(1);
    const order: string[] = [];
    const release = await slots.acquire(live());
    const controller = new AbortController();
    const cancelled = slots.acquire(controller.signal).then((slot) => order.push(slot === null ? "gone" : "wrong"));
    const second = slots.acquire(live()).then((slot) => {
      order.push("second");
      slot?.();
    });
    const third = slots.acquire(live()).then((slot) => {
      order.push("third");
      slot?.();
    });
    controller.abort();
    await cancelled;
    release?.();
    release?.();
    await Promise.all([second, third]);
    expect(order).toEqual(["gone", "second", "third"]);
    expect(slots.held).toBe(0);
  });
});
