/**
 * The rotary-embedding part of a model configuration: v5 `rope_parameters`, or v4 `rope_theta` + `rope_scaling`.
 * All optional parameters are resolved to numbers here, as transformers resolves them, so that the model has no defaults of its own.
 */
import type { EnginePrecision } from "../../contracts/engine.js";
import type { WeirError } from "../../errors.js";
import { isRecord, type JsonRecord } from "./json.js";

/** Kinds of rotary embedding with their numbers. */
export type RopeConfig = RopeKind & {
  /** How the inverse frequencies are stored (`inv_freq_dtype`, weir's own key); float32 where the file says nothing. */
  readonly inverseFrequencyDtype?: RotaryDtype;
};

/** Storage type of the inverse frequencies. `bfloat16` reproduces models that were cast as a whole, buffers included. */
export type RotaryDtype = EnginePrecision;

type RopeKind =
  | { readonly type: "default"; readonly theta: number }
  | { readonly type: "linear"; readonly theta: number; readonly factor: number }
  | {
      readonly type: "yarn";
      readonly theta: number;
      readonly factor: number;
      readonly originalMaxPositions: number;
      /** Multiplies cos and sin. */
      readonly attentionFactor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      /** Whether the correction range is rounded outwards to whole dimensions. */
      readonly truncate: boolean;
    }
  | {
      readonly type: "llama3";
      readonly theta: number;
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      readonly originalMaxPositions: number;
    };

/** How the caller words its errors. */
export interface RopeErrors {
  unsupported(field: string, value: unknown, supported: string): WeirError;
  wrongValue(field: string, value: unknown, expected: string): WeirError;
}

const SUPPORTED = "default, linear, yarn, llama3";

/** mscale(s, m) = 0.1 · m · ln s + 1 for s > 1, else 1 (YaRN, arXiv 2309.00071, §3.4; m as in DeepSeek's variant). */
function yarnScale(factor: number, multiplier: number): number {
  return factor <= 1 ? 1 : 0.1 * multiplier * Math.log(factor) + 1;
}

interface Source {
  /** Field name for messages. */
  readonly field: string;
  readonly values: JsonRecord;
}

/** Finds the parameters in either layout. */
function locate(config: JsonRecord, errors: RopeErrors): Source {
  const parameters = config.rope_parameters;
  const scaling = config.rope_scaling;
  if (isRecord(scaling)) {
    if (isRecord(parameters)) {
      const differs = Object.keys(scaling).some((key) => key in parameters && scaling[key] !== parameters[key]);
      if (differs) throw errors.wrongValue("rope_scaling", scaling, "absent, or equal to rope_parameters");
    }
    return { field: "rope_scaling", values: { ...(isRecord(parameters) ? parameters : {}), ...scaling } };
  }
  if (scaling !== undefined && scaling !== null) throw errors.wrongValue("rope_scaling", scaling, "an object or null");
  if (parameters === undefined || parameters === null) return { field: "rope_parameters", values: {} };
  if (!isRecord(parameters)) throw errors.wrongValue("rope_parameters", parameters, "an object");
  const nested = Object.entries(parameters).filter(([, value]) => isRecord(value));
  if (nested.length === 0) return { field: "rope_parameters", values: parameters };
  const full = parameters.full_attention;
  if (nested.length !== 1 || !isRecord(full))
    throw errors.unsupported("rope_parameters", parameters, "one set of parameters for all layers");
  return { field: "rope_parameters.full_attention", values: full };
}

/**
 * Reads the rotary configuration. `maxPositions` stands in for a missing `original_max_position_embeddings`.
 * Throws through `errors` with the field's full name.
 */
export function readRope(config: JsonRecord, maxPositions: number, errors: RopeErrors): RopeConfig {
  const source = locate(config, errors);
  const kind = readKind(config, maxPositions, errors, source);
  const dtype = source.values.inv_freq_dtype;
  if (dtype === undefined || dtype === null) return kind;
  if (dtype !== "float32" && dtype !== "bfloat16")
    throw errors.unsupported(`${source.field}.inv_freq_dtype`, dtype, "float32, bfloat16");
  return { ...kind, inverseFrequencyDtype: dtype };
}

function readKind(config: JsonRecord, maxPositions: number, errors: RopeErrors, { field, values }: Source): RopeKind {
  const number = (name: string, fallback: number | undefined, minimum: number): number => {
    const value = values[name] ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value < minimum)
      throw errors.wrongValue(`${field}.${name}`, value, `a number of at least ${minimum}`);
    return value;
  };
  const theta = values.rope_theta ?? config.rope_theta ?? 10000;
  if (typeof theta !== "number" || !(theta > 1)) throw errors.wrongValue("rope_theta", theta, "a number above 1");
  const partial = values.partial_rotary_factor;
  if (partial !== undefined && partial !== null && partial !== 1)
    throw errors.unsupported(`${field}.partial_rotary_factor`, partial, "1");

  const originalMaxPositions = (): number => {
    const outer = config.original_max_position_embeddings;
    return typeof outer === "number" && outer > 0 ? outer : number("original_max_position_embeddings", maxPositions, 1);
  };

  const typeField = "rope_type" in values ? "rope_type" : "type" in values ? "type" : "rope_type";
  const type = values[typeField] ?? "default";
  switch (type) {
    case "default":
      return { type: "default", theta };
    case "linear":
      return { type: "linear", theta, factor: number("factor", undefined, 1) };
    case "yarn": {
      // A null factor means the stretch from the original to the present number of positions.
      const factor = number("factor", values.factor === null ? maxPositions / originalMaxPositions() : undefined, 1);
      const mscale = values.mscale;
      const mscaleAll = values.mscale_all_dim;
      const derived =
        typeof mscale === "number" && mscale !== 0 && typeof mscaleAll === "number" && mscaleAll !== 0
          ? yarnScale(factor, mscale) / yarnScale(factor, mscaleAll)
          : yarnScale(factor, 1);
      const truncate = values.truncate ?? true;
      if (typeof truncate !== "boolean") throw errors.wrongValue(`${field}.truncate`, truncate, "true or false");
      return {
        type: "yarn",
        theta,
        factor,
        originalMaxPositions: originalMaxPositions(),
        attentionFactor: number("attention_factor", derived, 0),
        betaFast: number("beta_fast", 32, 0) || 32,
        betaSlow: number("beta_slow", 1, 0) || 1,
        truncate,
      };
    }
    case "llama3":
      return {
        type: "llama3",
        theta,
        factor: number("factor", undefined, 1),
        lowFreqFactor: number("low_freq_factor", undefined, 0),
        highFreqFactor: number("high_freq_factor", undefined, 0),
        originalMaxPositions: originalMaxPositions(),
      };
    default:
      throw errors.unsupported(`${field}.${typeField}`, type, SUPPORTED);
  }
}
