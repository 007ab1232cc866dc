/** Numbers and times of parquet columns in the form in which people write them. Pure. */

/** The shortest decimal that reads back as this float32: 0.1 for 0.10000000149011612, as numpy and pandas print it. */
export function shortestFloat32(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return Number(value.toPrecision(9));
}

const HALF_FRACTION_BITS = 10;
const HALF_LEAST_EXPONENT = -14;

/** The shortest decimal that reads back as this float16: half of the distance to the next one away at most. */
export function shortestFloat16(value: number): number {
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), HALF_LEAST_EXPONENT);
  const spacing = 2 ** (exponent - HALF_FRACTION_BITS);
  // Below a power of two, numbers are twice as dense.
  const below = Math.abs(value) === 2 ** exponent && exponent > HALF_LEAST_EXPONENT ? spacing / 2 : spacing;
  for (let digits = 1; digits < 5; digits++) {
    const short = Number(value.toPrecision(digits));
    const distance = Math.abs(short) - Math.abs(value);
    if (distance < spacing / 2 && -distance < below / 2) return short;
  }
  return Number(value.toPrecision(5));
}

/** Days from 1970-01-01 as "2024-05-01". Throws RangeError beyond the years that JavaScript knows (±271,821). */
export function dateText(days: number): string {
  return new Date(days * 86_400_000).toISOString().replace(/T.*/, "");
}

const PER_SECOND = { MILLIS: 1_000n, MICROS: 1_000_000n, NANOS: 1_000_000_000n } as const;
type Unit = keyof typeof PER_SECOND;

/** Units from 1970-01-01 as "2024-05-01T12:30:00.25", with Z where the time is known to be UTC. Throws RangeError as above. */
export function timestampText(value: bigint, unit: Unit, utc: boolean): string {
  const [seconds, fraction] = split(value, unit);
  const text = new Date(Number(seconds) * 1_000).toISOString().replace(/\.000Z$/, "");
  return `${text}${fraction}${utc ? "Z" : ""}`;
}

/** Units from midnight as "12:30:00.25". */
export function timeText(value: bigint, unit: Unit): string {
  return timestampText(value, unit, false).replace(/^.*T/, "");
}

/** Whole seconds, and the fraction as ".25" or "". */
function split(value: bigint, unit: Unit): [seconds: bigint, fraction: string] {
  const per = PER_SECOND[unit];
  const rest = ((value % per) + per) % per;
  const digits = rest
    .toString()
    .padStart(per.toString().length - 1, "0")
    .replace(/0+$/, "");
  return [(value - rest) / per, digits === "" ? "" : `.${digits}`];
}
