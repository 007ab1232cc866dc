import { expect } from "vitest";
import { type ErrorCode, WeirError } from "../../src/errors.js";

/** Awaits an action that must fail with this code; returns the error for closer looks. */
export async function failure(action: () => unknown, code: ErrorCode): Promise<WeirError> {
  let caught: unknown;
  try {
    await action();
  } catch (error) {
    caught = error;
  }
  expect(caught, `expected ${code}`).toBeInstanceOf(WeirError);
  const error = caught as WeirError;
  expect(error.code, error.message).toBe(code);
  return error;
}
