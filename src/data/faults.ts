/** Wording of data errors: file, row, column, what was expected, what came. */
import { WeirError } from "../errors.js";

const SHOWN_CHARACTERS = 80;

/** Where a row stands, for messages. */
export interface RowPlace {
  readonly file: string;
  /** From 0. */
  readonly row: number;
}

/** Where a value stands; without a row where the file's name is enough. */
export interface CellPlace {
  readonly file: string;
  readonly row?: number;
  readonly column: string;
}

/** A value as messages show it: shortened JSON. */
export function shown(value: unknown): string {
  const text = value === undefined ? "nothing" : (JSON.stringify(value) ?? String(value));
  return text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
}

/** WEIR_E_DATA for one cell. */
export function cellFault({ file, row, column }: CellPlace, expected: string, value: unknown): WeirError {
  const where = row === undefined ? file : `${file}, row ${row}`;
  return new WeirError("WEIR_E_DATA", `${where}, column "${column}": expected ${expected}, got ${shown(value)}`, {
    file,
    row,
    column,
  });
}

export function fileFault(file: string, message: string, cause?: unknown): WeirError {
  return new WeirError("WEIR_E_DATA", `${file}: ${message}`, { file }, { cause });
}
