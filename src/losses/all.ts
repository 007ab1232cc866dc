/** The built-in policy losses by the names that a configuration uses. A new one is a file here and a line below. */

export { CISPO as cispo } from "./cispo.js";
export { DAPO as dapo } from "./dapo.js";
export { DPPO_TV as dppo_tv } from "./dppo-tv.js";
export { DR_GRPO as dr_grpo } from "./dr-grpo.js";
export { GMPO as gmpo } from "./gmpo.js";
export { GRPO as grpo } from "./grpo.js";
export { GSPO as gspo } from "./gspo.js";
export { REINFORCE as reinforce } from "./reinforce.js";
export { SAPO as sapo } from "./sapo.js";
