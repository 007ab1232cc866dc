/** Which of a server's models a configuration means. */
import { WeirError } from "../../errors.js";
import type { ServedModel } from "./client.js";

/** Errors: WEIR_E_REMOTE where the server does not serve the model, or the option has to name one of several. */
export function chosenModel(served: readonly ServedModel[], wanted: string | null, option: string): ServedModel {
  const names = served.map(({ name }) => name).join(", ") || "none";
  const found = wanted === null ? served[0] : served.find(({ name }) => name === wanted);
  if (wanted === null && served.length > 1)
    throw new WeirError("WEIR_E_REMOTE", `the server serves ${names}; name one by ${option}`, { path: option });
  if (found !== undefined) return found;
  throw new WeirError(
    "WEIR_E_REMOTE",
    `the server serves ${names}, and ${option} names ${wanted ?? "none"}; correct it, or start the server with that model`,
    { path: option },
  );
}
