/** Cutting of prompts that are too long. */
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type CuttingTokenizer, fitPrompt } from "../../src/actors/evaluation/fit-prompt.js";
import { createSamplerResponder } from "../../src/actors/evaluation/sampler-responder.js";
import type { ChatMessage } from "../../src/contracts/task.js";
import { loadTokenizer } from "../../src/model/io/tokenizer.js";
import { createFakeSampler } from "../../src/testing.js";
import { OWN_FIXTURES } from "../helpers/fixtures.js";

/** A token is a character; the template adds two tokens per message. */
const letters: CuttingTokenizer = {
  encode: (text) => [...text].map((c) => c.codePointAt(0) as number),
  decode: (ids) => String.fromCodePoint(...ids),
  applyChatTemplate: (messages) => ({
    ids: [...messages.map(({ content }) => `<${content}>`).join("")].map((c) => c.codePointAt(0) as number),
  }),
};
const user = (content: string): ChatMessage => ({ role: "user", content });

describe("fitPrompt", () => {
  it("leaves a prompt that fits as it is", () => {
    const messages = [user("abcdef")];
    expect(fitPrompt(messages, letters, 8)).toEqual({
      questionTokens: 8,
      fitted: { messages, ids: expect.any(Array) },
    });
  });

  it("keeps the first ⌊m/2⌋ and the last ⌈m/2⌉ tokens of the longest message", () => {
    const { questionTokens, fitted } = fitPrompt([{ role: "system", content: "sys" }, user("0123456789")], letters, 12);
    // 17 tokens, 5 too many: m = 5 of the 10.
    expect(questionTokens).toBe(17);
    expect(fitted?.messages.map(({ content }) => content)).toEqual(["sys", "01789"]);
    expect(fitted?.ids).toHaveLength(12);
  });

  it("takes off what a text grows by when it is encoded again", () => {
    // Encoding what was cut gives one token more at the seam.
    const growing: CuttingTokenizer = {
      ...letters,
      applyChatTemplate: (messages) => {
        const { ids } = letters.applyChatTemplate(messages, { addGenerationPrompt: true });
        return { ids: ids.length < 12 ? [...ids, 0] : ids };
      },
    };
    const { fitted } = fitPrompt([user("0123456789")], growing, 8);
    expect(fitted?.ids).toHaveLength(8);
    expect(fitted?.messages[0]?.content).toBe("01789");
  });

  it("has nothing where the rest of the prompt alone is too long", () => {
    expect(fitPrompt([user("0123456789")], letters, 2).fitted).toBeNull();
  });

  it("keeps the format line of a real prompt, within the limit of a real tokenizer", async () => {
    const tokenizer = await loadTokenizer(join(OWN_FIXTURES, "models", "tiny-qwen2"));
    const prompt = `<text>\n${"Mira lives in Oslo. ".repeat(200)}\n</text>\n\nWhere?\n\nFormat your response as follows: "Therefore, the answer is (insert answer here)".`;
    const { questionTokens, fitted } = fitPrompt([user(prompt)], tokenizer, 200);
    expect(questionTokens).toBeGreaterThan(1000);
    expect(fitted?.ids.length).toBeLessThanOrEqual(200);
    expect(fitted?.ids.length).toBeGreaterThan(195);
    expect(fitted?.messages[0]?.content).toMatch(/^<text>\nMira[\s\S]*\(insert answer here\)"\.$/);
  });
});

describe("a policy behind a sampler", () => {
  it("gives a prompt that cannot be made to fit no response, and asks the others", async () => {
    const responder = createSamplerResponder({
      ...{ sampler: createFakeSampler(), tokenizer: letters, policy: null, maxPromptTokens: 4, deadlineMs: 1_000 },
      sampling: { temperature: 0, topP: 1, topK: 0, maxTokens: 4, stopIds: [0] },
      ...{ questionsPerCall: 4, callsInFlight: 1 },
    });
    const long = { id: "long", messages: [user("ab"), user("cd"), user("ef")], seeds: [1, 2] };
    const replies = await responder.respond([long, { id: "fits", messages: [user("ab")], seeds: [1, 2] }], {
      signal: new AbortController().signal,
    });
    expect(replies[0]).toMatchObject({ questionTokens: 12, promptTokens: null });
    expect(replies[0]?.answers.map(({ kind }) => kind)).toEqual(["unanswered", "unanswered"]);
    expect(replies[1]).toMatchObject({ questionTokens: 4, promptTokens: 4 });
    expect(replies[1]?.answers.map(({ kind }) => kind)).toEqual(["answered", "answered"]);
  });
});
