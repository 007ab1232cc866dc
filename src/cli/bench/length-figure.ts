/**
 * Time against length as a figure and its explanation: seconds = fixed + linear · n + quadratic · n², fitted to the measured
 * steps. The optimiser costs the same at any length, what is done per token (products, norms, loss) grows with n, causal
 * attention with n². Pure.
 */

export interface LengthPoint {
  readonly length: number;
  readonly seconds: number;
}

/** Coefficients of 1, n and n²; none is negative. */
type Growth = readonly [fixed: number, linear: number, quadratic: number];

const powers = (length: number): number[] => [1, length, length ** 2];
const at = (growth: Growth, length: number): number =>
  powers(length).reduce((sum, power, i) => sum + power * (growth[i] as number), 0);

/** Solves a·x = b by elimination with row pivots; a and b are used up. */
function solve(a: number[][], b: number[]): number[] {
  const size = b.length;
  for (let column = 0; column < size; column += 1) {
    let pivot = column;
    for (let row = column + 1; row < size; row += 1) {
      if (Math.abs(a[row]![column]!) > Math.abs(a[pivot]![column]!)) pivot = row;
    }
    [a[column], a[pivot]] = [a[pivot]!, a[column]!];
    [b[column], b[pivot]] = [b[pivot]!, b[column]!];
    for (let row = column + 1; row < size; row += 1) {
      const factor = a[row]![column]! / a[column]![column]!;
      for (let k = column; k < size; k += 1) a[row]![k]! -= factor * a[column]![k]!;
      b[row]! -= factor * b[column]!;
    }
  }
  const x = new Array<number>(size).fill(0);
  for (let row = size - 1; row >= 0; row -= 1) {
    let rest = b[row]!;
    for (let k = row + 1; k < size; k += 1) rest -= a[row]![k]! * x[k]!;
    x[row] = rest / a[row]![row]!;
  }
  return x;
}

/** Least squares of the relative error, so that short lengths count as much as long ones; a coefficient that would be negative is left out. */
export function fitGrowth(points: readonly LengthPoint[]): Growth {
  const longest = Math.max(...points.map(({ length }) => length));
  const scales = powers(longest);
  const rows = points.map(({ length, seconds }) => powers(length).map((power, i) => power / scales[i]! / seconds));
  let parts = [0, 1, 2];
  for (;;) {
    const normal = parts.map((i) => parts.map((j) => rows.reduce((sum, row) => sum + row[i]! * row[j]!, 0)));
    const right = parts.map((i) => rows.reduce((sum, row) => sum + row[i]!, 0));
    const found = solve(normal, right);
    const least = Math.min(...found);
    if (least >= 0 || parts.length === 1) {
      const growth = [0, 0, 0];
      parts.forEach((part, i) => {
        growth[part] = found[i]! / scales[part]!;
      });
      return growth as unknown as Growth;
    }
    parts = parts.filter((_, i) => found[i] !== least);
  }
}

const short = (value: number): string => String(Number(value.toPrecision(3)));

/** A chart in Mermaid with its description; empty where fewer than four lengths were measured. */
export function lengthFigure(points: readonly LengthPoint[]): string {
  const last = points.at(-1);
  if (points.length < 4 || last === undefined) return "";
  const growth = fitGrowth(points);
  const [fixed, linear, quadratic] = growth;
  const fitted = points.map(({ length }) => at(growth, length));
  const share = (100 * quadratic * last.length ** 2) / at(growth, last.length);
  const worst = Math.max(...points.map((point, i) => Math.abs(fitted[i]! / point.seconds - 1)));
  const crossing =
    quadratic > 0 && linear > 0 ? ` The two are equal at ${Math.round(linear / quadratic)} tokens;` : " So";
  return [
    "```mermaid",
    "xychart-beta",
    '  title "Seconds of one step: measured (bars), fitted, and without attention"',
    `  x-axis "prompt tokens" [${points.map(({ length }) => `"${length}"`).join(", ")}]`,
    '  y-axis "seconds"',
    `  bar [${points.map(({ seconds }) => short(seconds)).join(", ")}]`,
    `  line [${fitted.map(short).join(", ")}]`,
    `  line [${points.map(({ length }) => short(fixed + linear * length)).join(", ")}]`,
    "```",
    "",
    `The growth has three parts: ${short(fixed)} s that every step takes (optimiser), ${short(1000 * linear)} s per 1,000 tokens for work that is proportional to the tokens (matrix products, norms, loss), and ${short(1e6 * quadratic)} s per 1,000 tokens squared for causal attention, in which each token attends to all before it.${crossing} at ${last.length} tokens attention is ${share.toFixed(0)} % of the time. The fit is at most ${(100 * worst).toFixed(0)} % off a measurement.`,
  ].join("\n");
}
