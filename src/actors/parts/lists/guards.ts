/** The built-in guards by the names that `guard.actor` uses. A new one is a file of its own and a line below. */
export { createFiniteGuard as finite } from "../../guard/guard.js";
