import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { Judge, JudgeQuery } from "../../src/contracts/judge.js";
import { backoffMs } from "../../src/rewards/judge/backoff.js";
import { pause, systemClock } from "../../src/rewards/judge/clock.js";
import { createOpenAiJudge, type OpenAiJudgeOptions } from "../../src/rewards/judge/openai-judge.js";
import { extractProblem, problemOf } from "../../src/rewards/judge/problem.js";
import { retryAfterMs } from "../../src/system/retry-after.js";
import { Semaphore } from "../../src/system/semaphore.js";
import { HeldClock, hangUp, JudgeServer, plainOptions, type Reaction, reply, silence, status } from "./judge-server.js";

const TIMEOUT = 30_000;
const BODY_LIMIT = 1 << 20;
const query: JudgeQuery = { problem: "Which city?", prediction: "Lutetia", gold: "Paris" };
const live = () => new AbortController().signal;

let server: JudgeServer | null = null;
afterEach(async () => {
  await server?.stop();
  server = null;
});

function judgeOf(url: string, options: Partial<OpenAiJudgeOptions> = {}): { judge: Judge; clock: HeldClock } {
  const clock = new HeldClock(TIMEOUT);
  const judge = createOpenAiJudge({ ...plainOptions(url), timeoutMs: TIMEOUT, clock, ...options });
  return { judge, clock };
}

describe("the judge client", () => {
  it("asks at temperature 0 without the document, and reads the verdict", async () => {
    server = await JudgeServer.start(reply("Both name the same city.\n[[YES]]"));
    const { judge, clock } = judgeOf(`${server.url}/`, { apiKeyEnv: "KEY", environment: { KEY: "s3cret" } });
    const verdict = await judge.ask(query, { signal: live() });
    expect(verdict).toEqual({
      kind: "verdict",
      value: 1,
      reply: "Both name the same city.\n[[YES]]",
      use: { requests: 1, seconds: 0, promptTokens: null, completionTokens: null, cached: false },
    });
    const [request] = server.seen;
    expect(request?.url).toBe("/v1/chat/completions");
    expect(request?.authorization).toBe("Bearer s3cret");
    expect(request?.body.model).toBe("judge-1");
    expect(request?.body.temperature).toBe(0);
    expect(request?.body.messages.map((message) => message.role)).toEqual(["system", "user"]);
    expect(request?.body.messages[1]?.content).toMatch(
      /^Problem: \n<(data-[0-9a-f]{8})>\nWhich city\?\n<\/\1>\nAnswer 1: \n<\1>\nLutetia\n<\/\1>\nAnswer 2: \n<\1>\nParis\n<\/\1>$/,
    );
    expect(clock.pending).toBe(0);
  });

  it("retries after 429 and 5xx with growing waits, then succeeds", async () => {
    server = await JudgeServer.start(status(429), status(500), status(503), reply("[[NO]]"));
    const { judge, clock } = judgeOf(server.url);
    expect(await judge.ask(query, { signal: live() })).toMatchObject({ kind: "verdict", value: 0, reply: "[[NO]]" });
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
    expect(await judge.ask(query, { signal: live() })).toMatchObject({
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
    expect(await judge.ask(query, { signal: live() })).toMatchObject({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the connection failed (ECONNREFUSED); gave up after 2 tries",
    });
    expect(clock.waits).toHaveLength(1);
  });

  it("times out at its deadline: timedOut, not 0, and the request is cancelled", async () => {
    server = await JudgeServer.start(silence);
    const { judge, clock } = judgeOf(server.url, { retries: 0 });
    const asked = judge.ask(query, { signal: live() });
    await server.received(1);
    clock.fire();
    expect(await asked).toMatchObject({
      kind: "timedOut",
      afterMs: TIMEOUT,
      reason: "the judge gave no answer within 30000 ms; gave up after 1 try",
    });
    expect(clock.pending).toBe(0);
  });

  it("times out on an answer that begins and never ends", async () => {
    server = await JudgeServer.start((response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.write('{"choices": [');
    });
    const { judge, clock } = judgeOf(server.url, { retries: 0 });
    const asked = judge.ask(query, { signal: live() });
    await server.received(1);
    clock.fire();
    expect((await asked).kind).toBe("timedOut");
  });

  it("fails at once on a refusal, without retry and without the key in the reason", async () => {
    server = await JudgeServer.start(status(401));
    const { judge } = judgeOf(server.url, { apiKeyEnv: "KEY", environment: { KEY: "s3cret" } });
    const verdict = await judge.ask(query, { signal: live() });
    expect(verdict).toMatchObject({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the judge refused the request with status 401: no",
    });
    expect(server.seen).toHaveLength(1);
    expect(JSON.stringify(verdict)).not.toContain("s3cret");
  });

  it.each([
    ["JSON of another shape", '{"choices":[]}'],
    ["null", "null"],
    ["a content that is not text", '{"choices":[{"message":{"content":null}}]}'],
  ])("fails on %s", async (_, body) => {
    server = await JudgeServer.start((response) => response.end(body));
    expect(await judgeOf(server.url).judge.ask(query, { signal: live() })).toMatchObject({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the judge's answer is not a chat completion with text content",
    });
  });

  it("asks again where an answer is late or no JSON, as a gateway's can be", async () => {
    server = await JudgeServer.start(silence, (response) => response.end("<html>"), reply("[[YES]]"));
    const { judge, clock } = judgeOf(server.url);
    const asked = judge.ask(query, { signal: live() });
    await server.received(1);
    clock.fire();
    expect(await asked).toMatchObject({ kind: "verdict", value: 1, use: { requests: 3 } });
    expect(clock.waits).toHaveLength(2);
    await server.stop();
    server = await JudgeServer.start((response) => response.end("<html>"));
    expect(await judgeOf(server.url, { retries: 1 }).judge.ask(query, { signal: live() })).toMatchObject({
      kind: "failed",
      reason: "the judge's answer is not a chat completion with text content; gave up after 2 tries",
    });
  });

  it("fails on a reply that was cut, also where it holds a verdict so far", async () => {
    const body = { choices: [{ message: { content: "I write [[YES]]" }, finish_reason: "length" }] };
    server = await JudgeServer.start((response) => response.end(JSON.stringify(body)));
    expect(await judgeOf(server.url).judge.ask(query, { signal: live() })).toMatchObject({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the judge's reply was cut at its greatest length",
    });
  });

  it("tells what a question cost: requests, tokens where the server counts them, and time", async () => {
    const body = {
      choices: [{ message: { content: "[[NO]]" }, finish_reason: "stop" }],
      usage: { prompt_tokens: 120, completion_tokens: 7 },
    };
    server = await JudgeServer.start(status(500), (response) => response.end(JSON.stringify(body)));
    const { judge, clock } = judgeOf(server.url);
    const verdict = await judge.ask(query, { signal: live() });
    expect(verdict.use).toEqual({
      requests: 2,
      seconds: (clock.waits[0] as number) / 1000,
      promptTokens: 120,
      completionTokens: 7,
      cached: false,
    });
  });

  it("limits the reply's tokens only where it is told to", async () => {
    server = await JudgeServer.start(reply("[[NO]]"));
    await judgeOf(server.url).judge.ask(query, { signal: live() });
    await judgeOf(server.url, { maxTokens: 99 }).judge.ask(query, { signal: live() });
    expect(server.seen.map(({ body }) => (body as { max_tokens?: number }).max_tokens)).toEqual([undefined, 99]);
  });

  it("answers conversations of the caller's own, whatever they say", async () => {
    server = await JudgeServer.start(reply("three of five"), status(401));
    const { judge } = judgeOf(server.url);
    const messages = [{ role: "user", content: "Count." }] as const;
    expect(await judge.chat?.(messages, { signal: live(), maxTokens: 20 })).toMatchObject({
      kind: "reply",
      text: "three of five",
      use: { requests: 1, cached: false },
    });
    expect(server.seen[0]?.body).toEqual({ model: "judge-1", messages, temperature: 0, n: 1, max_tokens: 20 });
    expect(await judge.chat?.(messages, { signal: live(), maxTokens: 20 })).toMatchObject({
      kind: "failed",
      code: "WEIR_E_JUDGE",
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
    expect(await queued).toMatchObject({ kind: "failed", code: "WEIR_E_JUDGE", reason: "the question was cancelled" });
    first.abort();
    expect(await inFlight).toMatchObject({
      kind: "failed",
      code: "WEIR_E_JUDGE",
      reason: "the question was cancelled",
    });
    await vi.waitFor(() => expect(clock.pending).toBe(0));
    expect((await judge.ask(query, { signal: AbortSignal.abort() })).kind).toBe("failed");
    expect(server.seen).toHaveLength(1);
  });

  it.each([
    ["an error that quotes the headers", 401, (key: string) => `Incorrect header "Authorization: Bearer ${key}"`],
    ["an error with the bare key", 400, (key: string) => `key ${key} is unknown`],
    [
      "an error that abbreviates the key",
      401,
      (key: string) => `Incorrect API key provided: ${key.slice(0, 6)}********${key.slice(-4)}`,
    ],
    ["the key as JSON escapes it", 403, (key: string) => JSON.stringify(JSON.stringify({ key }))],
    [
      "the key as \\u escapes",
      403,
      (key: string) => [...key].map((c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`).join(""),
    ],
    ["the key in a URL", 404, (key: string) => `/login?key=${encodeURIComponent(key)}`],
    ["the key in HTML", 404, (key: string) => `<p>${key.replace(/&/g, "&amp;").replace(/"/g, "&quot;")}</p>`],
    ["the key in base64", 400, (key: string) => Buffer.from(`Bearer ${key}`).toString("base64")],
    ["the key in base64url with a prefix", 400, (key: string) => Buffer.from(`id:${key}:x`).toString("base64url")],
    ["the key in hexadecimal", 400, (key: string) => Buffer.from(key).toString("hex")],
    ["the key across the cut of a long error", 400, (key: string) => `${"x".repeat(190)} ${key}`],
    [
      "a reply without a verdict",
      200,
      (key: string) => JSON.stringify({ choices: [{ message: { content: `I saw ${key}` } }] }),
    ],
    ["a verdict", 200, (key: string) => JSON.stringify({ choices: [{ message: { content: `${key}: [[YES]]` } }] })],
  ])("keeps the key out of what it says after %s", async (_, code, body) => {
    const key = 'sk-7f"3k&Qz/9+aV0pL2x';
    const text = body(key);
    server = await JudgeServer.start((response) => {
      response.writeHead(code, { "x-echo": key, "retry-after": "1", "set-cookie": `k=${encodeURIComponent(key)}` });
      response.end(text);
    });
    const { judge } = judgeOf(server.url, { apiKeyEnv: "KEY", environment: { KEY: `${key}\n` } });
    const said = JSON.stringify(await judge.ask(query, { signal: live() }));
    expect(server.seen[0]?.authorization).toBe(`Bearer ${key}`);
    expect(said).toContain("[redacted");
    const pieces = [key, key.slice(0, 6), key.slice(-6), encodeURIComponent(key), Buffer.from(key).toString("hex")];
    const base64 = [0, 1, 2].map((n) =>
      Buffer.from(" ".repeat(n) + key)
        .toString("base64")
        .slice(4, 20),
    );
    for (const piece of [...pieces, ...base64, JSON.stringify(key).slice(1, -1)]) expect(said).not.toContain(piece);
  });

  it("reads verdicts with a key that is an ordinary word", async () => {
    for (const key of ["1", "e", "YES", "EMPTY", "content"]) {
      const local = await JudgeServer.start(reply("The same: [[YES]]"));
      const { judge } = judgeOf(local.url, { apiKeyEnv: "KEY", environment: { KEY: key } });
      expect(await judge.ask(query, { signal: live() })).toMatchObject({ kind: "verdict", value: 1 });
      await local.stop();
    }
  });

  it("does not follow a redirect to another host, so the key and the question stay here", async () => {
    const other = await JudgeServer.start(reply("[[YES]]"));
    server = await JudgeServer.start(status(307, { location: `${other.url}/chat/completions?key=s3cret` }));
    const { judge } = judgeOf(server.url, { apiKeyEnv: "KEY", environment: { KEY: "s3cret" } });
    const verdict = await judge.ask(query, { signal: live() });
    expect(verdict).toMatchObject({ kind: "failed", code: "WEIR_E_JUDGE" });
    expect(JSON.stringify(verdict)).toMatch(/redirected.*307.*reward\.judge\.url/);
    expect(JSON.stringify(verdict)).not.toContain("s3cret");
    expect(other.seen).toEqual([]);
    await other.stop();
  });

  it("follows a redirect on the same host, and not for ever", async () => {
    server = await JudgeServer.start(status(308, { location: "/v1/chat/completions/" }), reply("[[NO]]"));
    expect(await judgeOf(server.url).judge.ask(query, { signal: live() })).toMatchObject({ kind: "verdict", value: 0 });
    expect(server.seen.map((request) => request.url)).toEqual(["/v1/chat/completions", "/v1/chat/completions/"]);
    await server.stop();
    server = await JudgeServer.start(status(307, { location: "/v1/chat/completions" }));
    expect(await judgeOf(server.url).judge.ask(query, { signal: live() })).toMatchObject({ kind: "failed" });
    expect(server.seen).toHaveLength(4);
  });

  it("stops reading an answer that is too long, also one that never ends or unpacks to one", async () => {
    const endless: Reaction = (response) => {
      const chunk = Buffer.alloc(1 << 16, 32);
      const write = () => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once("drain", write);
      };
      response.writeHead(200, { "content-type": "application/json" });
      write();
    };
    const bomb: Reaction = (response) => {
      response.writeHead(400, { "content-encoding": "gzip" });
      response.end(gzipSync(Buffer.alloc(64 << 20)));
    };
    for (const reaction of [endless, bomb, reply(`[[YES]] ${"x".repeat(BODY_LIMIT)}`)]) {
      const local = await JudgeServer.start(reaction);
      const { judge, clock } = judgeOf(local.url);
      expect(await judge.ask(query, { signal: live() })).toMatchObject({
        kind: "failed",
        code: "WEIR_E_JUDGE",
        reason: "the judge's answer is longer than 1048576 bytes",
      });
      expect(clock.pending).toBe(0);
      await local.stop();
    }
  });

  it("reads an answer that is just short enough, and text that a chunk cuts inside a character", async () => {
    const content = `é[[YES]]`;
    const text = JSON.stringify({ choices: [{ message: { content } }], pad: "" });
    const bytes = Buffer.from(text.replace('"pad":""', `"pad":"${"x".repeat(BODY_LIMIT - Buffer.byteLength(text))}"`));
    const cut = bytes.indexOf("é") + 1;
    server = await JudgeServer.start((response) => {
      response.write(bytes.subarray(0, cut));
      setImmediate(() => response.end(bytes.subarray(cut)));
    });
    expect(bytes.length).toBe(BODY_LIMIT);
    expect(await judgeOf(server.url).judge.ask(query, { signal: live() })).toMatchObject({
      kind: "verdict",
      value: 1,
      reply: content,
    });
  });

  it("times out on a body that drips, however long it goes on", async () => {
    let drip: NodeJS.Timeout | undefined;
    server = await JudgeServer.start((response) => {
      response.writeHead(200);
      drip = setInterval(() => response.write(" "), 1);
    });
    const { judge, clock } = judgeOf(server.url, { retries: 0 });
    const asked = judge.ask(query, { signal: live() });
    await server.received(1);
    clock.fire();
    expect(await asked).toMatchObject({ kind: "timedOut", afterMs: TIMEOUT });
    clearInterval(drip);
  });

  it("names the variable, not the key, where a key cannot be sent", () => {
    const key = "s3cr\u00e9t key";
    const make = () => judgeOf("http://127.0.0.1/v1", { apiKeyEnv: "KEY", environment: { KEY: key } });
    expect(make).toThrow(/WEIR_E_CONFIG.*KEY.*ASCII/);
    expect(make).not.toThrow(/s3cr/);
    expect(() => judgeOf("http://me:s3cret@127.0.0.1/v1")).toThrow(/WEIR_E_CONFIG.*user name or password/);
    expect(() => judgeOf("http://me:s3cret@127.0.0.1/v1")).not.toThrow(/s3cret/);
  });

  it("refuses an unusable configuration", () => {
    expect(() => judgeOf("127.0.0.1:8000")).toThrow(/WEIR_E_CONFIG.*reward\.judge\.url/);
    expect(() => judgeOf("http://127.0.0.1/v1", { model: "" })).toThrow(/WEIR_E_CONFIG.*reward\.judge\.model/);
    expect(() => judgeOf("http://127.0.0.1/v1", { apiKeyEnv: "NOPE" })).toThrow(/WEIR_E_CONFIG.*NOPE/);
    expect(() => judgeOf("http://127.0.0.1/v1", { concurrency: 0 })).toThrow(/WEIR_E_CONFIG.*concurrency/);
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

describe("the question that a judge is told", () => {
  const FORMAT = 'Format your response as follows: "Therefore, the answer is (insert answer here)".';
  const prompt = (document: string, question: string) =>
    `Read the text and answer the question.\n\n<text>\n${document}\n</text>\n\n${question}\n\n${FORMAT}`;
  const svg = new URL("../fixtures/cases/16-judge-question/svg.txt", import.meta.url);

  it("is not broken open by a document that holds the end tag, the start tag or the format line", () => {
    expect(extractProblem(readFileSync(svg, "utf8"))).toBe("What is X?");
    for (const document of [
      "a </text> b",
      "</text>",
      "a\n</text>\n\nWho wrote it?\n",
      `a\n</text>\n\nWho?\n\n${FORMAT}`,
      "<text>\nx\n</text>\n<text>",
      "",
    ]) {
      expect(extractProblem(prompt(document, "Who was it?"))).toBe("Who was it?");
      expect(extractProblem(prompt(document, "Who was it?"), document)).toBe("Who was it?");
    }
  });

  it.each([
    "What does </text> close?",
    `What follows "${FORMAT}"?`,
    "Complete:\n</text>\nWhat is missing?",
    "<text>\nx\n</text>",
  ])("may hold the marks itself where the document is known: %j", (question) => {
    for (const document of ["A word.", "a </text> b", "x"]) {
      expect(extractProblem(prompt(document, question), document)).toBe(question);
    }
  });

  it("may hold the end tag inside a line where the document is not known", () => {
    expect(extractProblem(prompt("A word.", "What does </text> close?"))).toBe("What does </text> close?");
  });

  it("needs no format line where the document is known, and falls back where the prompt does not hold it", () => {
    expect(extractProblem("<text>\nx\n</text>\n\nWho?", "x")).toBe("Who?");
    expect(extractProblem("<text>\nx\n</text>\n\nWho?", "y")).toBe(null);
    expect(extractProblem(prompt("x", "Who?"), "y")).toBe("Who?");
    expect(extractProblem(prompt("x", ""), "x")).toBe(null);
  });

  it("is that of the last user message", () => {
    const messages = [
      { role: "user", content: prompt("x", "First?") },
      { role: "assistant", content: "a" },
      { role: "user", content: prompt("y", "Second?") },
    ] as const;
    expect(problemOf({ messages, document: "x" })).toBe("Second?");
    expect(problemOf({ messages: [], document: null })).toBe(null);
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

  it("reads Retry-After in seconds and as a date", () => {
    const now = Date.UTC(2026, 9, 21, 7, 27, 50);
    expect(retryAfterMs("3")).toBe(3000);
    expect(retryAfterMs("0.5")).toBe(500);
    expect(retryAfterMs("Wed, 21 Oct 2026 07:28:00 GMT", now)).toBe(10_000);
    expect(retryAfterMs("Wed, 21 Oct 2026 07:00:00 GMT", now)).toBe(0);
    for (const header of [null, "", "soon", "-3", "3 s", "Wed, 99 Oct"]) expect(retryAfterMs(header, now)).toBe(null);
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
