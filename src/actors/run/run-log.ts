import { type Logger, pino } from "pino";
import type { Config } from "../../config/schema.js";
import { printable } from "../../printable.js";
import { asDiskError } from "../../system/disk-error.js";

/**
 * The log of a run: log.ndjson in its folder, readable by its owner only, or standard error. Invariant: a log that cannot be
 * written never ends the run; the first failure is reported on standard error, and later lines are retried.
 */

/** Bytes of lines that may wait for a full disk; further lines are dropped. */
const MAX_WAITING_BYTES = 1 << 20;
/** Reading and writing by the owner: lines may quote answers. */
const PRIVATE_MODE = 0o600;

export interface RunLog {
  readonly log: Logger;
  close(): void;
}

/** Opens the log. `complain` is called once with the reason why lines are lost. */
export function openRunLog(
  options: Config["log"],
  directory: string,
  complain: (text: string) => void = (text) => void process.stderr.write(`${text}\n`),
): RunLog {
  const path = `${directory}/log.ndjson`;
  const destination = options.file
    ? pino.destination({ dest: path, sync: false, mode: PRIVATE_MODE, maxLength: MAX_WAITING_BYTES })
    : pino.destination({ dest: 2, sync: true });
  // Lines quote foreign text, and JSON escapes only part of the control characters that a terminal obeys.
  const shown = options.file ? destination : { write: (line: string) => void destination.write(printable(line)) };
  let told = false;
  destination.on("error", (error: unknown) => {
    if (told) return;
    told = true;
    // Standard error itself may be what cannot be written.
    if (!options.file) return;
    complain(`weir: lines of the log are lost: ${(asDiskError(error, path) as Error).message}`);
  });
  const log = pino({ level: options.level, base: { run: directory } }, shown);
  return {
    log,
    close: () => {
      if (!options.file) return;
      // Work that outlives the run must not write to a closed file.
      log.level = "silent";
      destination.end();
    },
  };
}
