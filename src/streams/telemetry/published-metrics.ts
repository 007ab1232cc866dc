/**
 * The metrics that a user's parts add: the mean of each reward part, and what a part publishes under a name of its own.
 * Invariants: names are bounded in number and form, values are finite; a mean does not depend on the order in which values
 * came (I11); what was published outside a step (preflight, evaluation) does not count towards one.
 */
import type { Group } from "../../contracts/group.js";
import { WeirError } from "../../errors.js";
import { isOwnName, type MetricName, type MetricValues } from "./metrics.js";

const PART_PREFIX = "reward/parts/";
const CUSTOM_PREFIX = "custom/";

/** Most names of both prefixes in one run: more charts than this cannot be looked through. */
const MOST_NAMES = 64;

/** Mean that is the same for every order of the values. */
function orderlessMean(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.reduce((sum, value) => sum + value, 0) / sorted.length;
}

export class PublishedMetrics {
  private readonly names = new Set<MetricName>();
  private readonly refused = new Set<MetricName>();
  private values = new Map<MetricName, number[]>();

  /** `warn` is called once for each name that is left out. */
  constructor(private readonly warn: (error: WeirError) => void) {}

  /** Adds a value to the current step. Errors: WEIR_E_PART for a malformed name or a value that is not finite. */
  publish(name: string, value: number): void {
    if (!isOwnName(name)) {
      throw new WeirError(
        "WEIR_E_PART",
        `publish() was given the name ${JSON.stringify(name)}; names are words of letters, digits, "_", "." and "-", up to four with "/" between`,
        { name },
      );
    }
    if (typeof value !== "number" || !Number.isFinite(value)) {
      throw new WeirError("WEIR_E_PART", `publish("${name}") was given ${String(value)}; a finite number is needed`, {
        name,
        value,
      });
    }
    const metric: MetricName = `${CUSTOM_PREFIX}${name}`;
    const values = this.values.get(metric);
    if (values) values.push(value);
    else if (this.admit(metric)) this.values.set(metric, [value]);
  }

  /** Forgets what was published since the last step. */
  reset(): void {
    this.values = new Map();
  }

  /** The means of the step, by metric name: published values, and the parts of scored rewards over the rollouts that have them. */
  ofStep(groups: readonly Group[]): MetricValues {
    const all = this.values;
    this.reset();
    for (const { members } of groups) {
      for (const { outcome } of members) {
        if (outcome.kind !== "scored") continue;
        for (const [name, value] of Object.entries(outcome.parts)) {
          const metric: MetricName = `${PART_PREFIX}${name}`;
          const values = all.get(metric);
          if (values) values.push(value);
          else if (this.admit(metric, isOwnName(name))) all.set(metric, [value]);
        }
      }
    }
    return Object.fromEntries(
      [...all].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, values]) => [name, orderlessMean(values)]),
    );
  }

  private admit(metric: MetricName, wellFormed = true): boolean {
    if (this.names.has(metric)) return true;
    if (wellFormed && this.names.size < MOST_NAMES) {
      this.names.add(metric);
      return true;
    }
    if (!this.refused.has(metric) && this.refused.size < MOST_NAMES) {
      this.refused.add(metric);
      const why = wellFormed
        ? `a run takes ${MOST_NAMES} names under ${PART_PREFIX} and ${CUSTOM_PREFIX}, and has them`
        : 'names are words of letters, digits, "_", "." and "-"';
      this.warn(new WeirError("WEIR_E_PART", `the metric "${metric}" is left out: ${why}`, { metric }));
    }
    return false;
  }
}
