/** Owns the end of a command that ran parts of others: what they left behind does not keep the program open. */

/** Time for connections to be closed once the command is done. */
const LEAVE_MS = 2_000;

/**
 * Ends the process after a moment where a part that ignored its signal left a timer or a connection behind. The timer itself keeps
 * nothing open: it fires only where something else still runs. Output that a slow reader has not taken yet is waited for.
 */
export function leaveSoon(): void {
  const leave = () => {
    if (process.stdout.writableLength + process.stderr.writableLength > 0) setTimeout(leave, LEAVE_MS).unref();
    else process.exit();
  };
  setTimeout(leave, LEAVE_MS).unref();
}
