import { describe, expect, it } from "vitest";
import { readTasks } from "../../src/data/read-tasks.js";
import { scoreByRule } from "../../src/rewards/rule.js";
import { failure } from "../helpers/errors.js";

/** Files made after public bug reports; each right value is that of a reference reader (pyarrow, LongBench's scorer) or of a plain reading. */
const fixture = (name: string) => new URL(`../fixtures/cases/${name}`, import.meta.url).pathname;
const golds = async (name: string) => (await readTasks(fixture(name))).map(({ goldAnswers }) => goldAnswers);
const sentence = (answer: string) => `Therefore, the answer is ${answer}.`;

async function scores(name: string, ...responses: string[]): Promise<number[]> {
  const [task] = await readTasks(fixture(name));
  if (!task) throw new Error("the file has a task");
  return responses.map(
    (answer) =>
      scoreByRule(
        { source: task.source, response: `</think>${sentence(answer)}`, goldAnswers: task.goldAnswers },
        { mode: "paper", requireThink: true },
      ).score,
  );
}

describe("files that were once read wrongly", () => {
  it("gold numbers keep their value", async () => {
    expect(await golds("04-gold-numbers/docmath-exponent.json")).toEqual([[sentence("0.0000001")]]);
    expect(await scores("04-gold-numbers/docmath-exponent.json", "0.0000001", "1")).toEqual([1, 0]);
    expect(await golds("04-gold-numbers/docmath-large.json")).toEqual([[sentence("2500000000000000000000")]]);
    expect(await golds("04-gold-numbers/gold-f32.parquet")).toEqual([[sentence("0.1")], [sentence("2.5")]]);
    expect(await golds("04-gold-numbers/gold-date.parquet")).toEqual([[sentence("2024-05-01")]]);
  });

  it("an integer gold is one that the rule can read", async () => {
    const expected = ["5", "-7", "9007199254740993"].map((answer) => [sentence(answer)]);
    expect(await golds("05-gold-without-sentence/gold-int.parquet")).toEqual(expected);
    expect(await scores("05-gold-without-sentence/gold-int.parquet", "5", "6")).toEqual([1, 0]);
  });

  it("every accepted answer of LongBench counts, as in its own scorer", async () => {
    expect(await scores("06-longbench/two-answers.jsonl", "City of Paris", "Paris", "Rome")).toEqual([1, 1, 0]);
    expect(await scores("06-longbench/first-is-long.jsonl", "NYC", "New York", "York")).toEqual([1, 1, 0]);
  });

  it("calls of tools reach the template", async () => {
    const [task] = await readTasks(fixture("14-message-fields-dropped/tool-calls.jsonl"));
    expect(task?.messages[1]).toEqual({
      role: "assistant",
      content: "",
      tool_calls: [{ type: "function", function: { name: "f", arguments: { city: "Paris" } } }],
    });
  });

  it("Latin-1 is told, gzip is read", async () => {
    const error = await failure(() => readTasks(fixture("15-file-encoding/latin1.jsonl")), "WEIR_E_DATA");
    expect(error.message).toMatch(/latin1\.jsonl: line 1 is not UTF-8/);
    expect(await golds("15-file-encoding/tasks.jsonl.gz")).toEqual([[sentence("Paris")]]);
  });
});
