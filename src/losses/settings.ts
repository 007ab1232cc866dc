/** Owns a loss's settings: its own defaults under what is asked for. */
import type { LossName, LossSettings } from "../contracts/loss.js";
import { POLICY_LOSSES } from "./index.js";

/** What losses that read a setting have no default of their own for. */
const NEUTRAL: LossSettings = {
  clipLow: 0.2,
  clipHigh: 0.28,
  dualClip: null,
  largestRatio: null,
  tauPositive: 1,
  tauNegative: 1.05,
};

/** Settings of a loss; null and undefined values take the loss's own. */
export function lossSettings(
  name: LossName | null,
  asked: { readonly [K in keyof LossSettings]?: LossSettings[K] | null | undefined } = {},
): LossSettings {
  const own = name === null ? {} : POLICY_LOSSES[name].defaults;
  const set = Object.entries(asked).filter(([, value]) => value !== null && value !== undefined);
  return { ...NEUTRAL, ...own, ...(Object.fromEntries(set) as Partial<LossSettings>) };
}
