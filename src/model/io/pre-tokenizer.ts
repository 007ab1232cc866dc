/**
 * Rewrites pre-tokenizer settings so that the JavaScript library splits text as the Rust library does.
 * Two kinds differ there: `Digits` knows ASCII digits only (Rust: every numeric character), and `ByteLevel` takes the
 * JavaScript meaning of `\s` (with U+FEFF, without U+0085). A `Split` with the same expression has neither fault.
 */
import { isRecord } from "./json.js";

/** GPT-2's pattern, as in the Rust library. */
export const GPT2_PATTERN = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

function split(pattern: string): Record<string, unknown> {
  return { type: "Split", pattern: { Regex: pattern }, behavior: "Isolated", invert: false };
}

/** Returns settings that split alike; what needs no change is returned as it is. */
export function alignPreTokenizer(config: unknown): unknown {
  if (!isRecord(config)) return config;
  switch (config.type) {
    case "Sequence":
      return Array.isArray(config.pretokenizers)
        ? { ...config, pretokenizers: config.pretokenizers.map(alignPreTokenizer) }
        : config;
    case "Digits":
      return split(config.individual_digits === true ? "\\p{N}" : "\\p{N}+");
    case "ByteLevel":
      // A prefix space is added before splitting, so the two halves cannot be parted then.
      if (config.use_regex === false || config.add_prefix_space === true) return config;
      return { type: "Sequence", pretokenizers: [split(GPT2_PATTERN), { ...config, use_regex: false }] };
    default:
      return config;
  }
}
