/** The built-in samplers by the names that `sampler.actor` uses. A new one is a folder of its own and a line below. */
export { engineSampler as engine } from "./embedded.js";
export { sglangSampler as sglang, vllmSampler as vllm } from "./servers.js";
export { tinkerSampler as tinker } from "./tinker.js";
