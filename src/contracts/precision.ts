/** Element types of the embedded engine's large matrix products. */
export const PRECISIONS = ["float32", "bfloat16"] as const;
export type EnginePrecision = (typeof PRECISIONS)[number];

/** Element types that weights are written in. */
export const WEIGHT_DTYPES = ["float32", "bfloat16", "float16"] as const;
export type WeightDtype = (typeof WEIGHT_DTYPES)[number];

/** Element types that engines and servers multiply matrices in: those that weights are written in. */
export type ProductPrecision = WeightDtype;
