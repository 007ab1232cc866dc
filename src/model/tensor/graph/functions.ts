/**
 * Graphs as functions of the eager context (native/functions): called like operations, they take and give tensors on the
 * device, so that weights are uploaded once and stay there. With `xla`, XLA compiles them, but for those with loops or branches: it
 * knows functional ones only, and the decoding loop is written in Enter, Switch and Merge.
 * Invariant: names are never used twice, so that a function that was removed is never called by another's name.
 */
import type { FunctionsAddon } from "../native/native.js";
import { native } from "../tf.js";
import type { GraphLoader } from "./session.js";

let functions = 0;

export function deviceFunctions(addon: FunctionsAddon, xla: boolean): GraphLoader {
  return {
    load(name, graph, feeds, fetches) {
      functions += 1;
      const unique = `weir_${functions}_${name.replaceAll(/\W+/g, "_")}`;
      addon.addFunction(unique, graph.toGraphDef(), feeds, fetches, xla && !graph.hasControlFlow);
      return {
        run: (ids) => native().binding.executeOp(unique, [], ids, fetches.length),
        unload: () => addon.removeFunction(unique),
      };
    },
  };
}
