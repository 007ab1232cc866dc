/** Ends a command that ran custom parts: timers and connections that they left do not keep the program open. */

/** Time for connections to be closed once the command is done. */
const LEAVE_MS = 2_000;

/**
 * Ends the process after a moment if a part that ignored its signal left a timer or a connection open. The timer itself keeps nothing
 * open. Waits for output that a slow reader has not read yet.
 */
export function leaveSoon(): void {
  const leave = () => {
    if (process.stdout.writableLength + process.stderr.writableLength > 0) setTimeout(leave, LEAVE_MS).unref();
    else process.exit();
  };
  setTimeout(leave, LEAVE_MS).unref();
}
