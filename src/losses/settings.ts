/** A loss's settings: its own defaults, overridden by the configuration. */
import type { LossName, LossSetting, LossSettings } from "../contracts/loss.js";
import { policyLossNamed } from "./index.js";

/** Fallbacks of settings for which a loss has no default of its own. */
const NEUTRAL: LossSettings = {
  clipLow: 0.2,
  clipHigh: 0.28,
  dualClip: null,
  largestRatio: null,
  tauPositive: 1,
  tauNegative: 1.05,
};

/** The names of all settings. */
export const LOSS_SETTINGS = Object.keys(NEUTRAL) as readonly LossSetting[];

/** Settings of a loss, read from `asked`, which may have other fields too; null and undefined take the loss's own. */
export function lossSettings(
  name: LossName | null,
  asked: { readonly [K in keyof LossSettings]?: LossSettings[K] | null | undefined } = {},
): LossSettings {
  const own = name === null ? {} : policyLossNamed(name).defaults;
  const set = LOSS_SETTINGS.map((setting) => [setting, asked[setting]] as const).filter(
    ([, value]) => value !== null && value !== undefined,
  );
  return { ...NEUTRAL, ...own, ...(Object.fromEntries(set) as Partial<LossSettings>) };
}
