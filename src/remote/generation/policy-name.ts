import type { PolicyVersion } from "../../contracts/policy-version.js";

const PREFIX = "policy-v";
/** Hexadecimal digits of the hash: two policies of the same number are told apart. */
const HASH_DIGITS = 8;

/** The name of a policy at a server: other weights never go by the same name. */
export function policyName({ n, sha256 }: PolicyVersion): string {
  return `${PREFIX}${n}-${sha256.slice(0, HASH_DIGITS)}`;
}
