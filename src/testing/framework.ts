/**
 * How a conformance suite meets a test framework: anything with describe(name, body) and it(name, body), such as vitest,
 * node:test, jest and mocha. Given by the caller, else found among the globals. Assertions are Node's own.
 */
import { WeirError } from "../errors.js";

/** Test bodies return promises, which the types of every framework accept. */
type Register = (name: string, body: () => Promise<void>) => unknown;

export interface TestFramework {
  readonly describe: (name: string, body: () => void) => unknown;
  /** `it.skip`, where there is one, shows and counts the tests that are left out. */
  readonly it: Register & { readonly skip?: Register };
}

/** A reason to leave tests of a suite out, and their names. */
export interface SkippedTests {
  readonly reason: string;
  readonly tests: readonly string[];
}

export interface SuiteOptions {
  /** `{ describe, it }` of vitest, node:test and the like; the globals of those names when left out. */
  readonly framework?: TestFramework;
  readonly skip?: readonly SkippedTests[];
}

export interface SuiteTest {
  readonly name: string;
  readonly body: () => void | Promise<void>;
}

/**
 * Registers a suite. A test that is left out stays visible: as a skipped test that says why, or in the name of the suite where
 * the framework has no `it.skip`.
 * Errors: WEIR_E_ACTOR_MISSING without a framework; WEIR_E_USAGE where `skip` names a test that does not exist.
 */
export function registerSuite(name: string, tests: readonly SuiteTest[], options: SuiteOptions): void {
  const { describe, it } = options.framework ?? globalFramework();
  const skipped = new Map<string, string>();
  for (const { reason, tests: names } of options.skip ?? []) for (const test of names) skipped.set(test, reason);
  const known = tests.map((test) => test.name);
  for (const test of skipped.keys()) {
    if (!known.includes(test)) {
      throw new WeirError(
        "WEIR_E_USAGE",
        `expected skip to name tests of "${name}" (${known.join("; ")}), got ${JSON.stringify(test)}`,
      );
    }
  }
  const left = [...skipped].map(([test, reason]) => `"${test}": ${reason}`);
  describe(left.length === 0 || it.skip ? name : `${name} [left out: ${left.join(", ")}]`, () => {
    for (const { name, body } of tests) {
      const run = async () => await body();
      if (!skipped.has(name)) it(name, run);
      else it.skip?.(`${name} (left out: ${skipped.get(name)})`, run);
    }
  });
}

/** The tests of a table of checks: each gets a part of its own, which is disposed of after it, and `given`. */
export function checksOf<Part extends { dispose?(): Promise<void> | void }, Given extends readonly unknown[]>(
  checks: Readonly<Record<string, (part: Part, ...given: Given) => Promise<void> | void>>,
  create: () => Part | Promise<Part>,
  ...given: Given
): SuiteTest[] {
  return Object.entries(checks).map(([name, check]) => ({
    name,
    body: async () => {
      const part = await create();
      try {
        await check(part, ...given);
      } finally {
        await part.dispose?.();
      }
    },
  }));
}

function globalFramework(): TestFramework {
  const { describe, it } = globalThis as Partial<TestFramework>;
  if (typeof describe === "function" && typeof it === "function") return { describe, it };
  throw new WeirError(
    "WEIR_E_ACTOR_MISSING",
    'a conformance suite needs a test framework; pass framework: { describe, it } from "vitest" or "node:test"',
  );
}

/** Freezes a value deeply, so that a part that writes to its input throws. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) deepFreeze(part);
  }
  return value;
}
