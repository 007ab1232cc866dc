/** Typed access to GGUF metadata with errors that name the key. */
import { WeirError } from "../../../errors.js";
import type { GgufHead, GgufValue } from "./reader.js";

export class Metadata {
  constructor(private readonly head: GgufHead) {}

  get path(): string {
    return this.head.path;
  }

  has(key: string): boolean {
    return this.head.metadata.has(key);
  }

  /** An error about one key: what it holds and what would do. */
  fault(key: string, expected: string, advice: string): WeirError {
    const value = this.head.metadata.get(key);
    const shown = value === undefined ? "missing" : shorten(value);
    return new WeirError("WEIR_E_GGUF", `${this.path}: ${key} is ${shown}, expected ${expected}. ${advice}`, {
      path: this.path,
      key,
      value: typeof value === "bigint" ? value.toString() : value,
    });
  }

  optionalText(key: string): string | null {
    const value = this.head.metadata.get(key);
    if (value === undefined) return null;
    if (typeof value !== "string") throw this.fault(key, "a text", "Convert the file anew.");
    return value;
  }

  text(key: string): string {
    const value = this.optionalText(key);
    if (value === null) throw this.fault(key, "a text", "Convert the file anew.");
    return value;
  }

  optionalFlag(key: string): boolean | null {
    const value = this.head.metadata.get(key);
    if (value === undefined) return null;
    if (typeof value !== "boolean") throw this.fault(key, "true or false", "Convert the file anew.");
    return value;
  }

  /** A number; an array of equal numbers (one per layer) counts as that number. */
  optionalNumber(key: string): number | null {
    const value = this.head.metadata.get(key);
    if (value === undefined) return null;
    const first = Array.isArray(value) ? value[0] : value;
    if (Array.isArray(value) && value.some((other) => other !== first))
      throw this.fault(key, "one number for all layers", "Models whose layers differ are not supported.");
    if (typeof first !== "number" && typeof first !== "bigint")
      throw this.fault(key, "a number", "Convert the file anew.");
    return tidy(Number(first));
  }

  number(key: string): number {
    const value = this.optionalNumber(key);
    if (value === null) throw this.fault(key, "a number", "Convert the file anew.");
    return value;
  }

  texts(key: string): readonly string[] {
    const value = this.head.metadata.get(key);
    if (!Array.isArray(value) || value.some((item) => typeof item !== "string"))
      throw this.fault(key, "a list of texts", "Convert the file anew.");
    return value as readonly string[];
  }

  /** A list of `length` numbers, or null when the key is absent. */
  optionalNumbers(key: string, length: number): readonly number[] | null {
    const value = this.head.metadata.get(key);
    if (value === undefined) return null;
    if (!Array.isArray(value) || value.length !== length || value.some((item) => typeof item !== "number"))
      throw this.fault(key, `a list of ${length} numbers`, "Convert the file anew.");
    return value as readonly number[];
  }
}

/** The shortest decimal that is the same float32: 9.999999747378752e-06 was written as 1e-5. */
function tidy(value: number): number {
  const short = Number(value.toPrecision(7));
  return Math.fround(short) === value ? short : value;
}

function shorten(value: GgufValue): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}
