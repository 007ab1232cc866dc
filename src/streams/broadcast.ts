/**
 * Delivers a run's records to its subscribers. A subscriber that throws, rejects or completes harms neither the run, nor another
 * subscriber, nor the process.
 * Invariants: only the owner can emit, complete or fail a stream; whatever a subscriber throws is handed to `onFault`, at most once
 * per subscription, and never becomes an uncaught exception; a subscriber that threw keeps its subscription (an operator that
 * threw has ended its own chain, as in RxJS); after the end a late subscriber completes at once.
 */
import { Observable, type Observer, type Operator, Subject, Subscriber, type Subscription } from "rxjs";

type OnFault = (error: unknown) => void;

/** The argument of `subscribe`, in any of its forms. */
type Listener<T> = Partial<Observer<T>> | ((value: T) => unknown) | null | undefined;

/** An observable that isolates its subscribers from one another, also at the end of a `pipe`. */
class GuardedObservable<T> extends Observable<T> {
  constructor(
    private readonly onFault: OnFault,
    subscribe?: (subscriber: Subscriber<T>) => Subscription,
  ) {
    super(subscribe);
  }

  /** RxJS makes the observable of every operator here, so that a chain stays guarded to its end. */
  override lift<R>(operator?: Operator<T, R>): Observable<R> {
    const lifted = new GuardedObservable<R>(this.onFault);
    Object.assign(lifted, { source: this, operator });
    return lifted;
  }

  override subscribe(
    listener?: Listener<T>,
    error?: ((error: unknown) => void) | null,
    complete?: (() => void) | null,
  ): Subscription {
    // Operators and firstValueFrom subscribe by RxJS's own subscriber, which passes errors on to its listeners.
    if (isSubscriber<T>(listener)) return super.subscribe(listener);
    const given: Partial<Observer<T>> =
      typeof listener === "function"
        ? { next: listener, ...(error ? { error } : {}), ...(complete ? { complete } : {}) }
        : (listener ?? { ...(error ? { error } : {}), ...(complete ? { complete } : {}) });
    return super.subscribe(guarded(given, this.onFault));
  }
}

/** A subscriber of RxJS itself, from any copy of the library: an observer that is also a subscription. */
function isSubscriber<T>(listener: Listener<T>): listener is Subscriber<T> {
  if (listener instanceof Subscriber) return true;
  const methods = ["next", "error", "complete", "add", "remove", "unsubscribe"];
  const record = listener as Record<string, unknown> | null | undefined;
  return typeof record === "object" && methods.every((name) => typeof record?.[name] === "function");
}

/** The listener with every throw and rejection caught. */
function guarded<T>(listener: Partial<Observer<T>>, onFault: OnFault): Observer<T> {
  let told = false;
  const fault = (error: unknown) => {
    if (told) return;
    told = true;
    onFault(error);
  };
  const attempt = (act: () => unknown) => {
    try {
      const result = act();
      // An async listener rejects instead of throwing.
      if (isThenable(result)) result.then(undefined, fault);
    } catch (error) {
      fault(error);
    }
  };
  return {
    next: (value) => attempt(() => listener.next?.(value)),
    error: (error) => (listener.error ? attempt(() => listener.error?.(error)) : fault(error)),
    complete: () => attempt(() => listener.complete?.()),
  };
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

/** One stream of a run: `next` and `complete` for its owner, `observable` for everyone else. */
export class Broadcast<T> {
  private readonly subject = new Subject<T>();
  readonly observable: Observable<T>;

  constructor(onFault: OnFault) {
    this.observable = new GuardedObservable<T>(onFault, (subscriber) => this.subject.subscribe(subscriber));
  }

  next(value: T): void {
    this.subject.next(value);
  }

  complete(): void {
    this.subject.complete();
  }
}
