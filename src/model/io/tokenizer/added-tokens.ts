/**
 * Tokens that are found in the text before all other steps: their ids, and where they occur in a text.
 * The bookkeeping is that of the Rust library's added vocabulary, whose ids come from the order of adding, not from files.
 */
import type { Range } from "./oniguruma.js";

export interface AddedToken {
  readonly content: string;
  readonly singleWord: boolean;
  /** Whether the token takes the white space on its left, or right, with it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Whether the token is looked for in normalised text. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A piece of text, or the id of an added token that stood there. `start` is where it began. */
export type Segment =
  | { readonly start: number; readonly text: string }
  | { readonly start: number; readonly id: number };

interface Node {
  readonly next: Map<number, Node>;
  id: number | null;
}

/** Leftmost, and of those the longest, occurrences of a set of texts. */
class Dictionary {
  readonly #root: Node = { next: new Map(), id: null };

  add(text: string, id: number): void {
    let node = this.#root;
    for (let i = 0; i < text.length; i += 1) {
      const unit = text.charCodeAt(i);
      let next = node.next.get(unit);
      if (next === undefined) {
        next = { next: new Map(), id: null };
        node.next.set(unit, next);
      }
      node = next;
    }
    // Of equal texts the first counts.
    node.id ??= id;
  }

  *matches(text: string): Generator<{ readonly range: Range; readonly id: number }> {
    const first = this.#root.next;
    if (first.size === 0) return;
    for (let at = 0; at < text.length; ) {
      let node = first.get(text.charCodeAt(at));
      let end = at;
      let id: number | null = null;
      for (let i = at + 1; node !== undefined; i += 1) {
        if (node.id !== null) [id, end] = [node.id, i];
        node = i < text.length ? node.next.get(text.charCodeAt(i)) : undefined;
      }
      if (id === null) at += 1;
      else {
        yield { range: [at, end], id };
        at = end;
      }
    }
  }
}

const WORD = "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}]";
const ENDS_WITH_WORD = new RegExp(`${WORD}$`, "u");
const STARTS_WITH_WORD = new RegExp(`^${WORD}`, "u");
const LONGEST_CHARACTER = 2;

function isSpace(character: string | undefined): boolean {
  return character !== undefined && /\p{White_Space}/u.test(character);
}

function sameToken(a: AddedToken | undefined, b: AddedToken): boolean {
  return (
    a !== undefined &&
    a.content === b.content &&
    a.singleWord === b.singleWord &&
    a.lstrip === b.lstrip &&
    a.rstrip === b.rstrip &&
    a.normalized === b.normalized &&
    a.special === b.special
  );
}

export class AddedVocabulary {
  readonly #vocabulary: ReadonlyMap<string, number>;
  readonly #ids = new Map<string, number>();
  readonly #tokens = new Map<number, AddedToken>();
  readonly #special = new Map<string, AddedToken>();
  readonly #ordinary: AddedToken[] = [];
  #raw = new Dictionary();
  #normalised = new Dictionary();

  /**
   * `vocabulary` is the model's: a token that it holds keeps its id. `splitsSpecial`: special tokens that stand in a text
   * are ordinary text.
   */
  constructor(
    vocabulary: ReadonlyMap<string, number>,
    private readonly splitsSpecial: boolean,
  ) {
    this.#vocabulary = vocabulary;
  }

  /** Adds a token, or changes how it is found; a new one gets the next free id. Takes effect with `prepare`. */
  add(token: AddedToken): void {
    const { content } = token;
    if (content === "") return;
    if (token.special && !this.#special.has(content)) this.#special.set(content, token);
    const known = this.#ids.get(content);
    if (known !== undefined && sameToken(this.#tokens.get(known), token)) return;
    const id = known ?? this.#vocabulary.get(content) ?? this.#nextId();
    this.#ids.set(content, id);
    this.#tokens.set(id, token);
    if (!this.#special.has(content)) this.#ordinary.push(token);
  }

  #nextId(): number {
    const size = this.#vocabulary.size;
    let largest = -1;
    for (const id of this.#ids.values()) largest = Math.max(largest, id);
    return largest >= size || (size === 0 && largest >= 0) ? largest + 1 : size;
  }

  has(content: string): boolean {
    return this.#ids.has(content);
  }

  /** Id of any token, added or of the model. */
  idOf(content: string): number | undefined {
    return this.#ids.get(content) ?? this.#vocabulary.get(content);
  }

  /** Ids and definitions of all added tokens. */
  entries(): Iterable<readonly [id: number, token: AddedToken]> {
    return this.#tokens.entries();
  }

  isSpecial(content: string): boolean {
    return this.#special.has(content);
  }

  /** Must be called after adding and before splitting. */
  prepare(normalise: (text: string) => string): void {
    this.#raw = new Dictionary();
    this.#normalised = new Dictionary();
    for (const { content, normalized } of [...this.#special.values(), ...this.#ordinary]) {
      const id = this.#ids.get(content)!;
      if (normalized) this.#normalised.add(normalise(content), id);
      else this.#raw.add(content, id);
    }
  }

  /** Parts a text at the tokens that are looked for before (`raw`) or after normalisation. */
  split(text: string, kind: "raw" | "normalised"): Segment[] {
    const segments: Segment[] = [];
    let done = 0;
    for (const { range, id } of (kind === "raw" ? this.#raw : this.#normalised).matches(text)) {
      let [start, end] = range;
      const token = this.#tokens.get(id)!;
      if (this.splitsSpecial && this.#special.has(token.content)) continue;
      if (token.singleWord && !standsAlone(text, start, end)) continue;
      if (token.lstrip) {
        while (start > 0 && isSpace(text[start - 1])) start -= 1;
        start = Math.max(start, done);
      }
      if (token.rstrip) while (isSpace(text[end])) end += 1;
      if (start > done) segments.push({ start: done, text: text.slice(done, start) });
      // White space that the token before has taken may leave nothing of this one.
      if (end > start) segments.push({ start, id });
      done = end;
    }
    if (done < text.length) segments.push({ start: done, text: text.slice(done) });
    return segments;
  }
}

function standsAlone(text: string, start: number, end: number): boolean {
  const before = text.slice(Math.max(0, start - LONGEST_CHARACTER), start);
  const after = text.slice(end, end + LONGEST_CHARACTER);
  return !ENDS_WITH_WORD.test(before) && !STARTS_WITH_WORD.test(after);
}
