import type { PolicyVersion } from "./policy-version.js";

/** The forms in which weights are handed over. */
export const ARTIFACT_KINDS = ["checkpoint", "adapter", "handle"] as const;
export type ArtifactKind = (typeof ARTIFACT_KINDS)[number];

/** Where the weights of a version are. */
export type PolicyArtifact =
  /** A Hugging Face model folder. */
  | { readonly kind: "checkpoint"; readonly uri: string }
  /** A PEFT adapter folder for the model with the hash `baseSha256`. */
  | { readonly kind: "adapter"; readonly uri: string; readonly baseSha256: string; readonly rank: number }
  /** An address that only the server which gave it can read. */
  | { readonly kind: "handle"; readonly uri: string };

/** What a trainer hands to samplers. Immutable once it is named. */
export interface PublishedPolicy {
  readonly version: PolicyVersion;
  readonly artifact: PolicyArtifact;
  /** Size of the artifact; 0 for a handle. */
  readonly bytes: number;
}
