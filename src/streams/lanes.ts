import { defer, merge, type Observable, repeat, takeWhile } from "rxjs";
import { type BoundedQueue, END } from "./bounded-queue.js";

/**
 * Demand-driven lanes over a queue. Each lane pulls an item only when it has finished the last one, so at most `lanes`
 * items are in work and the queue's bound holds the producer back. (`mergeMap(fn, n)` and `from(asyncIterable)` buffer
 * without bound and give no demand signal; they are not used on the training path.)
 */

/**
 * Runs `handle` for every item of `input` on `lanes` parallel lanes and emits the results as they come.
 * Completes when the queue has ended and every lane is idle; errors with the first error of any lane.
 */
export function pullLanes<In, Out>(
  input: BoundedQueue<In>,
  lanes: number,
  handle: (item: In) => Promise<Out>,
): Observable<Out> {
  const one = async (): Promise<Out | typeof END> => {
    const item = await input.pull();
    return item === END ? END : handle(item);
  };
  const lane = () =>
    defer(one).pipe(
      repeat(),
      takeWhile((value): value is Out => value !== END),
    );
  return merge(...Array.from({ length: lanes }, lane));
}
