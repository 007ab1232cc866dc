/** Finds out what a server makes of a batch's token losses, from gradient norms of a model that is thrown away. */
import type { ServerLossScale } from "../../contracts/trainer.js";
import { WeirError } from "../../errors.js";
import type { ServerRow } from "./messages.js";
import type { ServerModel } from "./server-model.js";

/** Tokens of a row, and of those the ones with an advantage. */
const TOKENS = 4;
const MOVED = 2;
/** Norms of equal gradients differ by rounding; the cases differ by a factor of 2. */
const TOLERANCE = 0.1;
const STEP = {
  learningRate: 0,
  betas: [0.9, 0.999],
  epsilon: 1e-8,
  weightDecay: 0,
  decayScope: "all",
  maxGradNorm: null,
} as const;

/**
 * Three gradients of one sequence: of two tokens, of four of which two have advantage 0, and of that with a second row whose advantages
 * are 0. A sum is the same each time; a mean over rows of each row's mean is 1, 1/2 and 1/4.
 * Errors: WEIR_E_REMOTE where the server tells no norm, or does neither.
 */
export async function findLossScale(model: ServerModel, signal: AbortSignal): Promise<ServerLossScale> {
  const still = row(TOKENS, 0);
  const norms: number[] = [];
  for (const rows of [[row(MOVED, MOVED)], [row(TOKENS, MOVED)], [row(TOKENS, MOVED), still]]) {
    await model.forwardBackward({ rows, lossFn: "importance_sampling", config: {} }, signal);
    const { gradNorm } = await model.optimStep(STEP, signal);
    if (gradNorm === null || !(gradNorm > 0))
      throw new WeirError(
        "WEIR_E_REMOTE",
        `the server tells ${gradNorm === null ? "no gradient norm" : `the gradient norm ${gradNorm}`}, so that it cannot be found out what it divides losses by; set trainer.lossScale to sum or row-mean, as its documentation says`,
      );
    norms.push(gradNorm);
  }
  const [whole, half, quarter] = norms as [number, number, number];
  const near = (value: number, expected: number) => Math.abs(value / whole / expected - 1) < TOLERANCE;
  if (near(half, 1) && near(quarter, 1)) return "sum";
  if (near(half, 1 / 2) && near(quarter, 1 / 4)) return "row-mean";
  throw new WeirError(
    "WEIR_E_REMOTE",
    `the server divides losses in a way that is not known: gradient norms ${norms.map((norm) => norm.toPrecision(4)).join(", ")} where a sum gives the same three times and a mean over rows 1, 1/2, 1/4 of the first; use another server`,
    { norms },
  );
}

/** `counted` tokens count, and the first `moved` of them have advantage 1. */
function row(counted: number, moved: number): ServerRow {
  const tokens = Array.from({ length: TOKENS + 1 }, (_, t) => 1 + t);
  const per = (value: (t: number) => number) => Array.from({ length: TOKENS }, (_, t) => value(t));
  return {
    tokens: tokens.slice(0, -1),
    targets: tokens.slice(1),
    weights: per((t) => (t < counted ? 1 : 0)),
    policy: { logprobs: per(() => 0), advantages: per((t) => (t < moved ? 1 : 0)) },
  };
}
