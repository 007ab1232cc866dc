/**
 * Parquet schemas of JSON values: text, flags, whole numbers (64 bit), real numbers, lists and structs as such; what has
 * no common type, and objects without fields, become JSON text.
 */
import type { SchemaElement } from "hyparquet";
import type { Json } from "../contracts/task.js";

/** The schema of one column (its elements in pre-order) and the way to its stored values. */
export interface InferredColumn {
  readonly elements: readonly SchemaElement[];
  encode(value: Json | undefined): unknown;
}

type JsonObject = { readonly [key: string]: Json };

const OPTIONAL = "OPTIONAL" as const;
const isAbsent = (value: Json | undefined): value is null | undefined => value === null || value === undefined;
const isObject = (value: Json): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Infers the column that holds all of `values`; nulls and absent values fit everywhere. */
export function inferColumn(name: string, values: readonly (Json | undefined)[]): InferredColumn {
  const present = values.filter((value): value is Exclude<Json, null> => !isAbsent(value));
  const all = (test: (value: Json) => boolean) => present.length > 0 && present.every(test);
  if (all((value) => typeof value === "boolean"))
    return leaf({ name, type: "BOOLEAN", repetition_type: OPTIONAL }, (value) => value);
  if (all((value) => Number.isSafeInteger(value)))
    return leaf({ name, type: "INT64", repetition_type: OPTIONAL }, (value) => BigInt(value as number));
  if (all((value) => typeof value === "number"))
    return leaf({ name, type: "DOUBLE", repetition_type: OPTIONAL }, (value) => value);
  if (all((value) => typeof value === "string"))
    return leaf({ name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: OPTIONAL }, (value) => value);
  if (all(Array.isArray)) return list(name, present as readonly (readonly Json[])[]);
  if (all((value) => isObject(value) && Object.keys(value).length > 0))
    return struct(name, present as readonly JsonObject[]);
  return leaf({ name, type: "BYTE_ARRAY", converted_type: "UTF8", repetition_type: OPTIONAL }, (value) =>
    typeof value === "string" ? value : JSON.stringify(value),
  );
}

function leaf(element: SchemaElement, encode: (value: Json) => unknown): InferredColumn {
  return { elements: [element], encode: (value) => (isAbsent(value) ? undefined : encode(value)) };
}

function list(name: string, values: readonly (readonly Json[])[]): InferredColumn {
  const item = inferColumn("element", values.flat());
  return {
    elements: [
      { name, repetition_type: OPTIONAL, converted_type: "LIST", num_children: 1 },
      { name: "list", repetition_type: "REPEATED", num_children: 1 },
      ...item.elements,
    ],
    encode: (value) => (Array.isArray(value) ? value.map((part) => item.encode(part)) : undefined),
  };
}

function struct(name: string, values: readonly JsonObject[]): InferredColumn {
  const keys = [...new Set(values.flatMap((value) => Object.keys(value)))];
  const fields = keys.map((key) => ({
    key,
    column: inferColumn(
      key,
      values.map((value) => value[key]),
    ),
  }));
  return {
    elements: [
      { name, repetition_type: OPTIONAL, num_children: fields.length },
      ...fields.flatMap(({ column }) => column.elements),
    ],
    encode: (value) =>
      isAbsent(value)
        ? undefined
        : Object.fromEntries(fields.map(({ key, column }) => [key, column.encode((value as JsonObject)[key])])),
  };
}
