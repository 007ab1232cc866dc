/** Owns how a broken contract of a replaceable part is told: which part, what it did, what the contract says. */
import { WeirError } from "../../errors.js";
import { withDeadline } from "../../streams/deadline.js";
import type { Timers } from "../../system/time.js";

/** Longest excerpt of a value in a message. */
const SHOWN_CHARACTERS = 200;

/** What a part is called in messages: its kind of part and its own name. */
export interface PartLabel {
  readonly part: string;
  readonly name: string;
}

/** A value as a message shows it, shortened; never throws. */
export function shown(value: unknown): string {
  let text: string | undefined;
  try {
    text =
      typeof value === "number" || value === undefined || typeof value === "function"
        ? String(typeof value === "function" ? `a function (${value.name || "without name"})` : value)
        : JSON.stringify(value, (_, inner) =>
            typeof inner === "number" && !Number.isFinite(inner) ? String(inner) : inner,
          );
  } catch {
    text = undefined;
  }
  if (value instanceof Promise) text = "a Promise";
  text ??= String(Object.prototype.toString.call(value));
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

/** WEIR_E_PART: `did` says what came, `contract` what has to come. */
export function partError(label: PartLabel, did: string, contract: string, cause?: unknown): WeirError {
  return new WeirError(
    "WEIR_E_PART",
    `the ${label.part} part "${label.name}" ${did}; the contract says: ${contract}`,
    { kind: label.part, name: label.name },
    cause === undefined ? undefined : { cause },
  );
}

/** What somebody else's code threw, in a few words. */
export function thrown(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : shown(error);
}

/**
 * Calls a part that answers at once. Errors that carry a code pass; anything else that it throws, and a promise, becomes
 * WEIR_E_PART naming the call.
 */
export function callPart<T>(label: PartLabel, call: string, contract: string, work: () => T): T {
  let answer: T;
  try {
    answer = work();
  } catch (error) {
    if (WeirError.isInstance(error)) throw error;
    throw partError(label, `threw in ${call}: ${thrown(error)}`, contract, error);
  }
  if (answer instanceof Promise) {
    // Nobody waits for it: should it reject too, that is no second fault.
    answer.catch(() => undefined);
    throw partError(label, `gave a Promise from ${call}, which has to answer at once`, contract);
  }
  return answer;
}

/** The same for a part that may answer by a promise. Errors of an aborted call pass as they are. */
export async function awaitPart<T>(
  label: PartLabel,
  call: string,
  contract: string,
  work: () => T | Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (WeirError.isInstance(error) || signal?.aborted) throw error;
    throw partError(label, `threw in ${call}: ${thrown(error)}`, contract, error);
  }
}

/** How much longer than its deadline a call may take before it is given up: parts with deadlines of their own come first. */
const GRACE_MS = 5_000;
/** Node's timers fire at once beyond it. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** The deadline of a call, and the timers that watch over it. */
export interface CallLimits {
  readonly limitMs: number;
  readonly timers: Timers;
}

/** `awaitPart` with a deadline (I5): settles then, and when the signal aborts, also where the part obeys neither. */
export async function awaitPartWithin<T>(
  label: PartLabel,
  call: string,
  contract: string,
  { limitMs, timers }: CallLimits,
  parent: AbortSignal,
  work: (signal: AbortSignal) => T | Promise<T>,
): Promise<T> {
  const ms = Math.min(limitMs + GRACE_MS, LONGEST_TIMER_MS);
  const ended = await withDeadline(async ({ signal }) => work(signal), ms, parent, timers);
  if (ended.kind === "value") return ended.value;
  if (ended.kind === "timedOut") throw partError(label, `did not answer ${call} within ${limitMs} ms`, contract);
  if (WeirError.isInstance(ended.error) || parent.aborted) throw ended.error;
  throw partError(label, `threw in ${call}: ${thrown(ended.error)}`, contract, ended.error);
}

export const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const isFiniteNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

/**
 * An object that looks like the part, with `calls` in the place of its own: whatever else the part carries shows through, and
 * its methods keep their `this`, so that a class with private fields works. A spread copies all of it.
 */
export function faced<T extends object>(part: T, calls: Partial<T>): T {
  const names = new Set<PropertyKey>();
  for (let at: object | null = part; at !== null && at !== Object.prototype; at = Object.getPrototypeOf(at))
    for (const name of Reflect.ownKeys(at)) if (name !== "constructor") names.add(name);
  const result = {};
  for (const name of names) {
    const get = () => {
      const value: unknown = Reflect.get(part, name);
      return typeof value === "function" ? value.bind(part) : value;
    };
    Object.defineProperty(result, name, { enumerable: true, configurable: true, get });
  }
  for (const [name, value] of Object.entries(calls))
    Object.defineProperty(result, name, { enumerable: true, configurable: true, value });
  return result as T;
}
