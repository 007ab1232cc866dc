/** The built-in policy stores by the names that `policyStore.actor` uses. A new one is a file of its own and a line below. */
export { enginePolicyStore as engine, folderPolicyStore as folder } from "./embedded.js";
export { natsPolicyStore as nats } from "./nats.js";
