/** Element types that engines and servers multiply matrices in. */
export const PRODUCT_PRECISIONS = ["float32", "float16", "bfloat16"] as const;
export type ProductPrecision = (typeof PRODUCT_PRECISIONS)[number];
