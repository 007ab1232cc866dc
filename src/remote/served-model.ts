import { WeirError } from "../errors.js";

/**
 * The base model of a server that a part works with: the one that the configuration names, or the only one.
 * Errors: WEIR_E_CONFIG for one that the server does not have, and where none is named of several.
 */
export function servedModel(
  served: readonly string[],
  asked: string | null,
  { url, option }: { readonly url: string; readonly option: string },
): string {
  const [only] = served;
  if (asked === null && served.length === 1 && only !== undefined) return only;
  if (asked !== null && served.includes(asked)) return asked;
  const list = served.join(", ") || "none";
  throw new WeirError(
    "WEIR_E_CONFIG",
    asked === null
      ? `option "${option}": ${url} serves ${list}; name the one that model.path is`
      : `option "${option}": ${url} does not serve ${asked}; it serves ${list}`,
    { path: option, served },
  );
}
