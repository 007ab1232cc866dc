/**
 * What is looked for in a step's numbers. Pure: the same step, history and options give the same findings, so that guard and alarms
 * judge alike.
 */
import type { DetectionOptions, StepNumbers } from "./detection-options.js";
import { entropyFindings } from "./detectors/entropy.js";
import { levelFindings } from "./detectors/levels.js";
import { rewardFindings } from "./detectors/rewards.js";
import { SCALES, spikeFindings } from "./detectors/spikes.js";
import type { Finding } from "./finding.js";
import { type Histories, observed } from "./history.js";
import type { MetricValues } from "./metrics.js";

/** What stands out in a step, against absolute limits and the steps before it. */
export function findingsOf(step: StepNumbers, histories: Histories, options: DetectionOptions): Finding[] {
  const found = [
    ...nonFinite(step.values),
    ...levelFindings(step, histories, options),
    ...entropyFindings(step, histories, options),
    ...rewardFindings(step, histories, options),
  ];
  // A jump beyond a limit is one finding.
  const limited = new Set(found.map(({ metric }) => metric));
  return [...found, ...spikeFindings(step, histories, options).filter(({ metric }) => !limited.has(metric))];
}

/** The history with this step. */
export function withStep(histories: Histories, step: StepNumbers, { window }: DetectionOptions): Histories {
  return observed(histories, step, SCALES, window);
}

function nonFinite(values: MetricValues): Finding[] {
  return (Object.entries(values) as [Finding["metric"], number][])
    .filter(([, value]) => !Number.isFinite(value))
    .map(([metric, value]) => nonFiniteFinding(metric, value));
}

export function nonFiniteFinding(metric: Finding["metric"], value: number): Finding {
  return { level: "error", rule: "non_finite", metric, value, threshold: 0, z: null, text: `${metric} is ${value}` };
}
