/** Parses JSON without losing digits of its numbers. */
import { parse } from "lossless-json";
import { type Cell, exactNumber } from "./exact.js";

/**
 * Every number that a double may not hold has 16 digits or an exponent. The test may also match inside a string, which
 * only costs time.
 */
const MAY_LOSE_DIGITS = /\d[eE][-+]?\d|[\d.]{16}/;

/** As JSON.parse, the last of equal keys wins; numbers that a double cannot hold become `Exact`. Throws SyntaxError. */
export function parseJson(text: string): Cell {
  const value = JSON.parse(text) as Cell;
  if (!MAY_LOSE_DIGITS.test(text)) return value;
  return parse(text, null, { parseNumber: exactNumber, onDuplicateKey: ({ newValue }) => newValue }) as Cell;
}
