/**
 * Owns the shapes of native/operations.json: "[N, d]", "[tokens, kv·(heads_per_kv + 2)·dh]". Sizes are names, whole numbers and
 * sums, differences, products and quotients of them, `roundup(x, n)`, and `columns(input)`: the last axes of a list, summed.
 */
import { WeirError } from "../../../errors.js";

/** Sizes by name. */
export type Sizes = Map<string, number>;

type Columns = (input: string) => number;

class Parser {
  private readonly tokens: string[];
  private at = 0;

  constructor(
    text: string,
    private readonly value: (name: string) => number | undefined,
    private readonly columns: Columns,
  ) {
    this.tokens = text.match(/[A-Za-z_]\w*|\d+|[()+·/,−]/g) ?? [];
  }

  sum(): number {
    let left = this.product();
    for (let sign = this.take("+", "−"); sign !== null; sign = this.take("+", "−")) {
      const right = this.product();
      left = sign === "+" ? left + right : left - right;
    }
    return left;
  }

  private product(): number {
    let left = this.atom();
    for (let sign = this.take("·", "/"); sign !== null; sign = this.take("·", "/")) {
      const right = this.atom();
      left = sign === "·" ? left * right : left / right;
    }
    return left;
  }

  private atom(): number {
    const token = this.tokens[this.at++] ?? "";
    if (/^\d/.test(token)) return Number(token);
    if (token === "(") {
      const inner = this.sum();
      this.take(")");
      return inner;
    }
    if (this.take("(") === null) return this.value(token) ?? Number.NaN;
    if (token === "columns") {
      const input = this.tokens[this.at++] ?? "";
      this.take(")");
      return this.columns(input);
    }
    const x = this.sum();
    this.take(",");
    const step = this.sum();
    this.take(")");
    return Math.ceil(x / step) * step;
  }

  private take(...wanted: string[]): string | null {
    const token = this.tokens[this.at] ?? "";
    if (!wanted.includes(token)) return null;
    this.at += 1;
    return token;
  }
}

const noColumns: Columns = () => Number.NaN;

/** NaN where a name is not known. */
function sizeOf(text: string, sizes: Sizes, columns: Columns): number {
  return new Parser(text, (name) => sizes.get(name), columns).sum();
}

const isName = (text: string) => /^[A-Za-z_]\w*$/.test(text);

const split = new Map<string, readonly string[]>();

/** "[a, roundup(b, 2)]" → ["a", "roundup(b, 2)"]. */
function axesOf(shape: string): readonly string[] {
  const known = split.get(shape);
  if (known !== undefined) return known;
  const axes: string[] = [];
  let depth = 0;
  let axis = "";
  for (const letter of shape.slice(1, -1)) {
    depth += letter === "(" ? 1 : letter === ")" ? -1 : 0;
    if (letter === "," && depth === 0) {
      axes.push(axis.trim());
      axis = "";
    } else axis += letter;
  }
  if (axis.trim() !== "") axes.push(axis.trim());
  split.set(shape, axes);
  return axes;
}

/**
 * Takes the names of declared shapes from actual ones, then the sizes that follow. Throws WEIR_E_SHAPE where a rank or a size
 * does not fit.
 */
export function bindSizes(
  operation: string,
  inputs: readonly { readonly name: string; readonly declared: string; readonly actual: readonly number[] }[],
  derived: Readonly<Record<string, string>>,
  sizes: Sizes,
): void {
  const refuse = (name: string, declared: string, actual: readonly number[]): never => {
    throw new WeirError(
      "WEIR_E_SHAPE",
      `${operation}: expected ${name} of shape ${declared}, got [${actual.join(", ")}]`,
      { operation, input: name },
    );
  };
  for (const { name, declared, actual } of inputs) {
    const axes = axesOf(declared);
    if (axes.length !== actual.length) refuse(name, declared, actual);
    axes.forEach((axis, index) => {
      if (axis !== "*" && isName(axis) && !sizes.has(axis) && !(axis in derived))
        sizes.set(axis, actual[index] as number);
    });
  }
  for (const [name, text] of Object.entries(derived)) sizes.set(name, sizeOf(text, sizes, noColumns));
  for (const { name, declared, actual } of inputs) {
    axesOf(declared).forEach((axis, index) => {
      const wanted = axis === "*" ? Number.NaN : sizeOf(axis, sizes, noColumns);
      if (!Number.isNaN(wanted) && wanted !== actual[index]) refuse(name, declared, actual);
    });
  }
}

/** A declared shape in numbers. Throws WEIR_E_SHAPE where one is not known or not whole. */
export function shapeOf(operation: string, declared: string, sizes: Sizes, columns: Columns): number[] {
  return axesOf(declared).map((axis) => {
    const size = sizeOf(axis, sizes, columns);
    if (Number.isInteger(size) && size >= 0) return size;
    throw new WeirError("WEIR_E_SHAPE", `${operation}: the size ${axis} of ${declared} is ${size}`, { operation });
  });
}
