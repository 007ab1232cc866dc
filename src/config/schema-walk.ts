/** Finds the schema of an option by its path, looking through defaults and nullability. Pure. */
import { configSchema } from "./schema.js";

type Definition = {
  readonly type: string;
  readonly innerType?: unknown;
  readonly element?: unknown;
  readonly shape?: Readonly<Record<string, unknown>>;
};

/** The part of a schema that an option's value has to satisfy. */
export interface OptionSchema {
  readonly definition: Definition;
  /** Whether null is a value of the option. */
  readonly nullable: boolean;
}

const definitionOf = (node: unknown): Definition | undefined => (node as { _zod?: { def: Definition } })._zod?.def;

/** A schema without the wrappers around it; null where it is not a schema. */
export function unwrap(node: unknown): OptionSchema | null {
  let nullable = false;
  let definition = definitionOf(node);
  while (definition?.innerType !== undefined) {
    nullable ||= definition.type === "nullable";
    definition = definitionOf(definition.innerType);
  }
  return definition === undefined ? null : { definition, nullable };
}

/** The schema at a path such as ["phases", 0, "steps"]; null where there is no such option. */
export function optionAt(path: readonly PropertyKey[]): OptionSchema | null {
  let found = unwrap(configSchema);
  for (const part of path) {
    if (found === null) return null;
    const { type, element, shape } = found.definition;
    if (type === "array") found = /^\d+$/.test(String(part)) ? unwrap(element) : null;
    else found = Object.hasOwn(shape ?? {}, part) ? unwrap(shape?.[String(part)]) : null;
  }
  return found;
}

/** Names of the options at a path; empty where it holds none. */
export function keysAt(path: readonly PropertyKey[]): string[] {
  return Object.keys(optionAt(path)?.definition.shape ?? {});
}
