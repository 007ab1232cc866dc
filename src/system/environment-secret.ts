import { WeirError } from "../errors.js";

/**
 * The secret in the environment variable that an option names; null where it names none. `what` is the secret in words, such as
 * "the server's key". Errors: WEIR_E_CONFIG where the variable is empty.
 */
export function environmentSecret(
  variable: string | null,
  { option, what }: { readonly option: string; readonly what: string },
  environment: Readonly<Record<string, string | undefined>> = process.env,
): string | null {
  if (variable === null) return null;
  const value = environment[variable];
  if (value) return value;
  throw new WeirError(
    "WEIR_E_CONFIG",
    `option "${option}": the environment variable ${variable} is empty; set it to ${what}`,
    { path: option, variable },
  );
}
