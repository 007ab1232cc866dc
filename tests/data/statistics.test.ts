import { describe, expect, it } from "vitest";
import { nearestRank } from "../../src/algorithms/statistics.js";
import type { Task } from "../../src/contracts/task.js";
import { measurePromptTokens } from "../../src/data/measure.js";
import { dataStatistics } from "../../src/data/statistics.js";
import { WeirError } from "../../src/errors.js";

const task = (length: number, source = "musique"): Task => ({
  id: `t${length}`,
  messages: [{ role: "user", content: "x".repeat(length) }],
  document: null,
  goldAnswers: ["A"],
  source,
  promptTokens: 0,
  meta: {},
});

/** One token per character and one for the generation prompt. */
const tokenizer = {
  applyChatTemplate: (messages: Task["messages"], options: { addGenerationPrompt: boolean }) => ({
    ids: [
      ...messages.flatMap(({ content }) => [...(content ?? "")].map(() => 1)),
      ...(options.addGenerationPrompt ? [2] : []),
    ],
  }),
};

describe("data statistics", () => {
  it("measures the whole templated prompt, the generation prompt included", () => {
    expect(measurePromptTokens([task(9), task(19)], tokenizer).map(({ promptTokens }) => promptTokens)).toEqual([
      10, 20,
    ]);
  });

  it("puts a task on a bound into the lower bucket (Eq. 9) and counts those beyond the last", () => {
    const tasks = measurePromptTokens([task(9), task(19), task(20), task(59), task(60)], tokenizer);
    expect(dataStatistics(tasks, [20, 60]).buckets).toEqual([
      { k: 1, minTokens: 0, maxTokens: 20, count: 2 },
      { k: 2, minTokens: 20, maxTokens: 60, count: 2 },
      { k: null, minTokens: 60, maxTokens: null, count: 1 },
    ]);
  });

  it("counts sources and gives lengths that occur", () => {
    const tasks = [task(1, "b"), task(2, "a"), task(3, "b"), task(10, "b")];
    expect(dataStatistics(tasks, [])).toMatchObject({
      count: 4,
      sources: { a: 1, b: 3 },
      unit: "characters",
      length: { min: 1, p25: 1, p50: 2, p75: 3, p95: 10, max: 10 },
      buckets: [],
    });
    expect(nearestRank([5], 0.5)).toBe(5);
  });

  it("names the task whose messages a template refuses", () => {
    const refusing = {
      applyChatTemplate: () => {
        throw new WeirError("WEIR_E_CHAT_TEMPLATE", "roles must alternate", {});
      },
    };
    expect(() => measurePromptTokens([task(7)], refusing)).toThrow(
      /^WEIR_E_CHAT_TEMPLATE: task "t7": roles must alternate$/,
    );
  });
});
