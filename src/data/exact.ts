/**
 * Values of a file that a JavaScript number cannot hold: integers beyond 2^53, decimals with more digits than a double,
 * dates and times. They stay text until their use is known.
 */
import type { Json } from "../contracts/task.js";

/** A value that is kept as the text people write. */
export class Exact {
  constructor(
    readonly text: string,
    /** `number` and `moment` (a date or time) may be gold answers; `other` (bytes, NaN) may not. */
    readonly kind: "number" | "moment" | "other",
  ) {}

  /** How messages show it. */
  toJSON(): string {
    return this.text;
  }
}

/** A value of a row as its file holds it. */
export type Cell = null | boolean | number | string | Exact | readonly Cell[] | { readonly [key: string]: Cell };

/** A row as its file holds it. */
export type Row = Readonly<Record<string, Cell>>;

const NUMBER = /^(-?)(\d+)(?:\.(\d*))?(?:[eE]([+-]?\d+))?$/;

/** Numbers with larger exponents are not written out in practice; a double ends at 308. */
const LONGEST_EXPONENT = 1_000;

/**
 * A number text in plain digits, without exponent and superfluous zeros: "1e-7" is "0.0000001", "2.50" is "2.5", "-0" is "0".
 * Null where the text is not a decimal number, or its exponent is beyond 1,000.
 */
export function plainDecimal(source: string): string | null {
  const match = NUMBER.exec(source);
  const exponent = Number(match?.[4] ?? 0);
  if (!match || Math.abs(exponent) > LONGEST_EXPONENT) return null;
  const [, sign = "", whole = "", fraction = ""] = match;
  const digits = whole + fraction;
  const point = whole.length + exponent;
  const before = point > 0 ? digits.slice(0, point).padEnd(point, "0") : "";
  const after = point >= 0 ? digits.slice(point) : "0".repeat(-point) + digits;
  const integer = before.replace(/^0+/, "") || "0";
  const rest = after.replace(/0+$/, "");
  const text = rest === "" ? integer : `${integer}.${rest}`;
  return text === "0" ? text : sign + text;
}

/** A number text as a double where the double has the same value in its shortest digits, else as it is written. */
export function exactNumber(source: string): number | Exact {
  const value = Number(source);
  const plain = plainDecimal(source);
  if (Number.isFinite(value) && plain === plainDecimal(String(value))) return value;
  return plain === null ? new Exact(source, "other") : new Exact(plain, "number");
}

/** The cell as JSON: exact numbers as numbers where that loses nothing, everything else exact as text. */
export function toJson(cell: Cell): Json {
  if (cell instanceof Exact) {
    const value = cell.kind === "number" ? exactNumber(cell.text) : cell;
    return typeof value === "number" ? value : cell.text;
  }
  if (typeof cell === "number" && !Number.isFinite(cell)) return String(cell);
  if (Array.isArray(cell)) return cell.map(toJson);
  if (typeof cell === "object" && cell !== null) return jsonRecord(cell as Row);
  return cell as Json;
}

/** A row as JSON. */
export function jsonRecord(row: Row): Record<string, Json> {
  return Object.fromEntries(Object.entries(row).map(([key, cell]) => [key, toJson(cell)]));
}
