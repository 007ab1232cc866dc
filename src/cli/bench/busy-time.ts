/** How long two parties were at work, alone and at once. The clock is given. */
import type { Time } from "../../system/time.js";

/** One call: from when to when, ms. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** Ms in [from, to] in which at least one of the spans was open; spans may overlap and lie in any order. */
export function busyMs(spans: readonly Span[], { from, to }: Span): number {
  let [busy, reached] = [0, from];
  for (const span of [...spans].sort((a, b) => a.from - b.from)) {
    const [start, end] = [Math.max(span.from, reached), Math.min(span.to, to)];
    if (end <= start) continue;
    busy += end - start;
    reached = end;
  }
  return busy;
}

/** Ms in which both were at work: those of each less those of either. */
export function bothBusyMs(one: readonly Span[], other: readonly Span[], window: Span): number {
  return busyMs(one, window) + busyMs(other, window) - busyMs([...one, ...other], window);
}

/** The same object, each of whose calls that takes time leaves a span; `watched` says which are looked at. */
export function timedCalls<T extends object>(
  part: T,
  { spans, now, watched }: { readonly spans: Span[]; readonly now: Time["now"]; watched(name: string): boolean },
): T {
  const timed =
    (call: (...args: unknown[]) => unknown) =>
    (...args: unknown[]) => {
      const from = now();
      const result = call.apply(part, args);
      if (!(result instanceof Promise)) return result;
      return result.finally(() => spans.push({ from, to: now() }));
    };
  return Object.fromEntries(
    Object.entries(part).map(([name, value]) => [
      name,
      typeof value === "function" && watched(name) ? timed(value) : value,
    ]),
  ) as T;
}
