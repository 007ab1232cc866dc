/** A policy behind a chat server: what is sent, and what becomes of each way to give no answer (I1). */
import { describe, expect, it } from "vitest";
import type { Question } from "../../src/contracts/responder.js";
import { type ChatResponderOptions, createChatResponder } from "../../src/remote/chat/chat-responder.js";
import { chatServer, completion } from "../evaluation/chat-server.js";

const question = (content: string, seeds: readonly number[] = [1]): Question => ({
  id: content,
  messages: [{ role: "user", content }],
  seeds,
});
const responderAt = (url: string, over: Partial<ChatResponderOptions> = {}) =>
  createChatResponder({
    ...{ url, model: "policy", secret: null, temperature: 0.7, topP: 0.95, maxTokens: 64 },
    ...{ deadlineMs: 2_000, patienceMs: 0, concurrency: 4, fit: null },
    ...over,
  });
const signal = () => new AbortController().signal;

describe("the chat responder", () => {
  it("asks once per seed under the sampling options, with a seed of its own, and reads text and counts", async () => {
    const server = await chatServer(({ seed }) => completion(`seed ${seed}`));
    const [reply] = await responderAt(server.url).respond([question("hello", [1, 2])], { signal: signal() });
    expect(server.requests[0]).toEqual({
      ...{ model: "policy", messages: [{ role: "user", content: "hello" }], temperature: 0.7, top_p: 0.95 },
      ...{ max_tokens: 64, seed: expect.any(Number), n: 1, stream: false },
    });
    const seeds = server.requests.map(({ seed }) => seed);
    expect(new Set(seeds).size).toBe(2);
    expect(reply).toMatchObject({ questionTokens: 12, promptTokens: 12 });
    expect(
      reply?.answers.map((answer) => (answer.kind === "answered" ? [answer.text, answer.tokens] : null)).sort(),
    ).toEqual(seeds.map((seed) => [`seed ${seed}`, 3]).sort());
  });

  it("puts reasoning that a server gives apart before </think>; one that was cut off has no end", async () => {
    const server = await chatServer(({ messages }) =>
      messages[0]?.content === "whole"
        ? completion("42", { reasoning_content: "six times seven" })
        : { choices: [{ message: { content: null, reasoning: "six ti" }, finish_reason: "length" }] },
    );
    const replies = await responderAt(server.url).respond([question("whole"), question("cut")], { signal: signal() });
    expect(replies.map(({ answers }) => answers[0])).toEqual([
      { kind: "answered", text: "<think>\nsix times seven\n</think>\n\n42", tokens: 3, finish: "stop" },
      { kind: "answered", text: "<think>\nsix ti", tokens: null, finish: "length" },
    ]);
  });

  it("I1: a refusal, an endless wait, a broken answer and an empty message are no responses", async () => {
    const server = await chatServer(({ messages }, response) => {
      switch (messages[0]?.content) {
        case "too long":
          response.statusCode = 400;
          return { error: { message: "the prompt has 200000 tokens" } };
        case "slow":
          return null;
        case "broken":
          response.end("<html>");
          return null;
        default:
          return completion(null);
      }
    });
    const asked = ["too long", "slow", "broken", "empty"].map((text) => question(text));
    const replies = await responderAt(server.url, { deadlineMs: 150 }).respond(asked, { signal: signal() });
    const answers = replies.map(({ answers: [answer] }) => answer);
    expect(answers.map((answer) => answer?.kind)).toEqual(Array(4).fill("unanswered"));
    expect(answers[0]).toMatchObject({ code: "WEIR_E_REMOTE", reason: expect.stringContaining("200000 tokens") });
    expect(answers[1]).toMatchObject({
      code: "WEIR_E_UNREACHABLE",
      reason: expect.stringContaining("no answer within 150 ms"),
    });
    expect(answers[2]).toMatchObject({ code: "WEIR_E_REMOTE", reason: expect.stringContaining("no JSON") });
    expect(answers[3]).toMatchObject({ code: "WEIR_E_REMOTE", reason: "the server's message has no content" });
  });

  it("ends with an error where every question would fail: a wrong key, a model that is not there, a server that is away", async () => {
    const server = await chatServer((_, response, raw) => {
      response.statusCode = raw.headers.authorization === "Bearer right-key" ? 404 : 401;
      return { error: { message: `refused ${raw.headers.authorization}` } };
    });
    const ask = (over: Partial<ChatResponderOptions>) =>
      responderAt(server.url, over).respond([question("x")], { signal: signal() });
    const wrong = await ask({ secret: "wrong-key" }).catch((error: Error) => error.message);
    expect(wrong).toMatch(/WEIR_E_REMOTE.*status 401/);
    expect(wrong).not.toContain("wrong-key");
    await expect(ask({ secret: "right-key" })).rejects.toThrow(/status 404/);
    server.close();
    await expect(ask({})).rejects.toThrow(/WEIR_E_UNREACHABLE/);
  });

  it("waits out a server that is busy", async () => {
    let busy = 2;
    const server = await chatServer((_, response) => {
      if (busy-- <= 0) return completion("there");
      response.statusCode = 429;
      response.setHeader("retry-after", "0");
      return {};
    });
    const [reply] = await responderAt(server.url, { patienceMs: 5_000 }).respond([question("x")], { signal: signal() });
    expect(reply?.answers[0]).toMatchObject({ kind: "answered", text: "there" });
  });

  it("keeps to its number of requests, and ends them with the signal", async () => {
    const release: (() => void)[] = [];
    const server = await chatServer(
      ({ messages }) =>
        new Promise<object>((resolve) => {
          if (messages[0]?.content === "stay") return;
          release.push(() => resolve(completion("ok")));
          if (release.length === 3) for (const go of release.splice(0)) go();
        }),
    );
    const responder = responderAt(server.url, { concurrency: 3 });
    await responder.respond([question("a", [1, 2, 3, 4, 5, 6])], { signal: signal() });
    expect(server.most()).toBe(3);
    const controller = new AbortController();
    const ended = responder.respond([question("stay", [1, 2, 3, 4])], { signal: controller.signal });
    controller.abort(new Error("stopped"));
    await expect(ended).rejects.toThrow("stopped");
  });

  it("counts and cuts with a tokenizer where one is given; what cannot be made to fit is no response", async () => {
    const server = await chatServer(({ messages }) => completion(messages[0]?.content ?? ""));
    const fit = {
      measure: () => 30,
      fit: (messages: Question["messages"]) =>
        messages[0]?.content === "hopeless"
          ? null
          : { messages: [{ role: "user", content: "cut" } as const], tokens: 20 },
    };
    const replies = await responderAt(server.url, { fit }).respond([question("long"), question("hopeless")], {
      signal: signal(),
    });
    expect(replies[0]).toMatchObject({ questionTokens: 30, promptTokens: 20, answers: [{ text: "cut" }] });
    expect(replies[1]).toMatchObject({
      promptTokens: null,
      answers: [{ kind: "unanswered", code: "WEIR_E_PROMPT_TOO_LONG" }],
    });
    expect(server.requests).toHaveLength(1);
  });
});
