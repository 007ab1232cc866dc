/** Reads option values of commands. Errors: WEIR_E_USAGE naming the option, what it expects and what came. */
import { WeirError } from "../errors.js";

function fault(option: string, expected: string, text: string): WeirError {
  return new WeirError("WEIR_E_USAGE", `--${option}: expected ${expected}, got "${text}"`, { option, text });
}

/** A whole number of at least `minimum`. */
export function wholeNumber(option: string, text: string, minimum = 0): number {
  const value = Number(text);
  if (!/^\d+$/.test(text.trim()) || value < minimum) throw fault(option, `a whole number ≥ ${minimum}`, text);
  return value;
}

/** A number of at least `minimum`. */
export function numberAtLeast(option: string, text: string, minimum: number): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < minimum)
    throw fault(option, `a number ≥ ${minimum}`, text);
  return value;
}

/** A share between 0 and 1. */
export function share(option: string, text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !(value >= 0 && value <= 1)) throw fault(option, "a number between 0 and 1", text);
  return value;
}

/** `8-12` as [8, 12]; a single number is both ends. */
export function range(option: string, text: string, minimum = 1): readonly [number, number] {
  const [low, high = low, ...rest] = text
    .split("-")
    .map((part) => (/^\d+$/.test(part.trim()) ? Number(part) : Number.NaN));
  const holds = low !== undefined && high !== undefined && low >= minimum && low <= high && rest.length === 0;
  if (!holds) throw fault(option, `MIN-MAX with ${minimum} ≤ MIN ≤ MAX`, text);
  return [low, high];
}

/** Growing whole numbers, separated by commas. */
export function growingNumbers(option: string, text: string): number[] {
  const values = text.split(",").map((part) => wholeNumber(option, part, 1));
  if (values.some((value, i) => i > 0 && value <= (values[i - 1] as number)))
    throw fault(option, "growing numbers separated by commas", text);
  return values;
}
