/**
 * Exact rational numbers of bounded size, in which numeric answers are compared.
 * Invariants: the denominator is positive and the fraction in lowest terms, so equal numbers have equal parts and equal texts.
 */
export interface Rational {
  readonly numerator: bigint;
  readonly denominator: bigint;
}

/** Longest run of digits and greatest power of ten that are read: far beyond any answer, and cheap to compute with. */
export const DIGIT_LIMIT = 1000;

export function rational(numerator: bigint, denominator = 1n): Rational {
  const divisor = gcd(numerator < 0n ? -numerator : numerator, denominator);
  return { numerator: numerator / divisor, denominator: denominator / divisor };
}

function gcd(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a === 0n ? 1n : a;
}

export const negate = (a: Rational): Rational => ({ numerator: -a.numerator, denominator: a.denominator });

export const add = (a: Rational, b: Rational): Rational =>
  rational(a.numerator * b.denominator + b.numerator * a.denominator, a.denominator * b.denominator);

export const multiply = (a: Rational, b: Rational): Rational =>
  rational(a.numerator * b.numerator, a.denominator * b.denominator);

/** a/b; null for b = 0. */
export function divide(a: Rational, b: Rational): Rational | null {
  if (b.numerator === 0n) return null;
  const sign = b.numerator < 0n ? -1n : 1n;
  return rational(sign * a.numerator * b.denominator, sign * a.denominator * b.numerator);
}

export const equals = (a: Rational, b: Rational): boolean =>
  a.numerator === b.numerator && a.denominator === b.denominator;

/** base^exponent; null for 0 to a negative power and where the result could exceed DIGIT_LIMIT digits. */
export function power(base: bigint, exponent: number): Rational | null {
  const size = Math.abs(exponent);
  const digits = base.toString().replace("-", "").length;
  const isTen = base === 10n;
  if ((isTen ? size : size * digits) > DIGIT_LIMIT) return null;
  if (exponent >= 0) return rational(base ** BigInt(exponent));
  return base === 0n ? null : divide(rational(1n), rational(base ** BigInt(size)));
}

/** Longest decimal text that is shown in full; longer ones are shown as mantissa and exponent. */
const SHOWN_DIGITS = 40;

/** The canonical text: "-12.5"; "1/3" where no decimal ends; "1e-60" where the decimal is long. Equal numbers, equal texts. */
export function rationalText({ numerator, denominator }: Rational): string {
  const decimals = decimalPlaces(denominator);
  if (decimals === null) return `${numerator}/${denominator}`;
  const sign = numerator < 0n ? "-" : "";
  const digits = `${((numerator < 0n ? -numerator : numerator) * 10n ** BigInt(decimals)) / denominator}`;
  if (Math.max(digits.length, decimals) > SHOWN_DIGITS) return sign + scientificText(digits, decimals);
  if (decimals === 0) return sign + digits;
  const padded = digits.padStart(decimals + 1, "0");
  return `${sign}${padded.slice(0, -decimals)}.${padded.slice(-decimals)}`;
}

function scientificText(digits: string, decimals: number): string {
  const mantissa = digits.replace(/0+$/, "");
  const exponent = digits.length - 1 - decimals;
  return `${mantissa[0]}${mantissa.length > 1 ? `.${mantissa.slice(1)}` : ""}e${exponent}`;
}

/** How many decimals 1/denominator has; null where they never end. */
function decimalPlaces(denominator: bigint): number | null {
  let rest = denominator;
  const count = (factor: bigint) => {
    let times = 0;
    for (; rest % factor === 0n; times++) rest /= factor;
    return times;
  };
  const places = Math.max(count(2n), count(5n));
  return rest === 1n ? places : null;
}
