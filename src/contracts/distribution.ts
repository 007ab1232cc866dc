/**
 * How long something takes, or how large it is: always the same, evenly between two ends, log-normal with the standard deviation
 * `sigma` of the logarithm, or by measured quantiles at equal distances from the lowest to the highest.
 */
export type Distribution =
  | number
  | { readonly uniform: readonly [low: number, high: number] }
  | { readonly lognormal: { readonly median: number; readonly sigma: number } }
  | { readonly quantiles: readonly number[] };
