/**
 * Questions that are the same and open at the same time are asked once. Invariant: the work ends when the last of those that wait for it has
 * left, and not before.
 */
import { whenAborted } from "../../system/when-aborted.js";

interface Call<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  waiting: number;
}

export class SharedCalls<T> {
  private readonly calls = new Map<string | symbol, Call<T>>();

  /** Whether the work of this key is under way. */
  has(key: string | symbol): boolean {
    return this.calls.has(key);
  }

  /** The result of the work under way for `key`, or of `work`, which is begun; null when the signal aborts first. Rejects as the work does. */
  async join(key: string | symbol, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T | null> {
    if (signal.aborted) return null;
    const call = this.calls.get(key) ?? this.begin(key, work);
    call.waiting++;
    let release = () => {};
    const left = new Promise<null>((resolve) => {
      release = whenAborted(signal, () => resolve(null));
    });
    try {
      return await Promise.race([call.result, left]);
    } finally {
      release();
      call.waiting--;
      if (call.waiting === 0) this.end(key, call);
    }
  }

  private begin(key: string | symbol, work: (signal: AbortSignal) => Promise<T>): Call<T> {
    const controller = new AbortController();
    const result = work(controller.signal);
    // Those that wait hear of a rejection; where all have left, nobody has to.
    result.catch(() => undefined);
    const call = { result, controller, waiting: 0 };
    this.calls.set(key, call);
    const forget = () => {
      if (this.calls.get(key) === call) this.calls.delete(key);
    };
    void result.then(forget, forget);
    return call;
  }

  private end(key: string | symbol, call: Call<T>): void {
    if (this.calls.get(key) === call) this.calls.delete(key);
    call.controller.abort();
  }
}
