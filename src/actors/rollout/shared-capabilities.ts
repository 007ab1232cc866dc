import type { SamplerCapabilities } from "../../contracts/sampler.js";
import { WeirError } from "../../errors.js";

/** From what repeats least to what repeats most. */
const SEEDS = ["none", "per-request", "per-sequence"] as const;

/**
 * What several samplers can do in each other's place. A handle is an address in one server's memory, so that several cannot adopt it.
 * Errors: WEIR_E_STATE for an empty list; WEIR_E_CAPABILITY where their log-probs are not of one distribution.
 */
export function sharedCapabilities(all: readonly SamplerCapabilities[]): SamplerCapabilities {
  const [first] = all;
  if (first === undefined)
    throw new WeirError("WEIR_E_STATE", "no sampler has started yet, so that nothing is known of what they can do");
  const bases = new Set(all.map(({ logprobBasis }) => logprobBasis));
  if (bases.size > 1)
    throw new WeirError(
      "WEIR_E_CAPABILITY",
      `the samplers give log-probs of different distributions (${[...bases].join(", ")}); use samplers of one kind`,
    );
  const precisions = new Set(all.map(({ precision }) => precision ?? null));
  const every = (name: "tokenVersions" | "entropies" | "abort") => all.every((one) => one[name]);
  return {
    logprobBasis: first.logprobBasis,
    seeds: SEEDS[Math.min(...all.map(({ seeds }) => SEEDS.indexOf(seeds)))] ?? "none",
    tokenVersions: every("tokenVersions"),
    adopts: first.adopts.filter((form) => form !== "handle" && all.every(({ adopts }) => adopts.includes(form))),
    heldVersions: Math.min(...all.map(({ heldVersions }) => heldVersions)),
    entropies: every("entropies"),
    abort: every("abort"),
    precision: precisions.size === 1 ? (first.precision ?? null) : null,
  };
}
