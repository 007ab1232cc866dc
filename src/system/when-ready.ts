import type { Readiness } from "../contracts/readiness.js";
import { whenAborted } from "./when-aborted.js";

/**
 * Resolves once a part takes work; at once where it does. `tell` hears why it does not, and null when it does again.
 * Errors: the reason of the signal.
 */
export async function whenReady(
  readiness: Readiness,
  signal: AbortSignal,
  tell: (reason: string | null) => void = () => undefined,
): Promise<void> {
  signal.throwIfAborted();
  const state = readiness.state();
  if (state.ready) return;
  tell(state.reason);
  await new Promise<void>((resolve, reject) => {
    const forget = whenAborted(signal, () => {
      end();
      reject(signal.reason as Error);
    });
    const end = readiness.onChange((now) => {
      if (!now.ready) return;
      end();
      forget();
      resolve();
    });
    // It may have become ready while this was being set up.
    if (readiness.state().ready) {
      end();
      forget();
      resolve();
    }
  });
  tell(null);
}
