/**
 * Time against length as a figure and its explanation: seconds = linear · n + quadratic · n², fitted to the measured steps.
 * What is done per token (products, norms, loss, optimiser) grows with n, causal attention with n². Pure.
 */

export interface LengthPoint {
  readonly length: number;
  readonly seconds: number;
}

/** Least squares of the relative error, so that short lengths count as much as long ones. */
export function fitGrowth(points: readonly LengthPoint[]): { readonly linear: number; readonly quadratic: number } {
  // With u = n/t and v = n²/t the residuals are 1 − (linear·u + quadratic·v).
  let [uu, uv, vv, u1, v1] = [0, 0, 0, 0, 0];
  for (const { length, seconds } of points) {
    const u = length / seconds;
    const v = length ** 2 / seconds;
    uu += u * u;
    uv += u * v;
    vv += v * v;
    u1 += u;
    v1 += v;
  }
  const determinant = uu * vv - uv * uv;
  if (points.length < 2 || determinant === 0) return { linear: uu === 0 ? 0 : u1 / uu, quadratic: 0 };
  return { linear: (u1 * vv - v1 * uv) / determinant, quadratic: (v1 * uu - u1 * uv) / determinant };
}

const seconds = (value: number): string => String(Number(value.toPrecision(3)));

/** A chart in Mermaid with what it shows in words; empty where fewer than three lengths were measured. */
export function lengthFigure(points: readonly LengthPoint[]): string {
  if (points.length < 3) return "";
  const { linear, quadratic } = fitGrowth(points);
  const fitted = points.map(({ length }) => linear * length + quadratic * length ** 2);
  const last = points.at(-1) as LengthPoint;
  const share = (100 * quadratic * last.length ** 2) / (fitted.at(-1) as number);
  const worst = Math.max(...points.map((point, i) => Math.abs((fitted[i] as number) / point.seconds - 1)));
  const crossing = quadratic > 0 ? Math.round(linear / quadratic) : null;
  return [
    "```mermaid",
    "xychart-beta",
    '  title "Seconds of one step: measured (bars), fitted, and its linear part"',
    `  x-axis "prompt tokens" [${points.map(({ length }) => `"${length}"`).join(", ")}]`,
    '  y-axis "seconds"',
    `  bar [${points.map((point) => seconds(point.seconds)).join(", ")}]`,
    `  line [${fitted.map(seconds).join(", ")}]`,
    `  line [${points.map(({ length }) => seconds(linear * length)).join(", ")}]`,
    "```",
    "",
    `The growth is that of two parts: ${seconds(1000 * linear)} s per 1,000 tokens for what is done token by token (matrix products, norms, loss), and ${seconds(1e6 * quadratic)} s per 1,000 tokens squared for causal attention, in which each token meets all before it. The two are equal at ${crossing === null ? "no length" : `${crossing} tokens`}; at ${last.length} attention is ${share.toFixed(0)} % of the time. The fit leaves at most ${(100 * worst).toFixed(0)} % of a measurement unexplained. Memory grows with the length alone, since no score matrix is held.`,
  ].join("\n");
}
