/** Token ids of a tokenizer that knows more tokens than its model has embeddings for. */
import { join } from "node:path";
import { WeirError } from "../../errors.js";
import { readJsonIfPresent } from "./json.js";

/** `vocab_size` of a folder's config.json, or null where the folder has none. */
export async function modelVocabulary(directory: string): Promise<number | null> {
  const config = await readJsonIfPresent(join(directory, "config.json"), "WEIR_E_MODEL_FILES");
  return typeof config?.vocab_size === "number" ? config.vocab_size : null;
}

/**
 * Throws WEIR_E_TOKENIZER for the first id at or beyond `vocabSize`, with the token's text and what helps.
 * `details` holds `id` and `token`.
 */
export function assertInVocabulary(ids: readonly number[], vocabSize: number, tokenText: (id: number) => string): void {
  const id = ids.find((candidate) => candidate >= vocabSize);
  if (id === undefined) return;
  const token = tokenText(id);
  throw new WeirError(
    "WEIR_E_TOKENIZER",
    `token ${token} (${id}) lies beyond the model's vocabulary of ${vocabSize}: the tokenizer has tokens that the model was never given. ` +
      "Use the model's own tokenizer files, or enlarge the model (transformers: resize_token_embeddings(len(tokenizer)), then save_pretrained).",
    { id, token, vocabSize },
  );
}
