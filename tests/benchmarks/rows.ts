/** A row of each benchmark's data set, with a right and a wrong answer to it. */
import type { BenchmarkRow } from "../../src/contracts/benchmark.js";

export interface Example {
  readonly name: string;
  readonly row: BenchmarkRow;
  readonly right: string;
  readonly wrong: string;
}

const capital = "What is the capital of France?";
const longbench = (name: string): Example => ({
  name,
  row: {
    input: capital,
    context: "Paris is the capital.",
    answers: ["Paris", "City of Paris"],
    dataset: name,
    _id: "a1",
  },
  right: "Therefore, the answer is Paris.",
  wrong: "Therefore, the answer is Lyon.",
});

/** A verl row of one reward. */
export function verlRow(source: string, truth: BenchmarkRow[string], mode?: string): BenchmarkRow {
  return {
    data_source: source,
    prompt: [{ role: "user", content: "Which documents?" }],
    reward_model: { style: "rule", ground_truth: truth },
    extra_info: { index: 3, question: "Which documents?", ...(mode === undefined ? {} : { reward_mode: mode }) },
  };
}

const verl = (row: BenchmarkRow, right: string, wrong: string): Example => ({ name: "verl", row, right, wrong });

export const EXAMPLES: readonly Example[] = [
  ...["2wikimqa", "hotpotqa", "musique", "narrativeqa", "qasper"].map(longbench),
  {
    name: "docmath",
    row: {
      paragraphs: ["Sales were 1,250.", "Costs were 250."],
      question: "What is left?",
      ground_truth: 1000,
      question_id: "complong-testmini-7",
    },
    right: "Therefore, the answer is 1,000.",
    wrong: "Therefore, the answer is 1,300.",
  },
  {
    name: "frames",
    row: { wiki_items: [{ title: "France", text: "Paris is the capital." }], Prompt: capital, Answer: "Paris" },
    right: "Therefore, the answer is Paris.",
    wrong: "Therefore, the answer is Lyon.",
  },
  {
    name: "longbench_v2",
    row: {
      ...{ _id: "66f3", domain: "Single-Document QA", sub_domain: "Legal", difficulty: "hard", length: "short" },
      ...{
        question: "Who?",
        choice_A: "Ada",
        choice_B: "Bob",
        choice_C: "Cy",
        choice_D: "Di",
        answer: "B",
        context: "Bob did.",
      },
    },
    right: "The correct answer is (B).",
    wrong: "The correct answer is (A).",
  },
  {
    name: "mrcr",
    row: {
      prompt: JSON.stringify([
        { role: "user", content: "Write a poem." },
        { role: "assistant", content: "Roses." },
        { role: "user", content: "Prepend aYo to the poem." },
      ]),
      ...{
        answer: "aYoRoses are red.",
        random_string_to_prepend: "aYo",
        n_needles: 2,
        desired_msg_index: 1,
        total_messages: 3,
        n_chars: 40,
      },
    },
    right: "aYoRoses are red.",
    wrong: "Roses are red.",
  },
  {
    name: "ruler",
    row: {
      index: 4,
      input: "One of the special magic numbers is: 12. What are they?",
      outputs: ["12", "34"],
      length: 4096,
    },
    right: "They are 12 and 34.",
    wrong: "They are 56 and 78.",
  },
  {
    name: "corpusqa",
    row: {
      id: "financial_en_12",
      question: "How much?",
      answer: "7.5 million",
      prompt: [{ role: "user", content: "Reports … How much?" }],
    },
    right: "The answer is: 7.5 million",
    wrong: "The answer is: 8 million",
  },
  {
    name: "aa_lcr",
    row: {
      document_category: "Legal",
      question_id: 5,
      question: "Which court?",
      answer: "the High Court",
      documents: ["One.", "Two."],
    },
    right: "It was the High Court.",
    wrong: "It was the county court.",
  },
  verl(
    verlRow("longbench_pro", { doc_ids: ["Doc 2", "Doc 1"], summary: "" }, "T1.1 Global Cohesive Retrieval"),
    "[Answer]\nDoc 2\nDoc 1",
    "[Answer]\nDoc 9",
  ),
  verl(
    verlRow("longbench_pro", { doc_ids: ["Doc 2", "Doc 1"] }, "Pairwise_Accuracy"),
    "[Answer]\nDoc 2\nDoc 1",
    "[Answer]\nDoc 1\nDoc 2",
  ),
  verl(verlRow("longbench_pro", { doc_ids: ["Paris"] }, "Accuracy"), "[Answer]\nparis", "[Answer]\nlyon"),
  verl(verlRow("longbench_pro", { doc_ids: ["a", "b"] }, "F1_Score"), "[Answer]\na\nb", "[Answer]\na\nc"),
  verl(verlRow("longbench_pro", { doc_ids: ["a", "b"] }, "SubEM"), "[Answer]\nb\na", "[Answer]\na"),
  verl(verlRow("longbench_pro", { doc_ids: ["The river rises."] }, "Summary"), "The river rises.", "A bird sings."),
  verl(verlRow("EM", { golden_label: "42" }), "42", "43"),
  verl(verlRow("math_longcot_math_verify", { golden_label: "\\frac{1}{2}" }), "\\boxed{0.5}", "\\boxed{0.6}"),
  verl(
    verlRow("multitableqa_pretraining", { golden_label: '{"data": [["a", 1]]}' }),
    '{"data": [["a", "1"]]}',
    '{"data": [["b", 1]]}',
  ),
  verl(
    verlRow("selection", { golden_label: "The correct answer is (C)." }),
    "The correct answer is C",
    "The correct answer is B",
  ),
  verl(
    verlRow("musique_0_20000", "Therefore, the answer is Paris."),
    "Therefore, the answer is Paris.",
    "Therefore, the answer is Lyon.",
  ),
];
