/** Reads JSON and JSON-lines input files of commands, with errors that name file, line and shape. */
import type { z } from "zod";
import { openFile, wholeText } from "../data/lines.js";
import { WeirError } from "../errors.js";

/**
 * Reads a text file, also under gzip; a byte order mark is left out. Errors: WEIR_E_FILE_MISSING; WEIR_E_DATA for what is
 * not UTF-8.
 */
export async function readText(file: string): Promise<string> {
  return wholeText(file, (await openFile(file)).chunks);
}

/** A value that fits a schema. `where` names it. Errors: WEIR_E_DATA with every complaint. */
export function checkShape<T>(value: unknown, where: string, schema: z.ZodType<T>): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const complaints = result.error.issues.map((issue) => `${issue.path.join(".") || "the value"}: ${issue.message}`);
  throw new WeirError("WEIR_E_DATA", `${where} does not have the expected shape: ${complaints.join("; ")}`, {
    complaints,
  });
}

function parse<T>(text: string, where: string, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new WeirError("WEIR_E_DATA", `expected JSON in ${where}, got ${(cause as Error).message}`, {}, { cause });
  }
  return checkShape(value, where, schema);
}

/**
 * Reads one JSON document and checks it against a schema.
 * Errors: WEIR_E_FILE_MISSING; WEIR_E_DATA when it is not JSON or of another shape.
 */
export async function loadJson<T>(file: string, schema: z.ZodType<T>): Promise<T> {
  return parse(await readText(file), `"${file}"`, schema);
}

/** A line of a JSON-lines text and its number, from 1. */
export interface NumberedLine<T> {
  readonly value: T;
  readonly number: number;
}

/** Parses JSON lines; empty lines are skipped. `where` names the text. Errors: WEIR_E_DATA, naming the line. */
export function parseJsonLines<T>(text: string, where: string, schema: z.ZodType<T>): NumberedLine<T>[] {
  return text
    .split(/\r?\n/)
    .map((line, i) => ({ line, number: i + 1 }))
    .filter(({ line }) => line.trim() !== "")
    .map(({ line, number }) => ({ value: parse(line, `${where} line ${number}`, schema), number }));
}

/** Reads a JSON-lines file; empty lines are skipped. Errors as `loadJson`, naming the line (from 1). */
export async function loadJsonLines<T>(file: string, schema: z.ZodType<T>): Promise<T[]> {
  return parseJsonLines(await readText(file), `"${file}"`, schema).map(({ value }) => value);
}
