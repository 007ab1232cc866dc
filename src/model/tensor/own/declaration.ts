/** How native/operations.json declares one of weir's own TensorFlow operations. */

import type { EnginePrecision } from "../../../contracts/engine.js";

/** Element type of products and of what lies between them. */
export type FloatType = EnginePrecision;

export interface OwnInput {
  readonly name: string;
  /** float, int32, or a type attribute. */
  readonly type: string;
  /** Sizes by name, as in "[N, d]"; "*" is any. Left out: any shape. */
  readonly shape?: string;
  /** An empty tensor stands for one that is left out. */
  readonly optional?: boolean;
  readonly list?: boolean;
}

export interface OwnOutput {
  readonly name: string;
  readonly type: string;
  readonly shape?: string;
  /** The input whose shape it has. */
  readonly like?: string;
  /** Empty unless this attribute is 1. */
  readonly when?: string;
  readonly list?: boolean;
}

export interface OwnOperation {
  readonly inputs: readonly OwnInput[];
  readonly outputs: readonly OwnOutput[];
  readonly attributes: Readonly<Record<string, string>>;
  /** Sizes that follow from others. */
  readonly sizes: Readonly<Record<string, string>>;
  /** Type attributes and the place of the first input that each follows. */
  readonly types: Readonly<Record<string, number>>;
}
