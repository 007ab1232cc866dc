/**
 * Regular expressions of tokenizer.json, run by Oniguruma itself (compiled to WebAssembly): the engine that the Rust
 * tokenizers library uses. JavaScript's own differ in possessive quantifiers, anchors, white space, case folding and more.
 * Invariant: offsets are UTF-16 code units of the searched text, which must be well-formed.
 */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import oniguruma from "vscode-oniguruma";
import { modernSource } from "./oniguruma-source.js";

/** `ONIG_OPTION_NONE` as vscode-oniguruma numbers it; its own default also numbers groups beside named ones. */
const NO_OPTIONS = [1];

let loaded: Promise<void> | null = null;

/** Makes the engine ready; must be awaited once before `new Expression`. */
export async function loadOniguruma(): Promise<void> {
  loaded ??= readFile(createRequire(import.meta.url).resolve("vscode-oniguruma/release/onig.wasm")).then((data) =>
    oniguruma.loadWASM(data),
  );
  await loaded;
}

export type Range = readonly [start: number, end: number];

/** One compiled expression. Throws the engine's own Error when the source does not parse. */
export class Expression {
  readonly #scanner: oniguruma.OnigScanner;

  constructor(readonly source: string) {
    this.#scanner = new oniguruma.OnigScanner([modernSource(source)], { options: NO_OPTIONS });
  }

  /**
   * Matches from left to right that do not overlap. An empty match right at the end of the match before it does not
   * count (the rule of the Rust `onig` crate).
   */
  matches(text: string): Range[] {
    const subject = new oniguruma.OnigString(text);
    const found: Range[] = [];
    let position = 0;
    let lastEnd = -1;
    try {
      while (position <= text.length) {
        const match = this.#scanner.findNextMatchSync(subject, position)?.captureIndices[0];
        if (match === undefined) break;
        const { start, end } = match;
        if (end === start && end === lastEnd) {
          position += (text.codePointAt(position) ?? 0) > 0xffff ? 2 : 1;
          continue;
        }
        found.push([start, end]);
        position = end;
        lastEnd = end;
      }
    } finally {
      subject.dispose();
    }
    return found;
  }
}
