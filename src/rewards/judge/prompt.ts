/** The prompt of the judge. The protocol is the paper's (problem, two answers, [[YES]] or [[NO]]); the words are weir's. */
import type { JudgeQuery } from "../../contracts/judge.js";
import type { ChatMessage } from "../../contracts/task.js";

const INSTRUCTIONS = [
  "You check whether two answers to the same problem mean the same.",
  "You are given the problem and two answers. Do not solve the problem and do not ask which answer is correct: compare their meaning only.",
  "Different notations, units written out or abbreviated, word order and extra politeness do not matter; a different quantity, name, date or choice does.",
  "Explain your comparison in one or two sentences. Then, on a line of its own, write [[YES]] if the answers are equivalent and [[NO]] if they are not.",
].join("\n");

/** The chat messages of a query. Answer 1 is the prediction, Answer 2 the gold answer. */
export function judgeMessages(query: JudgeQuery): ChatMessage[] {
  return [
    { role: "system", content: INSTRUCTIONS },
    {
      role: "user",
      content: `Problem: ${query.problem}\nAnswer 1: ${query.prediction}\nAnswer 2: ${query.gold}`,
    },
  ];
}
