/** The formats of task rows by the names that `data.format` uses. A new one is a file here and a line below. */
export { DOCMATH as docmath } from "./docmath.js";
export { FRAMES as frames } from "./frames.js";
export { LONGBENCH as longbench } from "./longbench.js";
export { TASK as task } from "./task.js";
export { VERL as verl } from "./verl.js";
