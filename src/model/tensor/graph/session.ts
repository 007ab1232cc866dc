/**
 * Graphs as saved models in sessions of their own, through the stock binding. A session takes and gives host memory: on the CPU
 * that copies nothing, on a GPU it would move every weight at every call.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { native } from "../tf.js";
import type { Graph } from "./graph.js";

/** What the binding says of a tensor that it made. */
export interface RawTensor {
  readonly id: number;
  readonly shape: readonly number[];
  readonly dtype: number;
}

/** A graph that is ready to run. */
export interface LoadedGraph {
  /** `ids`: the binding's handles, in the order of the feeds; results in that of the fetches. */
  run(ids: readonly number[]): readonly RawTensor[];
  unload(): void;
}

/** What makes graphs ready to run. */
export interface GraphLoader {
  /**
   * `feeds` and `fetches` name values as `reference` does, each once. `name` is the function's, for people.
   * Throws what TensorFlow says of a graph that it refuses.
   */
  load(name: string, graph: Graph, feeds: readonly string[], fetches: readonly string[]): LoadedGraph;
}

export const SESSIONS: GraphLoader = {
  load(_, graph, feeds, fetches) {
    const folder = mkdtempSync(join(tmpdir(), "weir-graph-"));
    mkdirSync(join(folder, "variables"));
    writeFileSync(join(folder, "saved_model.pb"), graph.toSavedModel());
    try {
      const session = native().binding.loadSavedModel(folder, "serve");
      const inputs = feeds.map((name) => `${name}:0`).join();
      const outputs = fetches.map((name) => (name.includes(":") ? name : `${name}:0`)).join();
      return {
        run: (ids) => native().binding.runSavedModel(session, ids, inputs, outputs),
        unload: () => native().binding.deleteSavedModel(session),
      };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
