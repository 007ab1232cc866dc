/** The `post_processor` of tokenizer.json: the ids that stand around one text. Pure. */
import { isRecord, type JsonRecord } from "../json.js";
import { unsupportedSetting } from "./fault.js";

export type PostProcessor = (ids: readonly number[]) => readonly number[];

const SUPPORTED = "Sequence, ByteLevel, TemplateProcessing, BertProcessing, RobertaProcessing";

function template(config: JsonRecord): PostProcessor {
  const refuse = (value: unknown) =>
    unsupportedSetting("post_processor TemplateProcessing", value, "pieces of special tokens with ids and sequence A");
  if (!Array.isArray(config.single) || !isRecord(config.special_tokens)) throw refuse(config);
  const special = config.special_tokens;
  const pieces = config.single.map((piece: unknown): readonly number[] | null => {
    if (isRecord(piece) && isRecord(piece.Sequence) && piece.Sequence.id === "A") return null;
    const name = isRecord(piece) && isRecord(piece.SpecialToken) ? piece.SpecialToken.id : undefined;
    const token = typeof name === "string" && Object.hasOwn(special, name) ? special[name] : undefined;
    if (!isRecord(token) || !Array.isArray(token.ids) || !token.ids.every(Number.isInteger)) throw refuse(piece);
    return token.ids as readonly number[];
  });
  return (ids) => pieces.flatMap((piece) => piece ?? ids);
}

/** `["[CLS]", 101]` → 101. */
function pairId(config: JsonRecord, key: string): number {
  const pair = config[key];
  if (!Array.isArray(pair) || typeof pair[1] !== "number")
    throw unsupportedSetting(`post_processor ${config.type}.${key}`, pair ?? null, "a pair of text and id");
  return pair[1];
}

/** Builds a post-processor; null adds nothing. Throws WEIR_E_TOKENIZER for a kind that is not computed. */
export function createPostProcessor(config: unknown): PostProcessor {
  if (config === null || config === undefined) return (ids) => ids;
  if (!isRecord(config)) throw unsupportedSetting("post_processor", config, SUPPORTED);
  switch (config.type) {
    case "ByteLevel":
      return (ids) => ids;
    case "TemplateProcessing":
      return template(config);
    case "Sequence": {
      if (!Array.isArray(config.processors)) throw unsupportedSetting("post_processor", config, SUPPORTED);
      const steps = config.processors.map(createPostProcessor);
      return (ids) => steps.reduce((current, step) => step(current), ids);
    }
    case "BertProcessing":
    case "RobertaProcessing": {
      const [first, last] = [pairId(config, "cls"), pairId(config, "sep")];
      return (ids) => [first, ...ids, last];
    }
    default:
      throw unsupportedSetting("post_processor", config.type ?? config, SUPPORTED);
  }
}
