/**
 * What a configuration asks of its sampler, trainer and policy store, compared with what these can do. Everything that does not fit
 * is found before anything is trained.
 */
import type { Config } from "../../config/schema.js";
import { WeirError } from "../../errors.js";
import { builtInLoss } from "../../losses/built-in.js";
import { assertSamplerCapabilities } from "../parts/checked-engines.js";
import { isRecord, partError, shown } from "../parts/part-errors.js";
import type { RunParts } from "../parts/part-kinds.js";
import { artifactKind } from "../update/publisher.js";
import { assertOffPolicy } from "./off-policy.js";
import { needsReference } from "./run-context.js";

/** True where the sampler's log-probs are of the distribution that the trainer computes: softmax(logits / T) over the whole vocabulary. */
export function logprobsComparable(
  config: Pick<Config, "rollout">,
  { capabilities }: Pick<RunParts["sampler"], "capabilities">,
): boolean {
  const { temperature, topP, topK } = config.rollout;
  switch (capabilities.logprobBasis) {
    case "scaled":
      return true;
    case "raw":
      return temperature === 1;
    case "processed":
      return topP === 1 && topK === 0;
  }
}

type Needed = Pick<RunParts, "sampler" | "trainer" | "policyStore" | "loss" | "guard">;

/** Errors: WEIR_E_CAPABILITY with the option and the part; WEIR_E_CONFIG as `assertOffPolicy`. */
export function assertCapabilities(config: Config, parts: Needed): void {
  const { sampler, trainer, loss, guard } = parts;
  assertDescribed(parts);
  assertOffPolicy(config, loss);
  const { capabilities } = trainer;
  const refuse = (path: string, text: string): never => {
    throw new WeirError("WEIR_E_CAPABILITY", `option "${path}": ${text}`, { path });
  };
  artifactKind(parts);
  if (!capabilities.publishes.includes("checkpoint"))
    refuse(
      "trainer.actor",
      `the trainer "${trainer.kind}" publishes no checkpoint (${capabilities.publishes.join(", ") || "nothing"}), which the run's model/ and the reference policy are made of; give one that does`,
    );
  const builtIn = builtInLoss(loss);
  if (builtIn !== null && !capabilities.losses.includes(builtIn.name))
    refuse(
      "loss.algorithm",
      `the trainer "${trainer.kind}" does not know the loss "${builtIn.name}" (it knows ${capabilities.losses.join(", ") || "none"}); choose one of these`,
    );
  if (builtIn === null && !capabilities.evaluates)
    refuse(
      "loss.algorithm",
      `the trainer "${trainer.kind}" takes no loss of your own; choose one of ${capabilities.losses.join(", ")}`,
    );
  if (capabilities.lossScale !== "denominators")
    refuse(
      "trainer.actor",
      `the trainer "${trainer.kind}" divides gradients by itself (${capabilities.lossScale}), so that the loss would depend on how a batch is split; use a trainer that takes denominators`,
    );
  if (config.update.oldLogprobs === "sampler" && !logprobsComparable(config, sampler))
    refuse(
      "update.oldLogprobs",
      `the sampler "${sampler.kind}" gives ${sampler.capabilities.logprobBasis} log-probs, which are not those of the policy at rollout.temperature ${config.rollout.temperature}, rollout.topP ${config.rollout.topP} and rollout.topK ${config.rollout.topK}; set it to recompute`,
    );
  for (const option of ["importance", "rejection"] as const)
    if (config.update.correction[option] !== "none" && !logprobsComparable(config, sampler))
      refuse(
        `update.correction.${option}`,
        `the sampler "${sampler.kind}" gives ${sampler.capabilities.logprobBasis} log-probs, which cannot be compared with the policy's at rollout.temperature ${config.rollout.temperature}, rollout.topP ${config.rollout.topP} and rollout.topK ${config.rollout.topK}; set it to none`,
      );
  if (config.async.inFlight === "continue" && !sampler.capabilities.tokenVersions)
    refuse(
      "async.inFlight",
      `the sampler "${sampler.kind}" finishes a response with the policy that it began with; set it to finish`,
    );
  if (needsReference(config) && !capabilities.reference)
    refuse(
      "loss.klCoefficient",
      `the trainer "${trainer.kind}" keeps no reference policy; set loss.klCoefficient to 0 and loss.monitorKl to false`,
    );
  if (config.loss.klCoefficient > 0 && capabilities.reference === "base")
    refuse(
      "loss.klCoefficient",
      `the reference policy of the trainer "${trainer.kind}" is the base model, which a KL term in the loss cannot be taken against; set it to 0 (loss.monitorKl measures the KL)`,
    );
  if (config.optimiser.maxGradNorm !== null && !capabilities.clipsGradients)
    refuse("optimiser.maxGradNorm", `the trainer "${trainer.kind}" does not clip gradients; set it to null`);
  if (guard.kind !== "finite" && !judgesBefore(config, trainer))
    refuse(
      "guard.actor",
      `the guard "${guard.kind}" judges updates before they are applied, and the trainer "${trainer.kind}" can neither throw a gradient away nor rehearse a batch; use the guard "finite"`,
    );
  if (capabilities.trains === "adapter" && config.model.lora === null)
    refuse(
      "model.lora",
      `the trainer "${trainer.kind}" trains adapters only; set it, for example to {} for its defaults`,
    );
  assertDistribution(config, parts, refuse);
}

/** An update can be judged before it changes anything: by its gradient, or by a forward pass of its batch. */
export function judgesBefore({ warmup }: Pick<Config, "warmup">, { capabilities, rehearse, rehearseSft }: Judged) {
  return (
    capabilities.discardsGradients ||
    (rehearse !== undefined && (rehearseSft !== undefined || warmup.data.length === 0))
  );
}

type Judged = Pick<RunParts["trainer"], "capabilities" | "rehearse" | "rehearseSft">;

/** What is asked of temperature and entropy. */
function assertDistribution(
  config: Config,
  { sampler, trainer }: Needed,
  refuse: (path: string, text: string) => never,
) {
  const { rollout, loss, guard } = config;
  const { temperatures = "any", entropies = true } = trainer.capabilities;
  if (temperatures === "one" && rollout.temperature !== 1)
    refuse(
      "rollout.temperature",
      `the trainer "${trainer.kind}" computes log-probs at temperature 1 only, and would train another policy than the one that samples at ${rollout.temperature}; set it to 1`,
    );
  if (!entropies && loss.entropyCoefficient !== 0)
    refuse("loss.entropyCoefficient", `the trainer "${trainer.kind}" takes no entropy bonus; set it to 0`);
  if (!entropies && guard.entropyTarget !== null)
    refuse("guard.entropyTarget", `the trainer "${trainer.kind}" takes no entropy bonus; set it to null`);
  for (const option of ["entropyTarget", "aepo"] as const)
    if (guard[option] !== null && !sampler.capabilities.entropies)
      refuse(
        `guard.${option}`,
        `the sampler "${sampler.kind}" gives no entropies, which it is decided by; set it to null`,
      );
}

/** Errors: WEIR_E_PART for a sampler, trainer or policy store that does not say what it can do. */
function assertDescribed({ sampler, trainer, policyStore }: Needed): void {
  assertSamplerCapabilities(sampler, { part: "sampler", name: sampler.kind });
  const lists = { trainer: "publishes", policyStore: "holds" } as const;
  for (const [part, given] of Object.entries({ trainer, policyStore }) as [keyof typeof lists, Described][]) {
    const label = { part, name: given.kind };
    const { capabilities } = given;
    if (!isRecord(capabilities) || !Array.isArray(capabilities[lists[part]]))
      throw partError(
        label,
        `has capabilities = ${shown(capabilities)}`,
        `capabilities is a record with ${lists[part]}`,
      );
  }
  if (!Array.isArray(trainer.capabilities.losses) || !isRecord(trainer.model))
    throw partError(
      { part: "trainer", name: trainer.kind },
      `has model = ${shown(trainer.model)} and losses = ${shown(trainer.capabilities.losses)}`,
      "a trainer has model: ModelInfo and capabilities.losses, a list of names",
    );
}

interface Described {
  readonly kind: string;
  readonly capabilities: unknown;
}
