/** The families that can be run, one line each. */
export { gemma } from "./gemma.js";
export { llama } from "./llama.js";
export { qwen2 } from "./qwen2.js";
export { qwen3 } from "./qwen3.js";
