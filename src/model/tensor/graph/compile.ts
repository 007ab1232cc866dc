/**
 * Compiled functions: a tfjs function is traced once per shape of its inputs, and its graph is loaded and run by TensorFlow: in
 * a session (session.ts) or as a function of the eager context (functions.ts). State stays outside the graphs, in tensors that
 * are given and taken without a copy, so one graph serves every layer of a model, and a new shape costs one small graph.
 * Invariants: a call returns what the function itself would return, up to rounding; an input that the function returns is
 * the same tensor, not a copy; graphs are loaded once and freed together.
 */
import type { EnginePrecision } from "../../../contracts/engine.js";
import { WeirError } from "../../../errors.js";
import { native, type Tensor, tf } from "../tf.js";
import { type Graph, reference } from "./graph.js";
import { type GraphLoader, type LoadedGraph, type RawTensor, SESSIONS } from "./session.js";
import { trace } from "./trace.js";
import { DTYPE_NUMBER, type GraphDtype } from "./values.js";

/** Tensors in any nesting of arrays and objects; null and numbers stay as they are. */
export type Tree = Tensor | null | number | string | boolean | readonly Tree[] | { readonly [key: string]: Tree };

interface Executable {
  /** Null where every output is an input. */
  readonly loaded: LoadedGraph | null;
  readonly graph: Graph;
  /** Rebuilds the output tree from the inputs and the fetched tensors. */
  readonly rebuild: (inputs: readonly Tensor[], fetched: readonly Tensor[]) => unknown;
}

/** Cost of compiling so far. */
export interface CompileCosts {
  graphs: number;
  seconds: number;
}

const DTYPE_OF = new Map(Object.entries(DTYPE_NUMBER).map(([name, number]) => [number, name as GraphDtype]));

function isTensor(value: unknown): value is Tensor {
  return value !== null && typeof value === "object" && "dataId" in value;
}

/** Tensors of a tree in a fixed order. */
export function tensorsOf(tree: unknown, into: Tensor[] = []): Tensor[] {
  if (isTensor(tree)) into.push(tree);
  else if (tree !== null && typeof tree === "object") for (const child of Object.values(tree)) tensorsOf(child, into);
  return into;
}

/** The same tree with every tensor replaced. */
function mapTree(tree: unknown, change: (tensor: Tensor) => unknown): unknown {
  if (isTensor(tree)) return change(tree);
  if (Array.isArray(tree)) return tree.map((child) => mapTree(child, change));
  if (tree !== null && typeof tree === "object") {
    return Object.fromEntries(Object.entries(tree).map(([key, child]) => [key, mapTree(child, change)]));
  }
  return tree;
}

/** Shape of a tree without its tensors' values: what a compiled graph depends on. */
function signatureOf(tree: unknown): string {
  if (isTensor(tree)) return `${native().tensorMap.get(tree.dataId).dtype}[${tree.shape}]`;
  if (tree !== null && typeof tree === "object") {
    let text = "{";
    for (const key in tree) text += `${key}:${signatureOf((tree as Record<string, unknown>)[key])},`;
    return `${text}}`;
  }
  return String(tree);
}

/** Graphs of one engine. */
export class Compiler {
  readonly costs: CompileCosts = { graphs: 0, seconds: 0 };
  /** Sees the graph of every call; for measurements. */
  observer: ((graph: Graph) => void) | null = null;
  private readonly executables = new Map<string, Executable>();

  /** `ownProducts`: matrix products of this type run in weir's own kernel. */
  constructor(
    readonly products: EnginePrecision,
    private readonly ownProducts = false,
    private readonly loader: GraphLoader = SESSIONS,
  ) {}

  /**
   * Runs `body` on `inputs` as a compiled graph. `key` names the function and every static choice that the inputs' shapes do
   * not show. Throws as tracing does, and WEIR_E_NATIVE_ENGINE where TensorFlow refuses the graph.
   */
  run<I, O>(key: string, body: (inputs: I) => O, inputs: I): O {
    const signature = `${key}${signatureOf(inputs)}`;
    const tensors = tensorsOf(inputs);
    const known = this.executables.get(signature);
    if (known !== undefined) {
      this.observer?.(known.graph);
      return call(known, tensors) as O;
    }
    const started = performance.now();
    const made = this.build(key, body, inputs, tensors);
    this.executables.set(signature, made);
    try {
      return call(made, tensors) as O;
    } finally {
      this.costs.graphs += 1;
      this.costs.seconds += (performance.now() - started) / 1000;
    }
  }

  /** Frees all graphs. */
  dispose(): void {
    for (const { loaded } of this.executables.values()) loaded?.unload();
    this.executables.clear();
  }

  private build<I, O>(key: string, body: (inputs: I) => O, inputs: I, tensors: readonly Tensor[]): Executable {
    const { graph, feeds, fetches, rebuild } = trace(this.products, this.ownProducts, (tracer) => {
      // One placeholder per place in the tree: tensors that are the same now may differ in the next call.
      const stands = tensors.map((tensor) => {
        const { dtype } = native().tensorMap.get(tensor.dataId);
        const type = DTYPE_OF.get(dtype);
        if (type === undefined) throw new WeirError("WEIR_E_SHAPE", `${key}: a graph input has type number ${dtype}`);
        return tracer.input(tensor.shape, type);
      });
      const places = new Map(stands.map((stand, place) => [reference(tracer.valueOf(stand)), place]));
      let next = 0;
      const outputs = body(mapTree(inputs, () => stands[next++]) as I);
      const fetchPlaces = new Map<string, number>();
      const plan = mapTree(outputs, (tensor) => {
        const name = reference(tracer.valueOf(tensor));
        const input = places.get(name);
        if (input !== undefined) return { dataId: null, input };
        if (!fetchPlaces.has(name)) fetchPlaces.set(name, fetchPlaces.size);
        return { dataId: null, fetched: fetchPlaces.get(name) };
      });
      return {
        graph: tracer.graph,
        feeds: [...places.keys()],
        fetches: [...fetchPlaces.keys()],
        rebuild: (given: readonly Tensor[], fetched: readonly Tensor[]) => rebuildTree(plan, given, fetched),
      };
    });
    try {
      const loaded = fetches.length === 0 ? null : this.loader.load(key, graph, feeds, fetches);
      return { loaded, graph, rebuild };
    } catch (cause) {
      throw new WeirError(
        "WEIR_E_NATIVE_ENGINE",
        `TensorFlow refused the graph of ${key} (${(cause as Error).message}); set engine.executor = eager`,
        { key },
        { cause },
      );
    }
  }
}

/** Fills a plan: `{dataId, input}` and `{dataId, fetched}` stand for tensors. */
function rebuildTree(plan: unknown, given: readonly Tensor[], fetched: readonly Tensor[]): unknown {
  return mapTree(plan, (place) => {
    const { input, fetched: output } = place as unknown as { input?: number; fetched?: number };
    return input === undefined ? fetched[output as number] : given[input];
  });
}

function call({ loaded, rebuild }: Executable, tensors: readonly Tensor[]): unknown {
  if (loaded === null) return rebuild(tensors, []);
  return rebuild(tensors, loaded.run(native().getInputTensorIds(tensors)).map(adopt));
}

/** A tf.Tensor over a handle of the binding; bfloat16 goes under the label float32. */
function adopt({ id, shape, dtype }: RawTensor): Tensor {
  const dataId = {};
  native().tensorMap.set(dataId, { shape, dtype, id, values: null, refCount: 1 });
  const name = DTYPE_OF.get(dtype);
  return tf.engine().makeTensorFromTensorInfo({
    dataId,
    shape: [...shape],
    dtype: name === "int32" || name === "bool" ? name : "float32",
  });
}
