/** The built-in trainers by the names that `trainer.actor` uses. A new one is a folder of its own and a line below. */
export { engineTrainer as engine } from "./embedded.js";
export { tinkerTrainer as tinker } from "./tinker.js";
