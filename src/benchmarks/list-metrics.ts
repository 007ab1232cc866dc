/**
 * The rewards of LongBench-Pro and GoLongRL over answers in lines. The prediction is what follows the last "[Answer]"; each line is an answer,
 * empty ones too. Lines and gold answers are compared in lower case, with single spaces.
 */
import { squeezeSpaces, strip } from "../rewards/text.js";

const MARKS = ["[Answer]", "[答案]"] as const;

/** The text after the last "[Answer]", else after the last "[答案]", else all of it. */
export function answerArea(text: string): string {
  const mark = MARKS.find((one) => text.includes(one));
  return strip(mark === undefined ? text : text.slice(text.lastIndexOf(mark) + mark.length));
}

export const normalLine = (text: string): string => squeezeSpaces(text.toLowerCase());

/** Both sides as the metrics below take them. */
export function linesOf(response: string): readonly string[] {
  return answerArea(response).split("\n").map(normalLine);
}

type Lines = readonly string[];

/** 1 where the first line is the first gold answer. */
export function firstLineAccuracy(found: Lines, golds: Lines): number {
  return found[0] === golds[0] ? 1 : 0;
}

/** F1 of two sets. */
export function setF1(found: Lines, golds: Lines): number {
  const [predicted, wanted] = [new Set(found), new Set(golds)];
  const common = [...wanted].filter((gold) => predicted.has(gold)).length;
  if (common === 0) return 0;
  const [precision, recall] = [common / predicted.size, common / wanted.size];
  return (2 * precision * recall) / (precision + recall);
}

/** Share of the gold answers that are a line. */
export function subExactMatch(found: Lines, golds: Lines): number {
  return golds.filter((gold) => found.includes(gold)).length / golds.length;
}

/**
 * NDCG@k with k gold answers: gold answer i of k (from 0) gains k − i, rank r (from 1) discounts by log2(r + 1). A line that occurs twice
 * has the rank of its last place.
 */
export function ndcg(found: Lines, golds: Lines): number {
  const gains = new Map(golds.map((gold, index) => [gold, golds.length - index]));
  const ranked = withLastPlaces(found).slice(0, golds.length);
  const best = [...gains.values()].sort((a, b) => b - a);
  return discounted(ranked.map((line) => gains.get(line) ?? 0)) / discounted(best);
}

function withLastPlaces(lines: Lines): Lines {
  const last = new Map(lines.map((line, index) => [line, index]));
  return lines.filter((line, index) => last.get(line) === index);
}

const discounted = (gains: readonly number[]): number =>
  gains.reduce((sum, gain, index) => sum + gain / Math.log2(index + 2), 0);

/** Pairs of gold answers that stand in their order among the lines, divided by the pairs of lines; at most 1. */
export function pairwiseAccuracy(found: Lines, golds: Lines): number {
  if (golds.length <= 1 || found.length <= 1) return 0;
  const places = new Map(found.map((line, index) => [line, index]));
  let ordered = 0;
  for (const [index, first] of golds.entries())
    for (const second of golds.slice(index + 1)) {
      const [a, b] = [places.get(first), places.get(second)];
      if (a !== undefined && b !== undefined && a < b) ordered++;
    }
  return Math.min(1, ordered / ((found.length * (found.length - 1)) / 2));
}
