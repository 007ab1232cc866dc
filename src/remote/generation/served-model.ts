import { WeirError } from "../../errors.js";

/** The base model to ask for. Errors: WEIR_E_CONFIG for one that the server does not have, and where none is named of several. */
export function servedModel(url: string, asked: string | null, served: readonly string[]): string {
  const [only] = served;
  if (asked === null && served.length === 1 && only !== undefined) return only;
  if (asked !== null && served.includes(asked)) return asked;
  const list = served.join(", ") || "none";
  throw new WeirError(
    "WEIR_E_CONFIG",
    asked === null
      ? `option "sampler.model": ${url} serves ${list}; name the one that model.path is`
      : `option "sampler.model": ${url} does not serve ${asked}; it serves ${list}`,
    { path: "sampler.model", served },
  );
}
