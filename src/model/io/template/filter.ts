/** What a filter of a template is. */
import type { CallInput, Value } from "./values.js";

/** What filters that call other filters and tests need. */
export interface FilterContext {
  applyFilter(name: string, value: Value, input: CallInput): Value;
  applyTest(name: string, value: Value, input: CallInput): boolean;
}

export type Filter = (value: Value, input: CallInput, context: FilterContext) => Value;
