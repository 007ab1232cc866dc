/** The built-in filters by the names that `dynamicSampling.filter` uses. A new one is a file of its own and a line below. */
export { createKeepAllFilter as none, createVarianceFilter as variance } from "../../filter/filter.js";
