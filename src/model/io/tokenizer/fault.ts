/** How a setting of tokenizer.json is refused: with its place, its value and what is understood instead. */
import { WeirError } from "../../../errors.js";

/**
 * `setting` is the place in tokenizer.json, such as `pre_tokenizer`, or begins with the name of another file;
 * `supported` completes "supported: …".
 */
export function unsupportedSetting(setting: string, value: unknown, supported: string, cause?: unknown): WeirError {
  return new WeirError(
    "WEIR_E_TOKENIZER",
    `${setting.includes(".json") ? "" : "tokenizer.json: "}${setting} ${JSON.stringify(value)} is not supported; supported: ${supported}. ` +
      "Ids or text would differ from what the model was trained with, so the file is refused.",
    { field: setting, value },
    { cause },
  );
}
