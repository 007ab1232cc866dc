/** AdamW with the benchmarks' settings, and a commit that fails where nothing was committed. */
import type { OptimiserConfig, Trainer } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";

const ADAMW = { betas: [0.9, 0.999], epsilon: 1e-8, decayScope: "all" } as const;

/** Defaults of torch.optim.AdamW without clipping, as the peer's step has it. */
export const STEP_OPTIMISER: OptimiserConfig = { ...ADAMW, learningRate: 3e-4, weightDecay: 0.01, maxGradNorm: null };

/** Defaults of the peer's RL trainer: no decay, clipping at 1. */
export const RL_OPTIMISER: OptimiserConfig = { ...ADAMW, learningRate: 2e-6, weightDecay: 0, maxGradNorm: 1 };

/** Errors: WEIR_E_NON_FINITE where the step was refused, since its time would mean nothing. */
export async function commit(trainer: Trainer, config: OptimiserConfig, signal: AbortSignal): Promise<void> {
  const { applied, gradNorm } = await trainer.optimStep(config, { signal });
  if (applied) return;
  throw new WeirError(
    "WEIR_E_NON_FINITE",
    `the gradient of a benchmark's step has norm ${gradNorm} and was not applied; give another --model or --dtype f32`,
    { gradNorm },
  );
}
