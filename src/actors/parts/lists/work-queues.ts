/** The built-in work queues by the names that `workQueue.actor` uses; `none` is the name of having none. */
export { memoryWorkQueue as memory } from "./embedded.js";
export { natsWorkQueue as nats } from "./nats.js";
