import { defer, merge, type Observable, repeat, takeWhile } from "rxjs";
import { type BoundedQueue, END } from "./bounded-queue.js";

/**
 * Demand-driven workers over a queue. Each worker pulls an item only after it has finished the last one, so at most `workers`
 * items are in progress and the queue's bound holds the producer back. (`mergeMap(fn, n)` and `from(asyncIterable)` buffer
 * without bound and give no demand signal; they are not used on the training path.)
 */

/**
 * Runs `handle` for every item of `input` on `workers` parallel workers and emits the results as they come.
 * Completes when the queue has ended and every worker is idle; errors with the first error of any worker.
 */
export function runWorkers<In, Out>(
  input: BoundedQueue<In>,
  workers: number,
  handle: (item: In) => Promise<Out>,
): Observable<Out> {
  const one = async (): Promise<Out | typeof END> => {
    const item = await input.pull();
    return item === END ? END : handle(item);
  };
  const worker = () =>
    defer(one).pipe(
      repeat(),
      takeWhile((value): value is Out => value !== END),
    );
  return merge(...Array.from({ length: workers }, worker));
}
