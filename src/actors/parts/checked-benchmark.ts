/**
 * Owns the check of what benchmarks give. A scorer that throws leaves its response `unscored`, with the part's name (I1); a score that
 * is none at all ends the evaluation with WEIR_E_PART.
 */
import type { Benchmark, BenchmarkItem, BenchmarkScore } from "../../contracts/benchmark.js";
import { WeirError } from "../../errors.js";
import { callPart, faced, isFiniteNumber, isRecord, type PartLabel, partError, shown, thrown } from "./part-errors.js";

const ITEM =
  "item(row, index) returns at once { id: non-empty text, source: non-empty text, messages: one or more of { role, content }, golds: one or more texts, meta: object }, or throws WEIR_E_DATA";
const SCORE =
  'score() resolves to { kind: "scored", value: number in [0, 1], scores: { name: finite number }, prediction: text or null } or ' +
  '{ kind: "unscored", code, reason }';

const isText = (value: unknown): value is string => typeof value === "string";

function itemFault(item: unknown): string | null {
  if (!isRecord(item)) return `gave ${shown(item)} as an item`;
  const { id, source, messages, golds, meta } = item;
  if (!isText(id) || id === "") return `gave an item with the id ${shown(id)}`;
  if (!isText(source) || source === "") return `gave an item with the source ${shown(source)}`;
  const read = (message: unknown) => isRecord(message) && isText(message.role) && isText(message.content);
  if (!Array.isArray(messages) || messages.length === 0 || !messages.every(read))
    return `gave an item with the messages ${shown(messages)}`;
  if (!Array.isArray(golds) || golds.length === 0 || !golds.every(isText))
    return `gave an item with the golds ${shown(golds)}`;
  return isRecord(meta) ? null : `gave an item with the meta ${shown(meta)}`;
}

function scoreFault(score: unknown): string | null {
  if (!isRecord(score)) return `gave ${shown(score)} as a score`;
  if (score.kind === "unscored") {
    if (!isText(score.code) || score.code === "") return `left a response unscored with the code ${shown(score.code)}`;
    return isText(score.reason) ? null : `left a response unscored with the reason ${shown(score.reason)}`;
  }
  if (score.kind !== "scored") return `gave a score of the unknown kind ${shown(score.kind)}`;
  const { value, scores, prediction } = score;
  if (!isFiniteNumber(value) || value < 0 || value > 1) return `scored with the value ${shown(value)}`;
  if (!isRecord(scores)) return `scored with scores ${shown(scores)}`;
  for (const [name, one] of Object.entries(scores))
    if (!isFiniteNumber(one)) return `scored with "${name}" = ${shown(one)}`;
  return prediction === null || isText(prediction) ? null : `scored with the prediction ${shown(prediction)}`;
}

export function checkedBenchmark(benchmark: Benchmark, label: PartLabel): Benchmark {
  return faced(benchmark, {
    item(row, index): BenchmarkItem {
      const item = callPart(label, "item()", ITEM, () => benchmark.item(row, index));
      const fault = itemFault(item);
      if (fault !== null) throw partError(label, `${fault} for row ${index}`, ITEM);
      return item;
    },
    async score(item, response, options): Promise<BenchmarkScore> {
      let score: BenchmarkScore;
      try {
        score = await benchmark.score(item, response, options);
      } catch (error) {
        if (options.signal.aborted || WeirError.isInstance(error)) throw error;
        const reason = `the benchmark part "${label.name}" threw: ${thrown(error)}`;
        return { kind: "unscored", code: "WEIR_E_PART", reason };
      }
      const fault = scoreFault(score);
      if (fault !== null) throw partError(label, `${fault} for item ${item.id}`, SCORE);
      return score;
    },
  });
}
