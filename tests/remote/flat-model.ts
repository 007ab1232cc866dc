/** A language model of 16 tokens for fake servers: its next-token logits depend on the weights' name and the last token alone. */
export const VOCABULARY = 16;

export interface Wanted {
  readonly weights: string;
  readonly promptIds: readonly number[];
  readonly temperature: number;
  readonly topK: number;
  readonly maxTokens: number;
  readonly stopIds: readonly number[];
  readonly seed: number;
}

export interface Token {
  readonly id: number;
  readonly logprob: number;
  /** All tokens' log-probs, the largest first. */
  readonly top: readonly (readonly [id: number, logprob: number])[];
}

/** A number in [0, 1) for a text; FNV-1a with a final mix. */
function noise(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 12)) >>> 0) / 2 ** 32;
}

function logSoftmax(logits: readonly number[]): number[] {
  const most = Math.max(...logits);
  const norm = most + Math.log(logits.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return logits.map((value) => value - norm);
}

/** `basis`: what the values are of, as in `LogprobBasis`. */
export function drawTokens(
  wanted: Wanted,
  basis: "raw" | "scaled" | "processed",
): { tokens: Token[]; stopped: boolean } {
  const { weights, promptIds, temperature, topK, maxTokens, stopIds, seed } = wanted;
  const tokens: Token[] = [];
  for (let last = promptIds.at(-1) ?? 0; tokens.length < maxTokens; ) {
    const logits = Array.from({ length: VOCABULARY }, (_, id) => 3 * noise(`${weights}/${last}/${id}`));
    const scaled = logits.map((value) => value / (temperature || 1));
    const allowed = new Set(
      scaled
        .map((_, id) => id)
        .sort((a, b) => (scaled[b] as number) - (scaled[a] as number))
        .slice(0, topK || VOCABULARY),
    );
    const kept = scaled.map((value, id) => (allowed.has(id) ? value : -1e9));
    const drawn = logSoftmax(kept);
    let left = temperature === 0 ? 0 : noise(`${seed}/${tokens.length}`);
    const order = [...allowed];
    const reached = (one: number) => {
      left -= Math.exp(drawn[one] as number);
      return left < 0;
    };
    const id = order.find(reached) ?? (order.at(-1) as number);
    const values = basis === "raw" ? logSoftmax(logits) : basis === "scaled" ? logSoftmax(scaled) : drawn;
    const top = values.map((value, token) => [token, value] as const).sort((a, b) => b[1] - a[1]);
    tokens.push({ id, logprob: values[id] as number, top });
    if (stopIds.includes(id)) return { tokens, stopped: true };
    last = id;
  }
  return { tokens, stopped: false };
}
