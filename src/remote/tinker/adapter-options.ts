/** Which adapter a configuration asks for, in the server's terms: whole blocks of a layer, not single matrices. */
import { ATTENTION_TARGETS, type LoraOptions, MLP_TARGETS } from "../../contracts/engine.js";
import { WeirError } from "../../errors.js";

/** The adapter of a model. */
export interface AdapterOptions {
  readonly rank: number;
  readonly alpha: number;
  readonly attention: boolean;
  readonly mlp: boolean;
  /** Of its first values. */
  readonly seed: number;
}

/** Errors: WEIR_E_CAPABILITY for a part of a block's matrices. */
export function adapterOptions({ rank, alpha, targets, seed }: LoraOptions): AdapterOptions {
  const whole = (matrices: readonly LoraOptions["targets"][number][]) => {
    const count = matrices.filter((name) => targets.includes(name)).length;
    if (count !== 0 && count !== matrices.length)
      throw new WeirError(
        "WEIR_E_CAPABILITY",
        `option "model.lora.targets": a Tinker-compatible server adapts all of ${matrices.join(", ")} or none; give all or none of them`,
        { path: "model.lora.targets" },
      );
    return count > 0;
  };
  return { rank, alpha, attention: whole(ATTENTION_TARGETS), mlp: whole(MLP_TARGETS), seed };
}

function targetsText({ attention, mlp }: Pick<AdapterOptions, "attention" | "mlp">): string {
  return [...(attention ? ATTENTION_TARGETS : []), ...(mlp ? MLP_TARGETS : [])].join(", ") || "nothing";
}

/** WEIR_E_REMOTE where the server trains another adapter than was asked for; `told` has what it tells of it. */
export function differenceOf(wanted: AdapterOptions, told: Partial<AdapterOptions>): WeirError | null {
  const given = { ...wanted, ...told };
  if (given.alpha === wanted.alpha && given.attention === wanted.attention && given.mlp === wanted.mlp) return null;
  return new WeirError(
    "WEIR_E_REMOTE",
    `the server trains adapters with alpha ${given.alpha} on ${targetsText(given)}, model.lora asks for alpha ${wanted.alpha} on ${targetsText(wanted)}; set model.lora to what the server does`,
    { path: "model.lora", alpha: given.alpha },
  );
}
