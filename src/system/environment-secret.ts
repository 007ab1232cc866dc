import { WeirError } from "../errors.js";

type Environment = Readonly<Record<string, string | undefined>>;

/** What an environment variable holds, without white space at its ends: a file read into it ends in a new line. Null where that is nothing. */
export function secretValue(variable: string | null, environment: Environment = process.env): string | null {
  return (variable === null ? null : environment[variable]?.trim()) || null;
}

/**
 * The secret in the environment variable that an option names; null where it names none. `what` is the secret in words, such as
 * "the server's key". Errors: WEIR_E_CONFIG where the variable is empty, or holds what no header can carry.
 */
export function environmentSecret(
  variable: string | null,
  { option, what }: { readonly option: string; readonly what: string },
  environment: Environment = process.env,
): string | null {
  if (variable === null) return null;
  const value = secretValue(variable, environment);
  if (value !== null && /^[\x21-\x7e]+$/.test(value)) return value;
  const problem = value === null ? "is empty" : "holds other characters than visible ASCII, or a space";
  throw new WeirError(
    "WEIR_E_CONFIG",
    `option "${option}": the environment variable ${variable} ${problem}; set it to ${what}`,
    { path: option, variable },
  );
}
