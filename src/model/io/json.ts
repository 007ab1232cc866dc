/** Reads JSON objects from files with coded errors. Owns nothing else. */
import { readFile } from "node:fs/promises";
import { type ErrorCode, WeirError } from "../../errors.js";
import { refuseUnfetched } from "./unfetched.js";

export type JsonRecord = Readonly<Record<string, unknown>>;

/** True for a plain JSON object. */
export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** True when a file-system error says that the path does not exist. */
export function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === "ENOENT" || code === "ENOTDIR";
}

/** The UTF-8 text of a file, or null when it does not exist; throws `damaged` for a Git LFS pointer or a web page. */
export async function readTextIfPresent(
  path: string,
  damaged: ErrorCode = "WEIR_E_MODEL_FILES",
): Promise<string | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
  refuseUnfetched(path, text, damaged);
  return text;
}

/** The JSON object in a file, or null when the file does not exist; throws `damaged` when it is not a JSON object. */
export async function readJsonIfPresent(path: string, damaged: ErrorCode): Promise<JsonRecord | null> {
  const text = await readTextIfPresent(path, damaged);
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new WeirError(
      damaged,
      `${path}: expected JSON, got text that does not parse. Fetch the file again.`,
      { path },
      { cause: error },
    );
  }
  if (!isRecord(value))
    throw new WeirError(damaged, `${path}: expected a JSON object at the top. Fetch the file again.`, { path });
  return value;
}

/** As `readJsonIfPresent`, but a missing file is WEIR_E_FILE_MISSING. */
export async function readJson(path: string, damaged: ErrorCode): Promise<JsonRecord> {
  const value = await readJsonIfPresent(path, damaged);
  if (value === null)
    throw new WeirError("WEIR_E_FILE_MISSING", `${path} does not exist. Point to a Hugging Face model folder.`, {
      path,
    });
  return value;
}
