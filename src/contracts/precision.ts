/** Element types that weights are written in. */
export const WEIGHT_DTYPES = ["float32", "bfloat16", "float16"] as const;
export type WeightDtype = (typeof WEIGHT_DTYPES)[number];

/** Element types that engines and servers multiply matrices in: those that weights are stored in. */
export const PRODUCT_PRECISIONS = WEIGHT_DTYPES;
export type ProductPrecision = WeightDtype;
