import type { Config } from "../../../config/schema.js";
import type { Sampler } from "../../../contracts/sampler.js";
import type { PolicyPlaceOptions } from "../../../store/policy-place.js";
import type { PairPrecisions } from "../../../streams/telemetry/limits.js";
import type { StartJudgeEngine } from "../../judge/local-judge.js";
import type { Parts } from "../part-kinds.js";

/** What the factories of built-in samplers, trainers, policy stores and guards are given. */
export interface BuiltInSource {
  readonly config: PartConfig;
  /** Null where no run is being set up, such as in `weir eval`: parts of the engine cannot be built then. */
  readonly embedded: EmbeddedSource | null;
  /** Precisions of the run's sampler and trainer as they tell them now; null where both are the embedded engine. */
  foreign(): PairPrecisions | null;
}

/** The options that parts read. */
export type PartConfig = Pick<
  Config,
  | "advantage"
  | "loss"
  | "reward"
  | "curriculum"
  | "run"
  | "guard"
  | "spikes"
  | "engine"
  | "model"
  | "rollout"
  | "sampler"
  | "trainer"
  | "policyStore"
  | "workQueue"
>;

/** Where parts come from that are built on the embedded engine or the run folder. */
export interface EmbeddedSource {
  /** Asking for them says that the run needs the engine. */
  parts(): Pick<Parts, "sampler" | "trainer" | "policyStore">;
  /** Samplers of their own; null where the trainer's engine samples. */
  readonly samplers: Sampler | null;
  /** How the engine of a local judge is started, and what memory it may take, GiB. */
  readonly judge: { readonly start: StartJudgeEngine; readonly memoryGiB: number | null };
  /** What decides where published policies lie. Errors: WEIR_E_STATE before the run folder is there. */
  policyPlace(): PolicyPlaceOptions;
}
