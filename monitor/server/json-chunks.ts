/**
 * JSON in pieces, so that an answer of many megabytes never exists whole: only what the reader takes is made.
 * Owns no state; a piece holds at most about `CHUNK` characters beyond its last element.
 */

/** Characters of a piece: large enough for speed, small compared with the cost of a stalled reader. */
const CHUNK = 32 << 10;

/**
 * The JSON text of a value, in pieces. Arrays are written element by element and long texts in slices, at the top and one
 * level below; deeper values are written whole, so they must be small (a record, a token).
 */
export function* jsonChunks(value: unknown): Generator<string, void, void> {
  let held = "";
  for (const piece of pieces(value, 2)) {
    held += piece;
    if (held.length < CHUNK) continue;
    yield held;
    held = "";
  }
  if (held !== "") yield held;
}

function* pieces(value: unknown, depth: number): Generator<string, void, void> {
  if (typeof value === "string" && value.length > CHUNK) yield* longText(value);
  else if (depth === 0 || typeof value !== "object" || value === null) yield JSON.stringify(value) ?? "null";
  else if (Array.isArray(value)) {
    yield "[";
    for (let i = 0; i < value.length; i++) yield `${i === 0 ? "" : ","}${JSON.stringify(value[i]) ?? "null"}`;
    yield "]";
  } else {
    let separator = "{";
    for (const [key, inner] of Object.entries(value)) {
      if (inner === undefined) continue;
      yield `${separator}${JSON.stringify(key)}:`;
      yield* pieces(inner, depth - 1);
      separator = ",";
    }
    yield separator === "{" ? "{}" : "}";
  }
}

/** A slice may end between the halves of a surrogate pair: each half is then escaped, and reading puts them together. */
function* longText(text: string): Generator<string, void, void> {
  yield '"';
  for (let from = 0; from < text.length; from += CHUNK)
    yield JSON.stringify(text.slice(from, from + CHUNK)).slice(1, -1);
  yield '"';
}
