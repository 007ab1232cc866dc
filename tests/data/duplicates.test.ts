import { describe, expect, it } from "vitest";
import { type ComparedTask, DuplicateIndex } from "../../src/data/duplicates.js";

const document = (name: string) =>
  Array.from({ length: 200 }, (_, i) => `${name} fact ${i} is ${name}${i * 7}.`).join(" ");
const task = (id: string, text: string, question: string | null, gold = "Oslo"): ComparedTask => ({
  id,
  text: question === null ? text : `${text} ${question}`,
  question,
  goldAnswers: [`Therefore, the answer is ${gold}.`],
});

function index(...tasks: ComparedTask[]): DuplicateIndex {
  const made = new DuplicateIndex(0.8);
  for (const one of tasks) made.add(one);
  return made;
}

const A = document("alpha");

describe("duplicates", () => {
  const known = index(
    task("first", A, "Where was Ada born?"),
    task("second", A, "When was Bo born?"),
    task("b", document("beta"), "Who?"),
  );

  it("are exact where the words are the same, whatever case, spaces and punctuation", () => {
    expect(known.find(task("x", A.toUpperCase().replaceAll(".", " ,"), "where was Ada born"))).toEqual({
      ...{ kind: "exact", of: "first", similarity: 1, conflicting: false },
    });
  });

  it("are near where question and most of the document are the same", () => {
    const found = known.find(task("x", `${A} One more sentence at the end.`, "When was Bo born?"));
    expect(found).toMatchObject({ kind: "near", of: "second", conflicting: false });
    expect(found?.similarity).toBeGreaterThan(0.95);
  });

  it("are of the same document where only the question is another one", () => {
    expect(known.find(task("x", A, "Which river is longest?", "Rhine"))).toMatchObject({
      ...{ kind: "document", conflicting: false },
    });
  });

  it("are none where the document is another one, also with the same question", () => {
    expect(known.find(task("x", document("gamma"), "Where was Ada born?"))).toBeNull();
  });

  it("conflict where the same question has another gold answer", () => {
    expect(known.find(task("x", A, "Where was Ada born?", "Rome"))).toMatchObject({ kind: "exact", conflicting: true });
    expect(known.find(task("x", `${A} More.`, "Where was Ada born?", "Rome"))).toMatchObject({
      ...{ kind: "near", conflicting: true },
    });
  });

  it("are found by the whole text where questions cannot be told apart", () => {
    const plain = index(task("p", A, null));
    expect(plain.find(task("x", `${A} More.`, null))).toMatchObject({ kind: "near", of: "p" });
    expect(plain.find(task("x", "What?", null))).toBeNull();
    expect(index().find(task("x", A, null))).toBeNull();
  });
});
