/**
 * Text → ids: added tokens, normaliser, pre-tokenizer, byte-pair encoding, post-processor, in the order of the Rust
 * library's `encode`. As in transformers, `truncation` and `padding` of tokenizer.json are left out, and `add_bos_token`
 * and `add_eos_token` of tokenizer_config.json change nothing: the post-processor of tokenizer.json says what is added.
 */
import { AddedVocabulary } from "./added-tokens.js";
import { createModel } from "./bpe.js";
import { addNamedTokens, type TokenizerFiles } from "./named-tokens.js";
import { createNormalizer, keepsStart } from "./normalizer.js";
import { createPostProcessor } from "./post-processor.js";
import { createPreTokenizer } from "./pre-tokenizer.js";

export interface Encoder {
  /** Token texts by id; holes are ids without a token. */
  readonly tokens: readonly (string | undefined)[];
  readonly specialIds: ReadonlySet<number>;
  /** Ids of the added tokens by text. */
  readonly addedTokens: ReadonlyMap<string, number>;
  /** `eos_token` and the like: texts by name. */
  readonly namedTokens: ReadonlyMap<string, string>;
  /** Text must be well-formed UTF-16. */
  encode(text: string, addSpecialTokens: boolean): number[];
  idOf(token: string): number | undefined;
}

/** Throws WEIR_E_TOKENIZER for a damaged file, and for a setting that is not computed, with its name and value. */
export function createEncoder(files: TokenizerFiles): Encoder {
  const { definition, config } = files;
  const model = createModel(definition.model);
  const normalise = createNormalizer(definition.normalizer);
  const preTokenizer = createPreTokenizer(definition.pre_tokenizer, keepsStart(definition.normalizer));
  const added = new AddedVocabulary(model.vocabulary, config.split_special_tokens === true);
  const namedTokens = addNamedTokens(files, added);
  added.prepare(normalise);
  const postProcess = createPostProcessor(definition.post_processor);

  const tokens: (string | undefined)[] = [];
  for (const [token, id] of model.vocabulary) tokens[id] = token;
  const specialIds = new Set<number>();
  const addedTokens = new Map<string, number>();
  for (const [id, { content, normalized }] of added.entries()) {
    // The Rust library gives back the text that the token is looked for by.
    tokens[id] = normalized ? normalise(content) : content;
    addedTokens.set(content, id);
    if (added.isSpecial(content)) specialIds.add(id);
  }

  const encodeText = (text: string, atStart: boolean, ids: number[]): void => {
    for (const piece of preTokenizer.split(text, atStart))
      for (const id of model.encode(piece, preTokenizer.spell)) ids.push(id);
  };
  const encode = (text: string, addSpecialTokens: boolean): number[] => {
    const ids: number[] = [];
    for (const outer of added.split(text, "raw")) {
      if ("id" in outer) {
        ids.push(outer.id);
        continue;
      }
      for (const inner of added.split(normalise(outer.text), "normalised")) {
        if ("id" in inner) ids.push(inner.id);
        else encodeText(inner.text, outer.start === 0 && inner.start === 0, ids);
      }
    }
    return addSpecialTokens ? [...postProcess(ids)] : ids;
  };
  return { tokens, specialIds, addedTokens, namedTokens, encode, idOf: (token) => added.idOf(token) };
}
