/** Finds tasks that ask the same as another one, or ask about the same document. */
import { bandKeys, jaccard, shinglesOf } from "../algorithms/minhash.js";
import { wordsOf } from "../algorithms/overlap.js";

/**
 * `exact`: the same words. `near`: nearly the same words and the same question. `document`: nearly the same words and another question,
 * which is the same document asked about again.
 */
export type DuplicateKind = "exact" | "near" | "document";

export interface ComparedTask {
  readonly id: string;
  /** Whole prompt. */
  readonly text: string;
  /** Without its document; null where it cannot be told apart. Two tasks without one are compared by their texts alone. */
  readonly question: string | null;
  readonly goldAnswers: readonly string[];
}

export interface Duplicate {
  readonly kind: DuplicateKind;
  /** Id of the other task. */
  readonly of: string;
  /** Jaccard similarity of the runs of five words, in [0, 1]. */
  readonly similarity: number;
  /** The same question with other gold answers. */
  readonly conflicting: boolean;
}

/** Shingles of longer texts are computed again when they are needed, which is seldom. */
const KEPT_SHINGLES = 20_000;
/** Tasks that are compared in full with one: a document may have many questions. */
const MOST_CANDIDATES = 64;

interface Entry {
  readonly task: ComparedTask;
  readonly asked: string;
  readonly shingles: Uint32Array | null;
}

const wordKey = (text: string) => wordsOf(text).join(" ");
const goldKey = ({ goldAnswers }: ComparedTask) => [...new Set(goldAnswers.map(wordKey))].sort().join("\n");

/** Tasks among which duplicates of others are found. */
export class DuplicateIndex {
  private readonly byWords = new Map<string, Entry>();
  private readonly byBand = new Map<string, Entry[]>();

  /** `threshold`: smallest similarity of `near` and `document`. */
  constructor(private readonly threshold: number) {}

  /** The task of the index that this one repeats: an exact one first, then one with the same question, then the most similar. */
  find(task: ComparedTask): Duplicate | null {
    const words = wordKey(task.text);
    const same = this.byWords.get(words);
    if (same) return this.duplicate("exact", task, same, 1);
    const shingles = shinglesOf(task.text);
    const asked = task.question === null ? "" : wordKey(task.question);
    let best: Duplicate | null = null;
    for (const entry of this.candidates(shingles)) {
      const kind = entry.asked === asked ? "near" : "document";
      if (best?.kind === "near" && kind === "document") continue;
      const similarity = jaccard(shingles, entry.shingles ?? shinglesOf(entry.task.text));
      if (similarity < this.threshold) continue;
      if (best === null || (best.kind === "document" && kind === "near") || similarity > best.similarity)
        best = this.duplicate(kind, task, entry, similarity);
    }
    return best;
  }

  add(task: ComparedTask): void {
    const words = wordKey(task.text);
    if (this.byWords.has(words)) return;
    const shingles = shinglesOf(task.text);
    const asked = task.question === null ? "" : wordKey(task.question);
    const entry: Entry = { task, asked, shingles: shingles.length > KEPT_SHINGLES ? null : shingles };
    this.byWords.set(words, entry);
    for (const key of bandKeys(shingles)) this.byBand.set(key, [...(this.byBand.get(key) ?? []), entry]);
  }

  private candidates(shingles: Uint32Array): ReadonlySet<Entry> {
    const found = new Set<Entry>();
    for (const key of bandKeys(shingles))
      for (const entry of this.byBand.get(key) ?? []) if (found.size < MOST_CANDIDATES) found.add(entry);
    return found;
  }

  private duplicate(kind: DuplicateKind, task: ComparedTask, { task: other }: Entry, similarity: number): Duplicate {
    return {
      ...{ kind, of: other.id, similarity },
      conflicting: kind !== "document" && goldKey(task) !== goldKey(other),
    };
  }
}
