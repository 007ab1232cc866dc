import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ChatMessage, Task } from "../../src/contracts/task.js";
import { loadFactBook } from "../../src/data/synthetic/fact-book.js";
import {
  demonstration,
  demonstrationStyle,
  generateTasks,
  type SyntheticOptions,
  verlRow,
} from "../../src/data/synthetic/index.js";
import { bucketSuffix } from "../../src/data/synthetic/options.js";

/** One token per word: enough where only order and growth of lengths matter. */
const words = (messages: readonly ChatMessage[]): number =>
  messages.reduce((sum, message) => sum + (message.content ?? "").split(/\s+/).length, 0);

const make = (options: Partial<SyntheticOptions> = {}): Task[] =>
  generateTasks({ seed: 1, count: 20, split: "train", length: { facts: [12, 20] }, countTokens: words, ...options });

/** What a reader takes from a document: subject and noun of each sentence to its value. Knows nothing of the generator. */
function readDocument(text: string): Map<string, string> {
  const facts = new Map<string, string>();
  for (const match of text.matchAll(/The ((?:[a-z]+ )*?[a-z]+) of (.+?) is (.+?)\.(?= The |\n|$)/g)) {
    facts.set(`${match[1]} | ${match[2]}`, match[3] as string);
  }
  return facts;
}

/** Answers a chain question by looking up the innermost phrase again and again. */
function solveChain(document: string, question: string): string | undefined {
  const facts = readDocument(document);
  const parts = (question.split("\n")[0] as string)
    .replace(/^What is the /, "")
    .replace(/\?$/, "")
    .split(" of the ");
  const [lastNoun, ...name] = (parts.pop() as string).split(" of ");
  let subject: string | undefined = facts.get(`${lastNoun} | ${name.join(" of ")}`);
  for (const noun of parts.reverse()) subject = subject === undefined ? undefined : facts.get(`${noun} | ${subject}`);
  return subject;
}

function solveNumber(document: string, question: string): string {
  const areas = new Map(
    [...readDocument(document)]
      .filter(([key]) => key.startsWith("area | "))
      .map(([key, value]) => [key.slice("area | ".length), Number(value.replace(" square kilometres", ""))]),
  );
  const larger = question.match(/^By how many square kilometres is (.+) larger than (.+)\?$/);
  if (larger) return String((areas.get(larger[1] as string) ?? 0) - (areas.get(larger[2] as string) ?? 0));
  const listed = question.match(/area of (.+) in square kilometres/)?.[1] as string;
  const asked = [...areas.keys()].filter((name) =>
    `, ${listed.replace(/ and (?=[^,]+$)/, ", ")}, `.includes(`, ${name}, `),
  );
  return String(asked.reduce((sum, name) => sum + (areas.get(name) as number), 0));
}

/** The question as it stands in the prompt: what lies between the document and the format line. */
function questionOf(task: Task): string {
  const content = task.messages[0]?.content as string;
  return content.split("</text>")[1]?.split("Format your response as follows:")[0]?.trim() as string;
}

describe("generator of long-document questions", () => {
  it("gives the same tasks for the same options, and task i does not depend on the count", () => {
    expect(make()).toEqual(make());
    expect(make({ count: 5 })).toEqual(make({ count: 20 }).slice(0, 5));
    expect(make({ seed: 2 })[0]?.document).not.toEqual(make()[0]?.document);
  });

  it("keeps names of train and held-out apart, in both the plain and the full fact set", () => {
    for (const plainNames of [true, false]) {
      const kinds = ["city", "language", "currency", "people", "country"] as const;
      const names = (["train", "heldout"] as const).map((split) => {
        const book = loadFactBook(split, plainNames);
        const values = kinds.flatMap((kind) => book.values.get(kind) ?? []);
        return new Set([...book.countries.map((country) => country.name), ...values]);
      });
      const [train, heldout] = names as [Set<string>, Set<string>];
      expect(heldout.size).toBeGreaterThan(90);
      expect([...heldout].filter((name) => train.has(name))).toEqual([]);
    }
  });

  it.each([1, 2, 3])("asks %i-hop questions that a reader of the document alone can answer", (hops) => {
    for (const split of ["train", "heldout"] as const) {
      for (const task of make({ hops: [hops, hops], split })) {
        const solved = solveChain(task.document as string, questionOf(task));
        expect(task.goldAnswers[0] as string).toBe(`Therefore, the answer is ${solved}.`);
        expect((task.meta.evidence as string[]).length).toBe(hops);
      }
    }
  });

  it("asks two-hop questions about real facts that hold of the world", () => {
    const tasks = make({ permute: false, count: 40, relations: ["capital", "largestNeighbour"] });
    const facts = new Map(tasks.flatMap((task) => [...readDocument(task.document as string)]));
    expect(facts.get("largest neighbour | Spain") ?? "France").toBe("France");
    expect(facts.get("capital | France") ?? "Paris").toBe("Paris");
    for (const task of tasks) {
      expect(task.goldAnswers[0] as string).toContain(solveChain(task.document as string, questionOf(task)) as string);
    }
  });

  it("gives the facts other owners when they are permuted", () => {
    const real = loadFactBook("train", false);
    const capitals = new Map(real.countries.map((country) => [country.name, country.facts.get("capital")]));
    const stated = make({ count: 40 }).flatMap((task) =>
      [...readDocument(task.document as string)].filter(([key]) => key.startsWith("capital | ")),
    );
    const unchanged = stated.filter(([key, value]) => capitals.get(key.slice("capital | ".length)) === value);
    expect(stated.length).toBeGreaterThan(40);
    expect(unchanged.length / stated.length).toBeLessThan(0.1);
  });

  it.each([1, 2, 3])("asks for numbers that %i facts give", (hops) => {
    for (const task of make({ family: "numeric", hops: [hops, hops], permute: false, length: { facts: [20, 30] } })) {
      const answer = solveNumber(task.document as string, questionOf(task));
      expect(task.goldAnswers[0] as string).toBe(`Therefore, the answer is ${answer}.`);
      if (hops > 1) expect(demonstration(task, "quoting")).toContain(`= ${answer}.\n</think>`);
    }
  });

  it("offers four different options of which the gold letter is the right one", () => {
    const letters = new Set<string>();
    for (const task of make({ family: "multiple-choice", count: 40 })) {
      const question = questionOf(task);
      const options = new Map([...question.matchAll(/^\(([A-D])\) (.+)$/gm)].map((match) => [match[1], match[2]]));
      const letter = (task.goldAnswers[0] as string).match(/^The correct answer is \(([A-D])\)\.$/)?.[1];
      expect(new Set(options.values()).size).toBe(4);
      expect(options.get(letter)).toBe(solveChain(task.document as string, question));
      letters.add(letter as string);
    }
    expect([...letters].sort()).toEqual(["A", "B", "C", "D"]);
  });

  it("puts a prompt into the one-message template", () => {
    const [task] = make({ count: 1 });
    expect(task?.messages.length).toBe(1);
    expect(task?.messages[0]?.role).toBe("user");
    expect(task?.messages[0]?.content).toMatch(
      /^[^\n]+\n\n<text>\n[^<]+\n<\/text>\n\nWhat is [^\n]+\?\n\nFormat your response as follows: "Therefore, the answer is \(insert answer here\)"\.$/,
    );
    const [choice] = make({ count: 1, family: "multiple-choice" });
    expect(choice?.messages[0]?.content).toContain('"The correct answer is (A/B/C/D)".');
  });

  it("names the family and the length bucket in the data source", () => {
    const edges = { bucketEdges: [20, 100000] };
    expect(make({ ...edges })[0]?.source).toBe("synthetic_musique_20_100000");
    expect(make({ ...edges, family: "numeric", permute: false })[0]?.source).toBe("synthetic_docmath_20_100000");
    expect(make({ ...edges, family: "multiple-choice" })[0]?.source).toBe("synthetic_long_toc_choices_20_100000");
    expect([1, 20, 21, 200, 201].map((tokens) => bucketSuffix(tokens, [20, 200]))).toEqual([
      "_0_20",
      "_0_20",
      "_20_200",
      "_20_200",
      "_200_plus",
    ]);
  });

  it("meets the dials for facts, hops and tokens", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 3, max: 40 }),
        fc.integer({ min: 1, max: 3 }),
        fc.nat(1000),
        (facts, hops, seed) => {
          const [task] = make({ seed, count: 1, length: { facts: [facts, facts] }, hops: [hops, hops] });
          expect(readDocument(task?.document as string).size).toBe(facts);
          expect(task?.meta.hops).toBe(hops);
        },
      ),
      { numRuns: 60 },
    );
    for (const tokens of [[100, 140] as const, [600, 660] as const, [2000, 2200] as const]) {
      for (const task of make({ length: { tokens } })) {
        expect(task.promptTokens).toBe(words(task.messages));
        expect(task.promptTokens).toBeGreaterThanOrEqual(tokens[0]);
        expect(task.promptTokens).toBeLessThanOrEqual(tokens[1]);
      }
    }
  });

  it("raises the share of distractors about the evidence when asked", () => {
    const nearness = (nearDistractors: number): number => {
      const shares = make({ nearDistractors, count: 40, length: { facts: [16, 16] } }).map((task) => {
        const relations = (task.meta.evidence as string[]).map((sentence) => sentence.split(" of ")[0] as string);
        const sentences = (task.document as string).split(/(?<=\.) /);
        return sentences.filter((sentence) => relations.some((noun) => sentence.startsWith(noun))).length / 16;
      });
      return shares.reduce((sum, share) => sum + share, 0) / shares.length;
    };
    expect(nearness(1)).toBeGreaterThan(nearness(0) + 0.1);
  });

  it("refuses dials that cannot be met, and says which", () => {
    expect(() => make({ hops: [3, 2] })).toThrow(/WEIR_E_CONFIG.*hops/);
    expect(() => make({ nearDistractors: 2 })).toThrow(/WEIR_E_CONFIG.*nearDistractors/);
    expect(() => make({ family: "poem" as never })).toThrow(/WEIR_E_CONFIG.*family.*multi-hop/);
    expect(() => make({ relations: ["mayor" as never] })).toThrow(/WEIR_E_CONFIG.*relations/);
    expect(() => make({ length: { facts: [1, 1] }, hops: [2, 2] })).toThrow(/WEIR_E_DATA.*at least 2 facts/);
    expect(() => make({ length: { facts: [9000, 9000] } })).toThrow(/WEIR_E_DATA.*shorter documents/);
    expect(() => make({ relations: ["capital"], hops: [2, 2] })).toThrow(/WEIR_E_DATA.*fewer hops or more relations/);
  });
});

describe("demonstrations", () => {
  it("quote the evidence before the answer, or answer at once", () => {
    const [task] = make({ count: 1 }) as [Task];
    const evidence = (task.meta.evidence as string[]).join(" ");
    expect(demonstration(task, "quoting")).toBe(`${evidence}\n</think>\n\n${task.goldAnswers[0] as string}`);
    expect(demonstration(task, "direct")).toBe(`</think>\n\n${task.goldAnswers[0] as string}`);
    expect(task.document).toContain((task.meta.evidence as string[])[0]);
  });

  it("stand without tags in the plain form, evidence and working before the answer", () => {
    const [task] = make({ count: 1 }) as [Task];
    const evidence = (task.meta.evidence as string[]).join(" ");
    expect(demonstration(task, "quoting", "plain")).toBe(`${evidence} ${task.goldAnswers[0] as string}`);
    expect(demonstration(task, "direct", "plain")).toBe(task.goldAnswers[0] as string);
    const [sum] = make({ count: 1, family: "numeric", permute: false }) as [Task];
    expect(demonstration(sum, "quoting", "plain")).toContain(` ${sum.meta.working} ${sum.goldAnswers[0] as string}`);
  });

  it("take the direct style as often as asked, fixed by seed and task", () => {
    const tasks = make({ count: 400 });
    const styles = tasks.map((task) => demonstrationStyle(task, 0.75, 3));
    expect(styles).toEqual(tasks.map((task) => demonstrationStyle(task, 0.75, 3)));
    const share = styles.filter((style) => style === "direct").length / styles.length;
    expect(Math.abs(share - 0.75)).toBeLessThan(0.08);
  });

  it("are refused for tasks without evidence", () => {
    const [task] = make({ count: 1 }) as [Task];
    expect(() => demonstration({ ...task, meta: {} }, "direct")).toThrow(/WEIR_E_DATA/);
  });
});

describe("verl rows", () => {
  it("carry the columns of the released data", () => {
    const [task] = make({ count: 1 }) as [Task];
    const row = verlRow(task);
    expect(Object.keys(row)).toEqual(["data_source", "prompt", "ability", "reward_model", "extra_info"]);
    expect(row.ability).toBe("doc-qa");
    expect(row.reward_model).toEqual({ style: "rule", ground_truth: task.goldAnswers[0] as string });
    expect(row.extra_info).toMatchObject({ index: 0, reasoning_hop: 2, input_length: task.promptTokens });
  });
});
