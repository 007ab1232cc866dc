import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Judge } from "../../src/contracts/judge.js";
import { createOpenAiJudge, type OpenAiJudgeOptions } from "../../src/rewards/judge/openai-judge.js";
import { ReplyCache } from "../../src/rewards/judge/reply-cache.js";
import { JudgeServer, plainOptions, type Reaction, reply, silence, status } from "./judge-server.js";

const live = () => new AbortController().signal;
const MIB = 1 << 20;
const query = { problem: "Which city?", prediction: "Lutetia", gold: "Paris" };

let folder = "";
let server: JudgeServer | null = null;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "weir-judge-cache-"));
});
afterEach(async () => {
  await server?.stop();
  server = null;
  await rm(folder, { recursive: true, force: true });
});

describe("the cache of replies", () => {
  const cacheOf = (options: Partial<ConstructorParameters<typeof ReplyCache>[0]> = {}) =>
    new ReplyCache({ directory: folder, maxBytes: MIB, ...options });

  it("is there again for the next process, and what several processes wrote is read together", async () => {
    const [one, two] = [cacheOf(), cacheOf()];
    one.put("a", { value: 1, reply: "[[YES]]" });
    two.put("b", { value: 0, reply: "[[NO]] é" });
    two.put("c", { value: null, reply: "three" });
    await Promise.all([one.close(), two.close()]);
    expect(await readdir(folder)).toHaveLength(2);
    const next = cacheOf();
    expect(await next.get("a")).toEqual({ value: 1, reply: "[[YES]]" });
    expect(await next.get("b")).toEqual({ value: 0, reply: "[[NO]] é" });
    expect(await next.get("c")).toEqual({ value: null, reply: "three" });
    expect(await next.get("d")).toBe(null);
  });

  it("reads nothing into lines that are torn or strange", async () => {
    const cache = cacheOf();
    cache.put("a", { value: 1, reply: "[[YES]]" });
    await cache.close();
    const [name = ""] = await readdir(folder);
    const lines = [
      "",
      "null",
      "7",
      '{"key":"b","value":2,"reply":"x"}',
      '{"key":"c","value":0}',
      '{"key":"d","value":1,"rep',
    ];
    await appendFile(join(folder, name), lines.join("\n"));
    await writeFile(join(folder, "notes.txt"), '{"key":"e","value":1,"reply":"x"}\n');
    const next = cacheOf();
    expect(await next.get("a")).toEqual({ value: 1, reply: "[[YES]]" });
    for (const key of ["b", "c", "d", "e"]) expect(await next.get(key)).toBe(null);
  });

  it("stays below its bound in memory and in the folder, the oldest going first", async () => {
    const cache = cacheOf({ maxBytes: 16_384 });
    for (let n = 0; n < 400; n++) {
      cache.put(`key-${n}`, { value: 1, reply: "x".repeat(60) });
      await cache.close();
    }
    expect(await cache.get("key-0")).toBe(null);
    expect(await cache.get("key-399")).not.toBe(null);
    expect(cache.size).toBeGreaterThan(100);
    expect(cache.size).toBeLessThan(200);
    const names = await readdir(folder);
    const sizes = await Promise.all(names.map(async (name) => (await readFile(join(folder, name))).byteLength));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    expect(total).toBeLessThanOrEqual(16_384 + 120);
    expect(total).toBeGreaterThan(8_000);
    const next = cacheOf({ maxBytes: 16_384 });
    expect(await next.get("key-399")).not.toBe(null);
  });

  it("does not keep a reply that would drive out thousands", async () => {
    const cache = cacheOf({ directory: null });
    cache.put("a", { value: 1, reply: "x".repeat(70_000) });
    expect(await cache.get("a")).toBe(null);
  });

  it("goes on in memory where the folder cannot be used, and says so once", async () => {
    await writeFile(join(folder, "file"), "");
    const report = vi.fn();
    const cache = cacheOf({ directory: join(folder, "file", "inside"), report });
    cache.put("a", { value: 1, reply: "[[YES]]" });
    await cache.close();
    cache.put("b", { value: 0, reply: "[[NO]]" });
    await cache.close();
    expect(await cache.get("a")).toEqual({ value: 1, reply: "[[YES]]" });
    expect(await cache.get("b")).toEqual({ value: 0, reply: "[[NO]]" });
    expect(report).toHaveBeenCalledTimes(1);
  });
});

describe("a judge with a cache", () => {
  const judges: Judge[] = [];
  afterEach(async () => {
    for (const judge of judges.splice(0)) await judge.dispose?.();
  });
  const judgeOf = (options: Partial<OpenAiJudgeOptions> = {}) => {
    const cache = new ReplyCache({ directory: folder, maxBytes: MIB });
    const judge = createOpenAiJudge({ ...plainOptions(server?.url ?? ""), cache, retries: 0, ...options });
    judges.push(judge);
    return judge;
  };
  const questions = Array.from({ length: 40 }, (_, n) => ({ ...query, prediction: `answer ${n}` }));
  const byPrediction: Reaction = (response, request) =>
    reply(/answer \d*[02468]\n/.test(request.body.messages[1]?.content ?? "") ? "[[YES]]" : "[[NO]]")(
      response,
      request,
    );
  const askAll = async (judge: Judge) => {
    const verdicts = await Promise.all(questions.map((question) => judge.ask(question, { signal: live() })));
    await judge.dispose?.();
    return verdicts;
  };

  it("asks nothing when an evaluation is repeated, also in another process, and gives the same verdicts", async () => {
    server = await JudgeServer.start(byPrediction);
    const first = await askAll(judgeOf());
    expect(first.map((verdict) => verdict.kind === "verdict" && verdict.value)).toEqual(
      questions.map((_, n) => 1 - (n % 2)),
    );
    expect(server.seen).toHaveLength(40);
    const again = await askAll(judgeOf());
    expect(server.seen).toHaveLength(40);
    expect(again.map((verdict) => ({ ...verdict, use: null }))).toEqual(
      first.map((verdict) => ({ ...verdict, use: null })),
    );
    for (const { use } of again)
      expect(use).toMatchObject({ requests: 0, promptTokens: null, completionTokens: null, cached: true });
  });

  it.each([
    ["the template", { template: "{problem}: {gold} or {prediction}\n?" }],
    ["the model", { model: "judge-2" }],
    ["the mode", { mode: "released" }],
    ["the length of predictions", { maxPredictionChars: 100 }],
  ] as const)("asks anew where %s has changed", async (_, change) => {
    server = await JudgeServer.start(byPrediction);
    await askAll(judgeOf());
    await askAll(judgeOf(change));
    expect(server.seen).toHaveLength(80);
  });

  it("asks anew for another problem, prediction or gold answer", async () => {
    server = await JudgeServer.start(reply("[[NO]]"));
    const judge = judgeOf();
    for (const change of [{}, { problem: "Which town?" }, { prediction: "Lyon" }, { gold: "paris" }, {}])
      await judge.ask({ ...query, ...change }, { signal: live() });
    // Texts that only together are the same are not the same question.
    await judge.ask({ problem: "ab", prediction: "c", gold: "d" }, { signal: live() });
    await judge.ask({ problem: "a", prediction: "bc", gold: "d" }, { signal: live() });
    expect(server.seen).toHaveLength(6);
  });

  it("keeps no fault: what failed is asked again", async () => {
    server = await JudgeServer.start(status(500), reply("I cannot say"), reply("[[YES]]"));
    const judge = judgeOf();
    const kinds = [];
    for (const _ of [1, 2, 3, 4]) kinds.push((await judge.ask(query, { signal: live() })).kind);
    expect(kinds).toEqual(["failed", "failed", "verdict", "verdict"]);
    expect(server.seen).toHaveLength(3);
  });

  it("asks once for equal questions at the same time, and one that leaves takes nobody along", async () => {
    let answer: (() => void) | null = null;
    server = await JudgeServer.start((response, request) => {
      answer = () => reply("[[YES]]")(response, request);
    });
    const judge = judgeOf();
    const impatient = new AbortController();
    const asked = [impatient.signal, live(), live()].map((signal) => judge.ask(query, { signal }));
    await server.received(1);
    impatient.abort();
    expect(await asked[0]).toMatchObject({ kind: "failed", reason: "the question was cancelled" });
    (answer as (() => void) | null)?.();
    expect(await asked[1]).toMatchObject({ kind: "verdict", value: 1, use: { requests: 0, cached: true } });
    expect((await asked[2])?.kind).toBe("verdict");
    expect(server.seen).toHaveLength(1);
  });

  it("cancels the request when everybody has left", async () => {
    server = await JudgeServer.start(silence);
    const judge = judgeOf();
    const ended = new AbortController();
    const asked = [1, 2].map(() => judge.ask(query, { signal: ended.signal }));
    await server.received(1);
    ended.abort();
    await Promise.all(asked);
    await vi.waitFor(() => expect(server?.open).toBe(0));
  });

  it("keeps conversations apart from verdicts, and by their greatest length", async () => {
    server = await JudgeServer.start(reply("[[YES]]"));
    const judge = judgeOf();
    const messages = [{ role: "user", content: "Count." }] as const;
    for (const maxTokens of [10, 10, 20]) await judge.chat?.(messages, { signal: live(), maxTokens });
    expect(server.seen).toHaveLength(2);
    await judge.ask(query, { signal: live() });
    expect(server.seen).toHaveLength(3);
  });

  it("keeps the key out of the folder", async () => {
    server = await JudgeServer.start(reply("your key is sk-7f3kQz9aV0pL2x: [[YES]]"));
    const judge = judgeOf({ apiKeyEnv: "KEY", environment: { KEY: "sk-7f3kQz9aV0pL2x" } });
    expect(await judge.ask(query, { signal: live() })).toMatchObject({ kind: "verdict", value: 1 });
    await judge.dispose?.();
    const [name = ""] = await readdir(folder);
    const kept = await readFile(join(folder, name), "utf8");
    expect(kept).toContain("[redacted]");
    expect(kept).not.toContain("7f3kQz");
  });
});
