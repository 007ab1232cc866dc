/** Benchmarks whose answers only a judge can score: CorpusQA, and free-form answers over several documents as in AA-LCR. */
import type { Benchmark, BenchmarkItem, BenchmarkScore, ScoringOptions } from "../contracts/benchmark.js";
import type { Json } from "../contracts/task.js";
import { messagesOf } from "../data/messages.js";
import { promptMessages } from "../data/synthetic/template.js";
import { strip } from "../rewards/text.js";
import { answerOf } from "./answers.js";
import { type RowAt, rowFault, textCell, textsCell } from "./cells.js";
import { idOf } from "./items.js";
import { scoreByJudge } from "./judged.js";
import { problemOf } from "./short-answer.js";

const CORPUS_DOMAINS = ["financial_zh", "financial_en", "education_en", "real_estate_en"] as const;

/** Rows of id, question, answer and prompt (messages); the domain is the beginning of the id. */
export function createCorpusQa(): Benchmark {
  const name = "corpusqa";
  return {
    kind: name,
    specificationVersion: 1,
    needsJudge: true,
    item(row, index) {
      const at = { benchmark: name, row, index };
      const id = idOf(row.id, index);
      return {
        id,
        source: CORPUS_DOMAINS.find((domain) => id.startsWith(domain)) ?? name,
        messages: messagesOf(row.prompt, { file: name, row: index, column: "prompt" }, false),
        golds: [valueCell(at, "answer")],
        meta: { question: textCell(at, "question") },
      };
    },
    score: (item, response, options) => judged(item, statedAnswer(answerOf(response, options.requireThink)), options),
  };
}

/** The rest of the first line with "The answer is: "; the whole answer where there is none, as CorpusQA's own scorer reads it. */
function statedAnswer(answer: string | null): string | null {
  return answer === null ? null : strip(/The answer is: (.*)/.exec(answer)?.[1] ?? answer);
}

/**
 * Rows of question, answer and the documents: `documents`, a list of texts, or `context`, one text. The published rows of AA-LCR name their
 * documents and do not hold them.
 */
export function createAaLcr(): Benchmark {
  const name = "aa_lcr";
  return {
    kind: name,
    specificationVersion: 1,
    needsJudge: true,
    item(row, index) {
      const at = { benchmark: name, row, index };
      const question = textCell(at, "question");
      const { document_category: category } = row;
      return {
        id: idOf(row.question_id, index),
        source: typeof category === "string" && category !== "" ? category : name,
        messages: promptMessages(documentsOf(at), question, "value"),
        golds: [valueCell(at, "answer")],
        meta: { question },
      };
    },
    score: (item, response, options) => judged(item, answerOf(response, options.requireThink), options),
  };
}

function documentsOf(at: RowAt): string {
  if (at.row.documents === undefined && at.row.context !== undefined) return textCell(at, "context");
  const texts = textsCell(at, "documents");
  return texts.map((text, index) => `Document ${index + 1}:\n${text}`).join("\n\n");
}

/** A text or a number. */
function valueCell(at: RowAt, column: string): string {
  const value: Json | undefined = at.row[column];
  if (typeof value === "number") return String(value);
  if (typeof value === "string" && value !== "") return value;
  throw rowFault(at.benchmark, at.index, column, "text or a number", value);
}

/** 1 or 0 as the judge says; 0 without an answer. Unscored where there is no judge or it fails. */
async function judged(
  item: BenchmarkItem,
  prediction: string | null,
  { judge, signal }: ScoringOptions,
): Promise<BenchmarkScore> {
  if (prediction === null || prediction === "")
    return { kind: "scored", value: 0, scores: { judge: 0 }, prediction: null };
  if (judge === null)
    return {
      kind: "unscored",
      code: "WEIR_E_ACTOR_MISSING",
      reason: "only a judge can score it, and none is configured",
    };
  return scoreByJudge({ problem: problemOf(item), prediction, gold: item.golds[0] as string }, judge, signal);
}
