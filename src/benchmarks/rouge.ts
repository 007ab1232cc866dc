/**
 * ROUGE-L as the Python package `rouge` 1.0.1 computes it by default, which LongBench-Pro and GoLongRL score summaries by: over sets of words.
 * Sentences end at dots; the words that each gold sentence shares with each sentence of the prediction, as a longest common subsequence, are
 * joined into one set. With u its size, m and n the numbers of different words of gold and prediction: R = u/m, P = u/n,
 * F = 2RP / (R + P + 1e-8).
 */

import { squeezeSpaces } from "../rewards/text.js";

const EPSILON = 1e-8;

/** Largest product of the lengths of two sentences that are compared: 100 MB of lengths. */
const MOST_PAIRS = 25_000_000;

/** In [0, 1]; 0 where either text has no sentence. Null where two sentences are too long to be compared. */
export function rougeL(prediction: string, gold: string): number | null {
  const [predicted, wanted] = [sentences(prediction), sentences(gold)];
  if (predicted.length === 0 || wanted.length === 0) return 0;
  if (longest(predicted) * longest(wanted) > MOST_PAIRS) return null;
  const union = new Set<string>();
  for (const sentence of wanted)
    for (const other of predicted) for (const word of commonSubsequence(sentence, other)) union.add(word);
  const recall = union.size / new Set(wanted.flat()).size;
  const precision = union.size / new Set(predicted.flat()).size;
  return (2 * (precision * recall)) / (precision + recall + EPSILON);
}

/** Words of each sentence. A sentence of white space has one word, the empty one, as in the package. */
function sentences(text: string): readonly (readonly string[])[] {
  return text
    .split(".")
    .filter((sentence) => sentence.length > 0)
    .map((sentence) => squeezeSpaces(sentence).split(" "));
}

const longest = (texts: readonly (readonly string[])[]): number =>
  texts.reduce((most, words) => Math.max(most, words.length), 0);

/** A longest common subsequence; of several the one that the package finds: it gives up words of `b` first. */
function commonSubsequence(a: readonly string[], b: readonly string[]): readonly string[] {
  const width = b.length + 1;
  const lengths = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number) => lengths[i * width + j] as number;
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++)
      lengths[i * width + j] = a[i - 1] === b[j - 1] ? at(i - 1, j - 1) + 1 : Math.max(at(i - 1, j), at(i, j - 1));
  const words: string[] = [];
  for (let i = a.length, j = b.length; i > 0 && j > 0; ) {
    if (a[i - 1] === b[j - 1]) {
      words.push(a[i - 1] as string);
      i--;
      j--;
    } else if (at(i - 1, j) > at(i, j - 1)) i--;
    else j--;
  }
  return words;
}
