/** Reads a judge's reply. */
import type { RewardMode } from "../../contracts/reward.js";

/**
 * `released`: 1 iff the reply contains upper-case YES anywhere. `paper`: the last of [[YES]] and [[NO]] decides.
 * Null where the reply decides nothing (empty; no verdict in `paper`): a failure, not a 0.
 */
export function parseJudgeReply(reply: string, mode: RewardMode): 0 | 1 | null {
  if (reply.trim() === "") return null;
  if (mode === "released") return reply.includes("YES") ? 1 : 0;
  const yes = reply.lastIndexOf("[[YES]]");
  const no = reply.lastIndexOf("[[NO]]");
  if (yes < 0 && no < 0) return null;
  return yes > no ? 1 : 0;
}
