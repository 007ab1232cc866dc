import type { AsyncBuffer } from "hyparquet";

/**
 * A file whose reads are observed: the library drops promises of a damaged file's other columns once one has failed, and an
 * unhandled rejection of a dropped promise would end the process.
 */
export function observedFile(file: AsyncBuffer): AsyncBuffer {
  return {
    byteLength: file.byteLength,
    slice: (start, end) => observed(Promise.resolve(file.slice(start, end))),
  };
}

/** The promise itself; no rejection of it or of what is chained to it counts as unhandled. */
function observed<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  const chain = promise.then.bind(promise) as (...handlers: unknown[]) => Promise<T>;
  // biome-ignore lint/suspicious/noThenProperty: it is a promise already, and its chain is what has to be observed.
  return Object.defineProperty(promise, "then", { value: (...handlers: unknown[]) => observed(chain(...handlers)) });
}
