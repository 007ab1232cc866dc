/**
 * Whether two mathematical answers are equal, with the tolerances of math-verify: exact, but numbers with a decimal point to 6 decimals; 50 % is
 * 0.5 and also 50; sets in any order. Expressions with variables are compared by their values at fixed points.
 */

import { type MathAnswer, readMath } from "./answer.js";
import type { Expression } from "./expression.js";

/** Values of the variables, of both signs; no integers, so that identities do not hold by chance. */
const POINTS = [0.7310585786, 1.6180339887, -2.2360679775, 0.3183098862, -0.5671432904] as const;
const RELATIVE_TOLERANCE = 1e-12;
const DECIMALS = 6;

/** Null where the gold answer is none that can be compared, so that nothing is known about a different text. */
export function sameMath(prediction: string, gold: string): boolean | null {
  const [found, wanted] = [readMath(prediction), readMath(gold)];
  if (prediction.trim() === gold.trim() || same(found, wanted)) return true;
  return wanted.kind === "unread" ? null : false;
}

function same(found: MathAnswer, wanted: MathAnswer): boolean {
  if (found.kind === "equation" && wanted.kind === "equation")
    return found.name === wanted.name && same(found.right, wanted.right);
  if (found.kind === "equation") return same(found.right, wanted);
  if (wanted.kind === "equation") return same(found, wanted.right);
  if (found.kind === "words" && wanted.kind === "words") return found.text === wanted.text;
  if (found.kind === "unread" && wanted.kind === "unread") return found.text === wanted.text;
  if (found.kind === "expression" && wanted.kind === "expression")
    return sameValue(found.expression, wanted.expression);
  if (found.kind === "list" && wanted.kind === "list") return sameList(found, wanted);
  return false;
}

type List = Extract<MathAnswer, { readonly kind: "list" }>;

/** An interval needs the same ends; a tuple its order, unless the prediction is a set. */
function sameList(found: List, wanted: List): boolean {
  if (found.items.length !== wanted.items.length) return false;
  if ((found.form === "interval" || wanted.form === "interval") && found.ends !== wanted.ends) return false;
  const inOrder = wanted.items.every((item, index) => same(found.items[index] as MathAnswer, item));
  if (inOrder || wanted.form !== "set") return inOrder;
  const left = [...found.items];
  return wanted.items.every((item) => {
    const at = left.findIndex((other) => same(other, item));
    if (at >= 0) left.splice(at, 1);
    return at >= 0;
  });
}

function sameValue(found: Expression, wanted: Expression): boolean {
  const [a, b] = [found.atom, wanted.atom];
  if (a?.form === "integer" && b?.form === "integer") return a.number === b.number;
  const decimal = a?.form === "decimal" || b?.form === "decimal";
  const names = [...new Set([...found.variables, ...wanted.variables])].sort();
  const pairs = POINTS.map((_, shift) => {
    const at = (name: string) => POINTS[(names.indexOf(name) + shift) % POINTS.length] as number;
    return [found.value(at), wanted.value(at)] as const;
  });
  // Where neither has a real value there is nothing to compare.
  const real = pairs.filter((pair) => !pair.every(Number.isNaN));
  return real.length > 0 && real.every(([a, b]) => close(a, b, decimal));
}

function close(a: number, b: number, decimal: boolean): boolean {
  if (a === b || !Number.isFinite(a) || !Number.isFinite(b)) return a === b;
  if (decimal) return Math.round(a * 10 ** DECIMALS) === Math.round(b * 10 ** DECIMALS);
  return Math.abs(a - b) <= RELATIVE_TOLERANCE * Math.max(Math.abs(a), Math.abs(b));
}
