/**
 * The options that can be changed while a run goes on: their bounds, and the configuration that follows from how they are set. Pure.
 * A knob that is not turned has the value of the configuration.
 */
import type { KnobState } from "../contracts/knob.js";
import { WeirError } from "../errors.js";
import { nearest } from "./load.js";
import type { Config } from "./schema.js";

/** Values of knobs that have been turned, by path; null takes the option's own default. */
export type Knobs = Readonly<Record<string, number | null>>;

interface KnobSpec extends Omit<KnobState, "value" | "configured"> {
  /** Null is a value: the part's own default. */
  readonly nullable: boolean;
}

/** Closest that a knob comes to a bound that its option excludes. */
const NEAR = 1e-6;

const knob = (
  path: string,
  min: number,
  max: number,
  rest: Partial<KnobSpec> & Pick<KnobSpec, "meaning">,
): KnobSpec => ({ path, min, max, integer: false, nullable: false, unit: "", ...rest });

/** In the order of the configuration. */
const SPECS: readonly KnobSpec[] = [
  knob("rollout.groupSize", 1, 1_024, {
    integer: true,
    unit: "responses",
    meaning: "Responses per prompt. Rollouts in flight are given up and drawn again.",
  }),
  knob("rollout.temperature", 0.01, 10, {
    meaning: "Sampling temperature, also of log-probs and entropy. Rollouts in flight are given up and drawn again.",
  }),
  knob("loss.clipLow", NEAR, 1 - NEAR, { nullable: true, meaning: "ε_low of the loss; null takes the loss's own." }),
  knob("loss.clipHigh", NEAR, 100, { nullable: true, meaning: "ε_high of the loss; null takes the loss's own." }),
  knob("loss.klCoefficient", 0, 10, { meaning: "Weight of the KL term against the reference policy." }),
  knob("loss.entropyCoefficient", -1, 1, {
    meaning: "Weight of the entropy bonus; below 0 it is a penalty.",
  }),
  knob("optimiser.learningRate", 0, 1, { meaning: "Peak learning rate; the schedule's factor still applies." }),
  // The upper bound is what the run was started with.
  knob("async.maxLag", 1, 0, {
    integer: true,
    unit: "versions",
    meaning: "Largest lag of a sample when it is trained; at most what the run was started with.",
  }),
];

/** Paths of all knobs. */
export const KNOB_PATHS: readonly string[] = SPECS.map(({ path }) => path);

/** The knobs of a run with this configuration, as they are set. */
export function knobStates(configured: Config, knobs: Knobs): KnobState[] {
  return SPECS.filter((spec) => unavailable(spec.path, configured) === null).map(({ nullable: _, ...spec }) => {
    const own = optionAt(configured, spec.path);
    const value = Object.hasOwn(knobs, spec.path) ? (knobs[spec.path] ?? null) : own;
    return { ...spec, max: upperBound(spec, configured), value, configured: own };
  });
}

/**
 * The configuration with the knobs as they are set.
 * Errors: WEIR_E_KNOB for a path that is no knob.
 */
export function withKnobs(configured: Config, knobs: Knobs): Config {
  let config = configured;
  for (const [path, value] of Object.entries(knobs)) {
    const [section, option] = specOf(path).path.split(".") as [keyof Config, string];
    config = { ...config, [section]: { ...(config[section] as object), [option]: value } };
  }
  return config;
}

/** Errors: WEIR_E_KNOB for a path that is no knob, one that this run does not have, and a value beyond the bounds. */
export function assertKnob(configured: Config, path: string, value: unknown): asserts value is number | null {
  const spec = specOf(path);
  const why = unavailable(path, configured);
  if (why !== null) throw refused(path, why);
  const { min, integer, nullable } = spec;
  const max = upperBound(spec, configured);
  if (value === null && nullable) return;
  const fits = typeof value === "number" && value >= min && value <= max && (!integer || Number.isInteger(value));
  if (fits) return;
  const what = `${integer ? "a whole number" : "a number"} from ${min} to ${max}${nullable ? ", or null" : ""}`;
  throw refused(path, `expected ${what}, got ${typeof value === "number" ? value : JSON.stringify(value)}`);
}

/** The option's value in a configuration. */
export function optionAt(config: Config, path: string): number | null {
  const [section, option] = path.split(".") as [keyof Config, string];
  return (config[section] as Readonly<Record<string, number | null>>)[option] ?? null;
}

export function refused(path: string, why: string): WeirError {
  return new WeirError("WEIR_E_KNOB", `the knob "${path}" cannot be set so: ${why}`, { path });
}

function specOf(path: string): KnobSpec {
  const found = SPECS.find((spec) => spec.path === path);
  if (found) return found;
  const close = nearest(path, KNOB_PATHS);
  throw new WeirError(
    "WEIR_E_KNOB",
    `there is no knob "${path}"${close ? `; did you mean "${close}"?` : ""} (knobs: ${KNOB_PATHS.join(", ")}); other options change when a run is resumed`,
    { path, known: KNOB_PATHS },
  );
}

const upperBound = (spec: Pick<KnobSpec, "path" | "max">, { async: asynchronous }: Config): number =>
  spec.path === "async.maxLag" ? asynchronous.maxLag : spec.max;

/** Why a run with this configuration does not have a knob; null where it has. */
function unavailable(path: string, { async: asynchronous, loss }: Config): string | null {
  if (path === "async.maxLag" && asynchronous.maxLag === 0)
    return "the run trains synchronously; start one with async.maxLag above 0";
  if (path === "loss.klCoefficient" && loss.klCoefficient === 0 && !loss.monitorKl)
    return "the run keeps no reference policy; start one with loss.monitorKl: true";
  return null;
}
