/** Comparison of results with golden values, and the walk over a golden's leaves that the meta-test needs. */

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** Relative tolerance of float64 functions, the absolute one near zero, and that of values too large to add 1 to otherwise. */
const RELATIVE = 1e-9;
const ABSOLUTE = 1e-12;
const LARGE = 1e-14;
const LARGE_ABSOLUTE = 0.25;

/** Throws unless `actual` equals `expected`: numbers within tolerance, the rest exactly, arrays and objects deeply. */
export function same(actual: unknown, expected: unknown, path: string): void {
  if (typeof expected === "number" && typeof actual === "number") {
    const size = Math.max(Math.abs(actual), Math.abs(expected));
    const limit = Math.max(ABSOLUTE, Math.min(RELATIVE * size, LARGE_ABSOLUTE), LARGE * size);
    if (actual === expected || Math.abs(actual - expected) <= limit) return;
  } else if (Array.isArray(expected) && Array.isArray(actual)) {
    if (expected.length === actual.length) {
      expected.forEach((value, index) => {
        same(actual[index], value, `${path}[${index}]`);
      });
      return;
    }
  } else if (Object.is(actual, expected)) return;
  throw new Error(`${path}: expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`);
}

export type Path = readonly (string | number)[];

/** Paths of all scalars below a value. */
export function leaves(value: Json, path: Path = []): Path[] {
  if (Array.isArray(value)) return value.flatMap((item, index) => leaves(item, [...path, index]));
  if (typeof value === "object" && value !== null) {
    return Object.entries(value).flatMap(([key, item]) => leaves(item, [...path, key]));
  }
  return [path];
}

export function valueAt(root: Json, path: Path): Json {
  let node: Json = root;
  for (const key of path) node = (node as Record<string | number, Json>)[key] as Json;
  return node;
}

/** A deep copy with one scalar replaced. */
export function withValue(root: Json, path: Path, value: Json): Json {
  const copy = structuredClone(root);
  const last = path[path.length - 1] as string | number;
  const parent = valueAt(copy, path.slice(0, -1)) as Record<string | number, Json>;
  parent[last] = value;
  return copy;
}

/** A path as text, array indices as *: `cases.*.loss`. */
export function pattern(path: Path): string {
  return path.map((key) => (typeof key === "number" ? "*" : key)).join(".");
}

/** Other values in place of a scalar: far and near for numbers. */
export function perturbations(value: Json): Json[] {
  if (typeof value === "number") return [value + 1, value - 1, value + Math.max(Math.abs(value), 1) * 1e-6];
  if (typeof value === "boolean") return [!value];
  if (typeof value === "string") return [`${value}x`, null];
  return [1, "x"];
}
